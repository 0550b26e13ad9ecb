package onnx

import (
	"encoding/binary"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/onnx/internal/onnxpb"
	"github.com/rebasin/rebasin/tensor"
)

// dtypes gives the types of elements that tensors can have.
var dtypes = map[onnxpb.TensorProto_DataType]tensor.DType{
	onnxpb.TensorProto_FLOAT: tensor.F32, onnxpb.TensorProto_DOUBLE: tensor.F64,
	onnxpb.TensorProto_FLOAT16: tensor.F16, onnxpb.TensorProto_BFLOAT16: tensor.BF16,
	onnxpb.TensorProto_INT64: tensor.I64, onnxpb.TensorProto_INT32: tensor.I32, onnxpb.TensorProto_INT16: tensor.I16, onnxpb.TensorProto_INT8: tensor.I8,
	onnxpb.TensorProto_UINT64: tensor.U64, onnxpb.TensorProto_UINT32: tensor.U32, onnxpb.TensorProto_UINT16: tensor.U16, onnxpb.TensorProto_UINT8: tensor.U8,
	onnxpb.TensorProto_BOOL: tensor.Bool, onnxpb.TensorProto_FLOAT8E4M3FN: tensor.F8E4M3, onnxpb.TensorProto_FLOAT8E5M2: tensor.F8E5M2,
}

// dtypeOf reads the type of elements.
func dtypeOf(number int32) (tensor.DType, error) {
	d, ok := dtypes[onnxpb.TensorProto_DataType(number)]
	if ok {
		return d, nil
	}
	if name, known := onnxpb.TensorProto_DataType_name[number]; known && number != 0 {
		return 0, unsupported("elements of type %s are not supported", name)
	}
	return 0, malformed("elements of the unknown type %d", number)
}

// infoOf reads name, dtype and shape of a tensor and returns its size in bytes.
func infoOf(p *onnxpb.TensorProto) (checkpoint.Info, int, error) {
	info := checkpoint.Info{Name: p.GetName(), Shape: tensor.Shape{}}
	var err error
	if info.DType, err = dtypeOf(p.GetDataType()); err != nil {
		return info, 0, err
	}
	if len(p.GetDims()) > graph.MaxRank {
		return info, 0, malformed("shape has more than %d extents", graph.MaxRank)
	}
	if p.GetSegment() != nil {
		return info, 0, unsupported("it is stored in segments, which is not supported")
	}
	for _, d := range p.GetDims() {
		n, err := toInt(d)
		if err != nil {
			return info, 0, err
		}
		info.Shape = append(info.Shape, n)
	}
	size, err := info.DType.Bytes(info.Shape)
	if err != nil {
		return info, 0, malformed("%v", err)
	}
	return info, size, nil
}

// dataField is the field that holds elements of a type where they are not raw.
func dataField(d tensor.DType) protowire.Number {
	switch d {
	case tensor.F32:
		return tensorFloats
	case tensor.F64:
		return tensorDoubles
	case tensor.I64:
		return tensorInts64
	case tensor.U32, tensor.U64:
		return tensorUints64
	}
	return tensorInts32
}

// isDense says that a field holds elements as tensors do: little-endian, one after the other.
func isDense(number protowire.Number) bool {
	return number == tensorRaw || number == tensorFloats || number == tensorDoubles
}

// checkData compares a field's size with what a tensor of size bytes needs.
func checkData(info checkpoint.Info, size int, number protowire.Number, have int64) error {
	elements := int64(size / info.DType.Size())
	switch {
	case number == 0 && size > 0:
		return malformed("shape %v of %v needs %d bytes, the file has no data for it", info.Shape, info.DType, size)
	case number == 0:
		return nil
	case number != tensorRaw && number != dataField(info.DType):
		return malformed("elements of %v stand in the field of another type", info.DType)
	case isDense(number) && have != int64(size):
		return malformed("shape %v of %v needs %d bytes, file has %d", info.Shape, info.DType, size, have)
	case !isDense(number) && have < elements:
		return malformed("shape %v of %v needs %d numbers, file has %d bytes for them", info.Shape, info.DType, elements, have)
	}
	return nil
}

// fromInts makes a tensor of numbers as the fields of integers hold them: each element in one, floats and booleans as their bits.
func fromInts(info checkpoint.Info, numbers []int64) (*tensor.Tensor, error) {
	t := tensor.New(info.DType, info.Shape)
	b, width := t.Bytes(), info.DType.Size()
	for i, v := range numbers {
		if !fits(v, info.DType) {
			return nil, malformed("element %d is %d, which is no %v", i, v, info.DType)
		}
		switch width {
		case 1:
			b[i] = byte(v)
		case 2:
			binary.LittleEndian.PutUint16(b[2*i:], uint16(v))
		case 4:
			binary.LittleEndian.PutUint32(b[4*i:], uint32(v))
		case 8:
			binary.LittleEndian.PutUint64(b[8*i:], uint64(v))
		}
	}
	return t, nil
}

