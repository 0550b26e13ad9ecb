package checkpoint

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of a pickle. A state dict of a hundred thousand tensors stays below all of them by far.
const (
	maxPickle = 100_000_000 // bytes of one pickle, as of a header
	maxWork   = 1 << 23     // opcodes, and elements put into containers
	maxStack  = 1 << 20     // values on the stack
	maxLong   = 255         // bytes of an integer
	maxClass  = 200         // bytes of the name of a class
)

// unpickler interprets a pickle: a program for a stack machine that builds objects (Python's pickletools.py describes each opcode). It knows the
// opcodes of the binary protocols, 1 to 5, as far as files of PyTorch have use for them. Nothing is executed: what a program asks to be called
// is looked up in a short list of names, see classes, each of which makes a plain value here. Anything else is an error that names it.
//
// Memory and time are bounded: no string is made before its bytes are known to be there, every opcode and every element of a container counts
// against maxWork, and nothing here recurses.
type unpickler struct {
	src   pickleSource
	stack []any
	marks []int // heights of the stack
	memo  map[uint32]any
	work  int
	// persistent makes a value of the tuple that stands for an object outside of the pickle; nil where there can be none.
	persistent func(id []any) (any, error)
}

// pickleSource reads bytes and counts them.
type pickleSource struct {
	r        *bufio.Reader
	at, size int64 // read, and to be had
}

func newUnpickler(r io.Reader, size int64, persistent func(id []any) (any, error)) *unpickler {
	size = min(size, maxPickle)
	src := pickleSource{r: bufio.NewReader(io.LimitReader(r, size)), size: size}
	return &unpickler{src: src, memo: map[uint32]any{}, persistent: persistent}
}

// load interprets one pickle up to its end, and returns the value it makes.
func (u *unpickler) load() (any, error) {
	for {
		at := u.src.at
		op, err := u.src.byte()
		if err != nil {
			return nil, err
		}
		if op == '.' {
			return u.result()
		}
		do := opcodes[op]
		if do == nil {
			return nil, malformed("pickle, byte %d: opcode %#02x is not read", at, op)
		}
		if err = u.spend(1); err == nil {
			err = do(u)
		}
		if err != nil {
			return nil, fmt.Errorf("pickle, byte %d: %w", at, err)
		}
	}
}

func (u *unpickler) result() (any, error) {
	if len(u.stack) != 1 || len(u.marks) != 0 {
		return nil, malformed("pickle ends with %d values and %d marks on its stack, not with one value", len(u.stack), len(u.marks))
	}
	return u.stack[0], nil
}

func (u *unpickler) spend(n int) error {
	if u.work += n; u.work > maxWork {
		return malformed("the pickle has more than %d opcodes and elements", maxWork)
	}
	return nil
}

