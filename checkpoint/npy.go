package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/rebasin/rebasin/tensor"
)

// The head of a .npy file: magic bytes, two bytes of version, the length of a header in two bytes (version 1) or four (2 and 3), and the header,
// a dictionary written as Python would. See numpy.lib.format.
const (
	npyMagic     = "\x93NUMPY"
	maxNpyHeader = 1 << 16
)

// npyHeader says how the array behind it is stored.
type npyHeader struct {
	dtype   tensor.DType
	swap    bool // big-endian
	fortran bool // the first axis varies fastest
	shape   tensor.Shape
	size    int64 // bytes of the whole head
}

// readNpyHeader reads the head of a .npy file of size bytes.
func readNpyHeader(r io.Reader, size int64) (*npyHeader, error) {
	start := make([]byte, len(npyMagic)+2)
	if err := readNext(r, start); err != nil {
		return nil, err
	}
	version := start[len(npyMagic)]
	if string(start[:len(npyMagic)]) != npyMagic || version < 1 || version > 3 {
		return nil, malformed("it is no .npy file of version 1 to 3")
	}
	length := make([]byte, 4)
	digits := length[:2]
	if version > 1 {
		digits = length
	}
	if err := readNext(r, digits); err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(length))
	head := int64(len(start)+len(digits)) + n
	if n > maxNpyHeader || head > size {
		return nil, malformed("a header of %d bytes, in %d; at most %d are read", n, size, maxNpyHeader)
	}
	text := make([]byte, n)
	if err := readNext(r, text); err != nil {
		return nil, err
	}
	h, err := parseNpyHeader(string(text))
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	h.size = head
	need, err := h.dtype.Bytes(h.shape)
	if err != nil {
		return nil, malformed("shape %v of %v overflows int64", h.shape, h.dtype)
	}
	if have := size - head; have != int64(need) {
		return nil, malformed("shape %v of %v needs %d bytes, file has %d", h.shape, h.dtype, need, have)
	}
	return h, nil
}

// ReadNPY reads a file of numpy.save: one array, row-major and little-endian whatever it was. Its size is checked against the header before memory is
// taken for it.
func ReadNPY(path string) (*tensor.Tensor, error) {
	f, info, err := openRegular(path)
	if err != nil {
		return nil, reading(path, err)
	}
	defer f.Close()
	h, err := readNpyHeader(f, info.Size())
	if err != nil {
		return nil, reading(path, err)
	}
	data, err := h.array(f)
	if err != nil {
		return nil, reading(path, err)
	}
	x, err := fromBytes(Info{DType: h.dtype, Shape: h.shape}, data)
	if err != nil {
		return nil, reading(path, err)
	}
	return x, nil
}

// readNext fills dst from a file or an entry of a zip.
func readNext(r io.Reader, dst []byte) error {
	_, err := io.ReadFull(r, dst)
	if err != nil {
		return zipError(err)
	}
	return nil
}

// parseNpyHeader reads {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }: these three keys, in any order.
func parseNpyHeader(text string) (*npyHeader, error) {
	p := literal{text}
	h := &npyHeader{}
	seen := map[string]bool{}
	if !p.take("{") {
		return nil, malformed("it does not begin with a dictionary")
	}
	for !p.take("}") {
		key, err := p.string()
		if err != nil {
			return nil, err
		}
		if seen[key] || !p.take(":") {
			return nil, malformed("the key %s is there twice or has no value", quote(key))
		}
		seen[key] = true
		switch key {
		case "descr":
			err = p.dtype(h)
		case "fortran_order":
			err = p.bool(&h.fortran)
		case "shape":
			h.shape, err = p.shape()
		default:
			err = malformed("it has the unknown key %s", quote(key))
		}
		if err != nil {
			return nil, err
		}
		if !p.take(",") && !strings.HasPrefix(p.rest, "}") {
			return nil, malformed("the dictionary does not end")
		}
	}
	switch {
	case len(seen) != 3:
		return nil, malformed("it has not the three keys descr, fortran_order and shape")
	case strings.TrimSpace(p.rest) != "":
		return nil, malformed("something follows the dictionary")
	}
	return h, nil
}

// literal is what is left to be read of a Python literal.
type literal struct{ rest string }

// take takes a token, and the spaces before and after it.
func (p *literal) take(token string) bool {
	rest, ok := strings.CutPrefix(strings.TrimLeft(p.rest, " \n"), token)
	if ok {
		p.rest = strings.TrimLeft(rest, " \n")
	}
	return ok
}