func fits(v int64, d tensor.DType) bool {
	switch d {
	case tensor.Bool:
		return v == 0 || v == 1
	case tensor.I8:
		return v == int64(int8(v))
	case tensor.U8, tensor.F8E4M3, tensor.F8E5M2:
		return v == int64(uint8(v))
	case tensor.I16:
		return v == int64(int16(v))
	case tensor.U16, tensor.F16, tensor.BF16:
		return v == int64(uint16(v))
	case tensor.I32:
		return v == int64(int32(v))
	case tensor.U32:
		return v == int64(uint32(v))
	}
	return true
}

// readTensor reads a tensor's data from where it stands: a field of the model's file.
func readTensor(r io.ReaderAt, info checkpoint.Info, number protowire.Number, at span) (*tensor.Tensor, error) {
	if number == 0 || isDense(number) {
		return readDense(r, info, at)
	}
	packed := make([]byte, at.size)
	if err := readFull(r, packed, at.at); err != nil {
		return nil, err
	}
	numbers, err := int64s(packed, elements(info.Shape))
	if err != nil {
		return nil, err
	}
	return fromInts(info, numbers)
}

// elements counts those of a shape that was checked before.
func elements(s tensor.Shape) int {
	n := 1
	for _, e := range s {
		n *= e
	}
	return n
}

// readDense reads little-endian elements; the span has their size.
func readDense(r io.ReaderAt, info checkpoint.Info, at span) (*tensor.Tensor, error) {
	data := tensor.New(info.DType, info.Shape).Bytes() // aligned, so FromBytes below keeps it
	if err := readFull(r, data, at.at); err != nil {
		return nil, err
	}
	t, err := tensor.FromBytes(info.DType, info.Shape, data)
	if err != nil {
		return nil, malformed("%v", err)
	}
	return t, nil
}

// attributeTensor reads the tensor of an attribute, whose data was parsed with its message or lies in a file beside the model.
func (f *File) attributeTensor(p *onnxpb.TensorProto) (*tensor.Tensor, error) {
	info, size, err := infoOf(p)
	if err != nil {
		return nil, err
	}
	if p.GetDataLocation() == onnxpb.TensorProto_EXTERNAL {
		e, err := f.external(p, size)
		if err != nil {
			return nil, err
		}
		f.externalAttributes = true
		return f.readExternal(info, e)
	}
	number, raw, numbers, err := inline(p)
	if err != nil {
		return nil, err
	}
	have := int64(len(raw))
	if number != 0 && !isDense(number) {
		have = int64(len(numbers))
	}
	if err := checkData(info, size, number, have); err != nil {
		return nil, err
	}
	if number != 0 && !isDense(number) {
		if len(numbers) != elements(info.Shape) {
			return nil, malformed("data has %d numbers, not %d", len(numbers), elements(info.Shape))
		}
		return fromInts(info, numbers)
	}
	t, err := tensor.FromBytes(info.DType, info.Shape, raw)
	if err != nil {
		return nil, malformed("%v", err)
	}
	return t, nil
}

// inline returns the one field of data that a parsed tensor has: dense bytes, or numbers.
func inline(p *onnxpb.TensorProto) (number protowire.Number, raw []byte, numbers []int64, err error) {
	set := func(n protowire.Number) {
		if number != 0 {
			err = malformed("it has data twice")
		}
		number = n
	}
	if len(p.GetRawData()) > 0 {
		set(tensorRaw)
		raw = p.GetRawData()
	}
	if v := p.GetFloatData(); len(v) > 0 {
		set(tensorFloats)
		raw = make([]byte, 0, 4*len(v))
		for _, x := range v {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
		}
	}
	if v := p.GetDoubleData(); len(v) > 0 {
		set(tensorDoubles)
		raw = make([]byte, 0, 8*len(v))
		for _, x := range v {
			raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(x))
		}
	}
	if v := p.GetInt64Data(); len(v) > 0 {
		set(tensorInts64)
		numbers = v
	}
	if v := p.GetInt32Data(); len(v) > 0 {
		set(tensorInts32)
		for _, x := range v {
			numbers = append(numbers, int64(x))
		}
	}
	if v := p.GetUint64Data(); len(v) > 0 {
		set(tensorUints64)
		for _, x := range v {
			numbers = append(numbers, int64(x))
		}
	}
	return number, raw, numbers, err
}