// opcodes are what is known of the language. Those of protocol 0, which are lines of text, and those that make objects of any class are not.
var opcodes = [256]func(*unpickler) error{
	0x80: (*unpickler).proto,
	0x95: (*unpickler).frame,
	'(':  func(u *unpickler) error { u.marks = append(u.marks, len(u.stack)); return u.markLimit() },
	'0':  (*unpickler).discard,
	'1':  func(u *unpickler) error { _, err := u.popMark(); return err },
	'2':  (*unpickler).duplicate,

	'N':  func(u *unpickler) error { return u.push(pyNone{}) },
	0x88: func(u *unpickler) error { return u.push(true) },
	0x89: func(u *unpickler) error { return u.push(false) },
	'J':  func(u *unpickler) error { n, err := u.src.uint(4); return u.pushOr(int64(int32(n)), err) },
	'K':  func(u *unpickler) error { n, err := u.src.uint(1); return u.pushOr(int64(n), err) },
	'M':  func(u *unpickler) error { n, err := u.src.uint(2); return u.pushOr(int64(n), err) },
	0x8a: func(u *unpickler) error { return u.long(1) },
	0x8b: func(u *unpickler) error { return u.long(4) },
	'G':  (*unpickler).float,

	'X':  func(u *unpickler) error { return u.text(4) },
	0x8c: func(u *unpickler) error { return u.text(1) },
	0x8d: func(u *unpickler) error { return u.text(8) },
	'T':  func(u *unpickler) error { return u.bytes(4) },
	'U':  func(u *unpickler) error { return u.bytes(1) },
	'B':  func(u *unpickler) error { return u.bytes(4) },
	'C':  func(u *unpickler) error { return u.bytes(1) },
	0x8e: func(u *unpickler) error { return u.bytes(8) },

	')':  func(u *unpickler) error { return u.push(pyTuple(nil)) },
	0x85: func(u *unpickler) error { return u.tuple(1) },
	0x86: func(u *unpickler) error { return u.tuple(2) },
	0x87: func(u *unpickler) error { return u.tuple(3) },
	't':  (*unpickler).tupleOfMark,
	']':  func(u *unpickler) error { return u.push(&pyList{}) },
	'a':  func(u *unpickler) error { return u.extend(1) },
	'e':  func(u *unpickler) error { return u.extend(-1) },
	'}':  func(u *unpickler) error { return u.push(&pyDict{}) },
	's':  func(u *unpickler) error { return u.update(2) },
	'u':  func(u *unpickler) error { return u.update(-1) },
	0x8f: func(u *unpickler) error { return u.push(&pySet{}) },
	0x90: func(u *unpickler) error { return u.extend(-1) },
	0x91: (*unpickler).frozenSet,

	'q':  func(u *unpickler) error { n, err := u.src.uint(1); return u.put(n, err) },
	'r':  func(u *unpickler) error { n, err := u.src.uint(4); return u.put(n, err) },
	0x94: func(u *unpickler) error { return u.put(uint64(len(u.memo)), nil) },
	'h':  func(u *unpickler) error { n, err := u.src.uint(1); return u.get(n, err) },
	'j':  func(u *unpickler) error { n, err := u.src.uint(4); return u.get(n, err) },

	'c':  (*unpickler).global,
	0x93: (*unpickler).stackGlobal,
	'R':  (*unpickler).reduce,
	0x81: (*unpickler).reduce, // cls.__new__(cls, *args), which for the classes known is cls(*args)
	'b':  (*unpickler).build,
	'Q':  (*unpickler).persistentID,
}

// The bytes.

var errPickleEnd = malformed("the pickle ends early")

func (s *pickleSource) byte() (byte, error) {
	b, err := s.r.ReadByte()
	if err != nil {
		return 0, pickleEnd(err)
	}
	s.at++
	return b, nil
}

func pickleEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errPickleEnd
	}
	return cause(err)
}

// uint reads a little-endian number of 1 to 8 bytes.
func (s *pickleSource) uint(size int) (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(s.r, b[:size]); err != nil {
		return 0, pickleEnd(err)
	}
	s.at += int64(size)
	return binary.LittleEndian.Uint64(b[:]), nil
}

