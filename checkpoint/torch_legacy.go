package checkpoint

import (
	"encoding/binary"
	"io"
)

// The first two pickles of the older format.
const (
	legacyMagic    = pyLong("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")
	legacyProtocol = int64(1001)
)

// openTorchLegacy reads the format of PyTorch before 1.6: one after the other stand the pickles of a magic number, a protocol version, a
// description of the machine, the object and the list of the keys of its storages; then, in the order of that list, each storage: the number of
// its elements in eight bytes, and they.
func openTorchLegacy(src source, key string) (*torchFile, error) {
	l := legacyFile{src: src, storages: newStorages()}
	if magic, err := l.next(nil); err != nil {
		return nil, err
	} else if magic != any(legacyMagic) {
		return nil, malformed("a pickle that is not of PyTorch")
	}
	if protocol, err := l.next(nil); err != nil {
		return nil, err
	} else if protocol != any(legacyProtocol) {
		return nil, malformed("the protocol of the file is not %d", legacyProtocol)
	}
	if err := l.machine(); err != nil {
		return nil, err
	}
	top, err := l.next(l.storages.persistent)
	if err != nil {
		return nil, err
	}
	places, err := l.places()
	if err != nil {
		return nil, err
	}
	f := &torchFile{source: l.src, metadata: map[string]string{}}
	if err := f.take(top, key); err != nil {
		return nil, err
	}
	return f, f.place(func(s *storage) (int64, error) {
		at, ok := places[s.key]
		if !ok {
			return 0, malformed("storage %s is not in the file", quote(s.key))
		}
		return at, nil
	})
}

// legacyFile reads the parts of a file one after the other.
type legacyFile struct {
	src      source
	at       int64
	storages *storages
}

// next interprets the next pickle.
func (l *legacyFile) next(persistent func([]any) (any, error)) (any, error) {
	left := l.src.size - l.at
	u := newUnpickler(io.NewSectionReader(l.src.file, l.at, left), left, persistent)
	v, err := u.load()
	l.at += u.src.at
	return v, err
}

// machine reads the description of the machine that wrote the file; only the order of its bytes says anything about what follows.
func (l *legacyFile) machine() error {
	v, err := l.next(nil)
	if err != nil {
		return err
	}
	d, ok := v.(*pyDict)
	if !ok {
		return malformed("the description of the machine is %s, not a dictionary", kindOf(v))
	}
	little, _ := d.get("little_endian")
	isLittle, ok := little.(bool)
	if !ok {
		return malformed("the description of the machine does not say whether it was little-endian")
	}
	l.src.swap = !isLittle
	return nil
}

// places reads the list of keys and finds where each storage begins.
func (l *legacyFile) places() (map[string]int64, error) {
	v, err := l.next(nil)
	if err != nil {
		return nil, err
	}
	keys, ok := v.(*pyList)
	if !ok {
		return nil, malformed("the keys of the storages are %s, not a list", kindOf(v))
	}
	places := map[string]int64{}
	for _, v := range keys.items {
		key, ok := v.(string)
		if !ok {
			return nil, malformed("the key of a storage is %s, not a string", kindOf(v))
		}
		s := l.storages.byKey[key]
		if _, twice := places[key]; twice || s == nil {
			return nil, malformed("the list of storages has %s, which is there already or belongs to nothing", quote(key))
		}
		if places[key], err = l.storage(s); err != nil {
			return nil, err
		}
	}
	if l.at != l.src.size {
		return nil, malformed("file has %d bytes after the last storage", l.src.size-l.at)
	}
	return places, nil
}

// storage checks that a storage is where the next one is to be, and returns where its elements begin.
func (l *legacyFile) storage(s *storage) (int64, error) {
	var b [8]byte
	if l.src.size-l.at < int64(len(b)) {
		return 0, malformed("the file ends before storage %s", quote(s.key))
	}
	if err := readFull(l.src.file, b[:], l.at); err != nil {
		return 0, err
	}
	var order binary.ByteOrder = binary.LittleEndian
	if l.src.swap {
		order = binary.BigEndian
	}
	l.at += int64(len(b))
	if n := order.Uint64(b[:]); n != uint64(s.bytes/int64(s.class.size)) {
		return 0, malformed("storage %s has %d elements, not the %d that were declared", quote(s.key), n, s.bytes/int64(s.class.size))
	}
	if s.bytes > l.src.size-l.at {
		return 0, malformed("storage %s needs %d bytes, file has %d", quote(s.key), s.bytes, l.src.size-l.at)
	}
	at := l.at
	l.at += s.bytes
	return at, nil
}
