package checkpoint

import (
	"bytes"
)

// LoadPickle interprets one pickle, for tests, and reports how much work it was.
func LoadPickle(content []byte) (work int, err error) {
	u := newUnpickler(bytes.NewReader(content), int64(len(content)), newStorages().persistent)
	v, err := u.load()
	if err != nil {
		return u.work, err
	}
	budget := maxCarried
	if carried(v, &budget, 0) {
		p := newPickler()
		p.value(v)
		again := newUnpickler(bytes.NewReader(p.bytes()), int64(p.out.Len()), nil)
		_, err = again.load()
	}
	return u.work, err
}

// ReadNpy reads a .npy file, for tests, and returns the bytes of its elements, row-major.
func ReadNpy(content []byte) ([]byte, Info, error) {
	r := bytes.NewReader(content)
	h, err := readNpyHeader(r, int64(len(content)))
	if err != nil {
		return nil, Info{}, err
	}
	data, err := h.array(r)
	return data, Info{DType: h.dtype, Shape: h.shape}, err
}

// FormatNpy writes a .npy file, for tests.
func FormatNpy(info Info, data []byte) []byte {
	return append(formatNpyHeader(info.DType, info.Shape), data...)
}

// ReadIndex reads an index of shards, for tests.
func ReadIndex(content []byte) (shards, metadata map[string]string, err error) {
	x, err := readIndex(source{file: bytes.NewReader(content), size: int64(len(content))})
	if err != nil {
		return nil, nil, err
	}
	return x.shards, x.metadata, nil
}

// FormatIndex writes an index of shards, for tests.
func FormatIndex(shards, metadata map[string]string) ([]byte, error) {
	return formatIndex(shards, metadata, 0)
}