// string reads n bytes, after it is known that there are so many.
func (s *pickleSource) string(n uint64) (string, error) {
	if n > uint64(s.size-s.at) {
		return "", malformed("a string of %d bytes, but only %d bytes follow", n, s.size-s.at)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(s.r, b); err != nil {
		return "", pickleEnd(err)
	}
	s.at += int64(n)
	return string(b), nil
}

// line reads the rest of a line, which has at most maxClass bytes.
func (s *pickleSource) line() (string, error) {
	var b strings.Builder
	for {
		c, err := s.byte()
		switch {
		case err != nil:
			return "", err
		case c == '\n':
			return b.String(), nil
		case b.Len() == maxClass:
			return "", malformed("the name of a class has more than %d bytes: %s", maxClass, quote(b.String()))
		}
		b.WriteByte(c)
	}
}

// The stack.

func (u *unpickler) push(v any) error {
	if len(u.stack) == maxStack {
		return malformed("more than %d values on the stack", maxStack)
	}
	u.stack = append(u.stack, v)
	return nil
}

func (u *unpickler) pushOr(v any, err error) error {
	if err != nil {
		return err
	}
	return u.push(v)
}

func (u *unpickler) markLimit() error {
	if len(u.marks) > maxStack {
		return malformed("more than %d marks on the stack", maxStack)
	}
	return nil
}

// popN takes the last n values above the last mark. The slice is valid until the next push.
func (u *unpickler) popN(n int) ([]any, error) {
	floor := 0
	if len(u.marks) > 0 {
		floor = u.marks[len(u.marks)-1]
	}
	if len(u.stack)-floor < n {
		return nil, malformed("the stack holds %d values, %d are needed", len(u.stack)-floor, n)
	}
	at := len(u.stack) - n
	values := u.stack[at:]
	u.stack = u.stack[:at]
	return values, nil
}

func (u *unpickler) pop() (any, error) {
	values, err := u.popN(1)
	if err != nil {
		return nil, err
	}
	return values[0], nil
}

// popMark takes all values above the last mark, and the mark.
func (u *unpickler) popMark() ([]any, error) {
	if len(u.marks) == 0 {
		return nil, malformed("no mark is on the stack")
	}
	at := u.marks[len(u.marks)-1]
	u.marks = u.marks[:len(u.marks)-1]
	values := u.stack[at:]
	u.stack = u.stack[:at]
	return values, nil
}

// popItems takes n values, or with n < 0 those above the mark, and charges for them.
func (u *unpickler) popItems(n int) (values []any, err error) {
	if n < 0 {
		values, err = u.popMark()
	} else {
		values, err = u.popN(n)
	}
	if err != nil {
		return nil, err
	}
	return values, u.spend(len(values))
}

// peek is the value on top, which stays there.
func (u *unpickler) peek() (any, error) {
	if len(u.stack) == 0 || len(u.marks) > 0 && u.marks[len(u.marks)-1] == len(u.stack) {
		return nil, malformed("the stack holds no value")
	}
	return u.stack[len(u.stack)-1], nil
}

func (u *unpickler) discard() error {
	if n := len(u.marks); n > 0 && u.marks[n-1] == len(u.stack) {
		u.marks = u.marks[:n-1] // so does Python's
		return nil
	}
	_, err := u.pop()
	return err
}

func (u *unpickler) duplicate() error { v, err := u.peek(); return u.pushOr(v, err) }

func (u *unpickler) put(n uint64, err error) error {
	if err != nil {
		return err
	}
	v, err := u.peek()
	if err != nil {
		return err
	}
	u.memo[uint32(n)] = v
	return nil
}

func (u *unpickler) get(n uint64, err error) error {
	if err != nil {
		return err
	}
	v, ok := u.memo[uint32(n)]
	if !ok {
		return malformed("nothing is remembered under %d", n)
	}
	return u.push(v)
}

// Plain values.

func (u *unpickler) proto() error {
	n, err := u.src.uint(1)
	if err == nil && n > 5 {
		return malformed("protocol %d is not read", n)
	}
	return err
}

func (u *unpickler) frame() error {
	n, err := u.src.uint(8)
	if err == nil && n > uint64(u.src.size-u.src.at) {
		return malformed("a frame of %d bytes, but only %d bytes follow", n, u.src.size-u.src.at)
	}
	return err
}

// long reads an integer in two's complement, little-endian, of any length.
func (u *unpickler) long(size int) error {
	n, err := u.src.uint(size)
	if err != nil {
		return err
	}
	if n > maxLong {
		return malformed("an integer of %d bytes", n)
	}
	b, err := u.src.string(n)
	if err != nil {
		return err
	}
	if n > 8 {
		return u.push(pyLong(b))
	}
	var full [8]byte
	if n > 0 && b[n-1]&0x80 != 0 {
		full = [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	copy(full[:], b)
	return u.push(int64(binary.LittleEndian.Uint64(full[:])))
}

func (u *unpickler) float() error {
	b, err := u.src.string(8)
	if err != nil {
		return err
	}
	return u.push(math.Float64frombits(binary.BigEndian.Uint64([]byte(b))))
}

func (u *unpickler) counted(size int) (string, error) {
	n, err := u.src.uint(size)
	if err != nil {
		return "", err
	}
	return u.src.string(n)
}

func (u *unpickler) text(size int) error {
	s, err := u.counted(size)
	if err != nil {
		return err
	}
	if !utf8.ValidString(s) {
		return malformed("the string %s is not valid UTF-8", quote(s))
	}
	return u.push(s)
}

func (u *unpickler) bytes(size int) error {
	s, err := u.counted(size)
	return u.pushOr(pyBytes(s), err)
}

// Containers.

func (u *unpickler) tuple(n int) error {
	values, err := u.popItems(n)
	if err != nil {
		return err
	}
	return u.push(append(pyTuple(nil), values...))
}

func (u *unpickler) tupleOfMark() error {
	values, err := u.popItems(-1)
	if err != nil {
		return err
	}
	return u.push(append(pyTuple(nil), values...))
}

// extend adds values to the list or set below them.
func (u *unpickler) extend(n int) error {
	values, err := u.popItems(n)
	if err != nil {
		return err
	}
	to, err := u.peek()
	if err != nil {
		return err
	}
	switch to := to.(type) {
	case *pyList:
		to.items = append(to.items, values...)
	case *pySet:
		to.items = append(to.items, values...)
	default:
		return malformed("values are added to %s, not to a list or set", kindOf(to))
	}
	return nil
}

// update puts pairs of key and value into the dictionary below them.
func (u *unpickler) update(n int) error {
	values, err := u.popItems(n)
	if err != nil {
		return err
	}
	to, err := u.peek()
	if err != nil {
		return err
	}
	d, ok := to.(*pyDict)
	switch {
	case !ok:
		return malformed("keys are set in %s, not in a dictionary", kindOf(to))
	case len(values)%2 != 0:
		return malformed("a dictionary gets a key without a value")
	}
	for i := 0; i < len(values); i += 2 {
		if err := d.set(values[i], values[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpickler) frozenSet() error {
	values, err := u.popItems(-1)
	if err != nil {
		return err
	}
	return u.push(&pySet{items: slices.Clone(values)})
}

// Classes.

func (u *unpickler) global() error {
	module, err := u.src.line()
	if err != nil {
		return err
	}
	name, err := u.src.line()
	if err != nil {
		return err
	}
	return u.pushClass(module, name)
}

func (u *unpickler) stackGlobal() error {
	values, err := u.popN(2)
	if err != nil {
		return err
	}
	module, isText := values[0].(string)
	name, alsoText := values[1].(string)
	if !isText || !alsoText {
		return malformed("a class is named by %s and %s, not by strings", kindOf(values[0]), kindOf(values[1]))
	}
	return u.pushClass(module, name)
}

func (u *unpickler) pushClass(module, name string) error {
	full := module + "." + name
	c, ok := classes[full]
	if !ok {
		return malformed("class %s is not read", quote(full))
	}
	return u.push(c)
}

// reduce makes a value from a class and a tuple of arguments.
func (u *unpickler) reduce() error {
	values, err := u.popN(2)
	if err != nil {
		return err
	}
	c, isClass := values[0].(*class)
	args, isTuple := values[1].(pyTuple)
	switch {
	case !isClass:
		return malformed("%s is called, not a class", kindOf(values[0]))
	case !isTuple:
		return malformed("class %q is called with %s, not with a tuple", c.name, kindOf(values[1]))
	case c.make == nil:
		return malformed("class %q is not to be called", c.name)
	}
	v, err := c.make(u, args)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return u.push(v)
}

// build sets the attributes of an object. Only ordered dictionaries have any here: the state dicts of modules carry the versions of their parts.
func (u *unpickler) build() error {
	values, err := u.popN(1)
	if err != nil {
		return err
	}
	state := values[0]
	to, err := u.peek()
	if err != nil {
		return err
	}
	if o, ok := to.(*pyOpaque); ok && classes[o.class].stateful {
		return nil
	}
	d, isDict := to.(*pyDict)
	attributes, ok := state.(*pyDict)
	switch {
	case !isDict || !d.ordered:
		return malformed("attributes are set on %s", kindOf(to))
	case !ok:
		return malformed("attributes are set from %s, not from a dictionary", kindOf(state))
	}
	d.attributes = attributes
	return nil
}

func (u *unpickler) persistentID() error {
	values, err := u.popN(1)
	if err != nil {
		return err
	}
	id, ok := values[0].(pyTuple)
	switch {
	case !ok:
		return malformed("%s stands for an object outside of the pickle, not a tuple", kindOf(values[0]))
	case u.persistent == nil:
		return malformed("an object outside of the pickle where there can be none")
	}
	v, err := u.persistent(id)
	return u.pushOr(v, err)
}
