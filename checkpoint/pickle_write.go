package checkpoint

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/rebasin/rebasin/tensor"
)

// pickler writes pickles of protocol 2, the one that torch.save uses and the restricted unpickler of torch.load(weights_only=True) reads. What
// it writes is in bytes that depend on the values alone.
type pickler struct {
	out  bytes.Buffer
	memo map[string]int // what was written before, by its bytes
}

func newPickler() *pickler {
	p := &pickler{memo: map[string]int{}}
	p.out.WriteString("\x80\x02")
	return p
}

func (p *pickler) bytes() []byte {
	p.out.WriteByte('.')
	return p.out.Bytes()
}

// again writes code that pushes a value, and the second time a reference to that value.
func (p *pickler) again(code string) {
	n, ok := p.memo[code]
	if ok {
		p.number('h', 'j', n)
		return
	}
	n = len(p.memo)
	p.memo[code] = n
	p.out.WriteString(code)
	p.number('q', 'r', n)
}

// number writes an opcode with a number of one or of four bytes.
func (p *pickler) number(short, long byte, n int) {
	if n < 1<<8 {
		p.out.Write([]byte{short, byte(n)})
		return
	}
	p.out.WriteByte(long)
	p.out.Write(binary.LittleEndian.AppendUint32(nil, uint32(n)))
}

func global(module, name string) string { return "c" + module + "\n" + name + "\n" }

func text(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func (p *pickler) class(module, name string) { p.again(global(module, name)) }

func (p *pickler) orderedDict() {
	p.class("collections", "OrderedDict")
	p.out.WriteString(")R")
}

// value writes a value of which carried says that it can be written.
func (p *pickler) value(v any) {
	switch v := v.(type) {
	case pyNone:
		p.out.WriteByte('N')
	case bool:
		if v {
			p.out.WriteByte(0x88)
		} else {
			p.out.WriteByte(0x89)
		}
	case int64:
		p.int(v)
	case pyLong:
		p.out.Write([]byte{0x8a, byte(len(v))})
		p.out.WriteString(string(v))
	case float64:
		p.out.WriteByte('G')
		p.out.Write(binary.BigEndian.AppendUint64(nil, math.Float64bits(v)))
	case string:
		p.out.WriteString(text(v))
	case pyTuple:
		p.tuple(len(v), func(i int) { p.value(v[i]) })
	case *pyList:
		p.out.WriteByte(']')
		p.batches(len(v.items), 'e', func(i int) { p.value(v.items[i]) })
	case *pyDict:
		p.dict(v)
	}
}

func (p *pickler) int(n int64) {
	switch {
	case n >= 0 && n < 1<<8:
		p.out.Write([]byte{'K', byte(n)})
	case n >= 0 && n < 1<<16:
		p.out.Write([]byte{'M', byte(n), byte(n >> 8)})
	case n >= math.MinInt32 && n <= math.MaxInt32:
		p.out.WriteByte('J')
		p.out.Write(binary.LittleEndian.AppendUint32(nil, uint32(n)))
	default:
		p.out.Write([]byte{0x8a, 8})
		p.out.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
	}
}

func (p *pickler) tuple(n int, item func(i int)) {
	if n > 3 {
		p.out.WriteByte('(')
	}
	for i := range n {
		item(i)
	}
	p.out.WriteByte([]byte{')', 0x85, 0x86, 0x87, 't'}[min(n, 4)])
}

func (p *pickler) shape(s []int) { p.tuple(len(s), func(i int) { p.int(int64(s[i])) }) }

// batches writes items, a thousand at a time as Python does, each batch put into the container below by an opcode.
func (p *pickler) batches(n int, opcode byte, item func(i int)) {
	const most = 1000
	for start := 0; start < n; start += most {
		p.out.WriteByte('(')
		for i := start; i < min(n, start+most); i++ {
			item(i)
		}
		p.out.WriteByte(opcode)
	}
}

func (p *pickler) dict(d *pyDict) {
	if d.ordered {
		p.orderedDict()
	} else {
		p.out.WriteByte('}')
	}
	p.batches(len(d.keys), 'u', func(i int) {
		p.value(d.keys[i])
		p.value(d.values[i])
	})
	p.attributes(d.attributes)
}

func (p *pickler) attributes(d *pyDict) {
	if d != nil {
		p.dict(d)
		p.out.WriteByte('b')
	}
}

// tensor writes a dense tensor that covers the storage of this key.
func (p *pickler) tensor(key string, dtype tensor.DType, shape tensor.Shape) {
	n := 1
	stride := make([]int, len(shape))
	for i := len(shape) - 1; i >= 0; i-- {
		stride[i] = n
		n *= max(shape[i], 1) // so has PyTorch
	}
	elements, _ := shape.Elements()
	p.class("torch._utils", "_rebuild_tensor_v2")
	p.out.WriteByte('(')
	p.out.WriteByte('(')
	p.again(text("storage"))
	p.class("torch", storageClass(dtype))
	p.value(key)
	p.again(text("cpu"))
	p.int(int64(elements))
	p.out.WriteString("tQ")
	p.int(0)
	p.shape(shape)
	p.shape(stride)
	p.value(false)
	p.orderedDict()
	p.out.WriteString("tR")
}

// storageClass is the class of PyTorch's storages of a dtype; those without one are not written.
func storageClass(d tensor.DType) string {
	for _, e := range elements {
		if e.dtype == d {
			return e.storage
		}
	}
	return ""
}