func (p *literal) string() (string, error) {
	for _, mark := range []string{"'", `"`} {
		if !p.take(mark) {
			continue
		}
		s, rest, ok := strings.Cut(p.rest, mark)
		if !ok || strings.Contains(s, `\`) {
			return "", malformed("a string does not end, or has escapes")
		}
		p.rest = rest
		p.take("")
		return s, nil
	}
	return "", malformed("a string is missing at %s", quote(p.rest))
}

func (p *literal) bool(to *bool) error {
	switch {
	case p.take("True"):
		*to = true
	case !p.take("False"):
		return malformed("fortran_order is neither True nor False")
	}
	return nil
}

func (p *literal) shape() (tensor.Shape, error) {
	if !p.take("(") {
		return nil, malformed("the shape is not a tuple")
	}
	shape := tensor.Shape{}
	for !p.take(")") {
		end := strings.IndexFunc(p.rest, func(r rune) bool { return r < '0' || r > '9' })
		n, err := strconv.ParseInt(p.rest[:max(end, 0)], 10, 64)
		if err != nil || len(shape) == maxRank {
			return nil, malformed("the shape is not a tuple of at most %d numbers", maxRank)
		}
		shape = append(shape, int(n))
		p.rest = p.rest[end:]
		p.take("L") // of Python 2
		if !p.take(",") && !strings.HasPrefix(p.rest, ")") {
			return nil, malformed("the shape does not end")
		}
	}
	return shape, nil
}

// npyDTypes are NumPy's names of the dtypes, without the order of bytes.
var npyDTypes = map[string]tensor.DType{
	"f8": tensor.F64, "f4": tensor.F32, "f2": tensor.F16, "i8": tensor.I64, "i4": tensor.I32, "i2": tensor.I16, "i1": tensor.I8,
	"u8": tensor.U64, "u4": tensor.U32, "u2": tensor.U16, "u1": tensor.U8, "b1": tensor.Bool,
}

func (p *literal) dtype(h *npyHeader) error {
	if strings.HasPrefix(p.rest, "[") {
		return malformed("arrays of records are not read")
	}
	s, err := p.string()
	if err != nil {
		return err
	}
	if s == "" {
		return malformed("the dtype is empty")
	}
	d, ok := npyDTypes[s[1:]]
	if !ok || !strings.Contains("<>=|", s[:1]) {
		return malformed("dtype %s is not read", quote(s))
	}
	h.dtype, h.swap = d, s[0] == '>'
	return nil
}

// npyName is NumPy's name of a dtype, little-endian; "" where it has none.
func npyName(d tensor.DType) string {
	for name, known := range npyDTypes {
		if known == d {
			if d.Size() == 1 {
				return "|" + name
			}
			return "<" + name
		}
	}
	return ""
}

// formatNpyHeader is the head of a .npy file of version 1, as NumPy writes it, up to a multiple of 64 bytes.
func formatNpyHeader(d tensor.DType, shape tensor.Shape) []byte {
	var b bytes.Buffer
	b.WriteString(npyMagic + "\x01\x00\x00\x00")
	fmt.Fprintf(&b, "{'descr': '%s', 'fortran_order': False, 'shape': (", npyName(d))
	for i, n := range shape {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Itoa(n))
	}
	if len(shape) == 1 {
		b.WriteByte(',')
	}
	b.WriteString("), }")
	for (b.Len()+1)%64 != 0 {
		b.WriteByte(' ')
	}
	b.WriteByte('\n')
	binary.LittleEndian.PutUint16(b.Bytes()[len(npyMagic)+2:], uint16(b.Len()-len(npyMagic)-4))
	return b.Bytes()
}

// fortranStride is the stride, in elements, of arrays whose first axis varies fastest.
func fortranStride(shape tensor.Shape) []int {
	stride, n := make([]int, len(shape)), 1
	for i, extent := range shape {
		stride[i] = n
		n *= extent
	}
	return stride
}

// array reads what follows the head.
func (h *npyHeader) array(r io.Reader) ([]byte, error) {
	out := tensor.New(h.dtype, h.shape).Bytes()
	data := out
	turned := h.fortran && len(h.shape) > 1
	if turned {
		data = slices.Clone(out)
	}
	if err := readNext(r, data); err != nil {
		return nil, err
	}
	if h.swap {
		swapBytes(data, h.dtype.Size())
	}
	if turned {
		gather(out, data, h.dtype.Size(), h.shape, fortranStride(h.shape))
	}
	return out, nil
}
