package onnx

import (
	"errors"
	"fmt"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/rebasin/rebasin/onnx/internal/onnxpb"
)

// Numbers of fields that are looked at on the wire.
const (
	modelGraph       = 7
	modelMetadata    = 14
	graphInitializer = 5

	tensorFloats  = 4
	tensorInts32  = 5
	tensorInts64  = 7
	tensorRaw     = 9
	tensorDoubles = 10
	tensorUints64 = 11
)

// Limits on what a file may ask for. Networks stay far below.
const (
	maxSkeleton = 1 << 28 // bytes without the data of initializers
	maxMessages = 1 << 21
	maxDepth    = 32      // of messages in messages
	maxListed   = 1 << 14 // inputs or outputs of a node or of the network
)

// span is a run of bytes of the model's file.
type span struct{ at, size int64 }

func (s span) end() int64 { return s.at + s.size }

// field is where a field of the model's file stands: its tag, its length and, behind them, its content.
type field struct {
	start   int64
	content span
}

func (f field) end() int64 { return f.content.end() }

// rawTensor is an initializer as it stands in the file.
type rawTensor struct {
	message field
	data    field            // where the data is inline
	number  protowire.Number // of the field that holds the data, 0 where there is none
}

// layout is where the parts of a model stand that may be replaced.
type layout struct {
	size     int64 // of the file
	graph    field
	metadata []field
	tensors  []rawTensor
}

// scanner walks over a file without reading the data of tensors, and collects the rest.
type scanner struct {
	file     io.ReaderAt
	window   []byte // of the file, from at
	at       int64
	skeleton []byte
	layout   layout
}

// scan finds the parts of a model of size bytes and parses it without the data of its initializers.
func scan(file io.ReaderAt, size int64) (*onnxpb.ModelProto, *layout, error) {
	s := &scanner{file: file, layout: layout{size: size}}
	if err := s.model(); err != nil {
		return nil, nil, err
	}
	messages := 0
	if err := bounded(s.skeleton, (&onnxpb.ModelProto{}).ProtoReflect().Descriptor(), 0, &messages); err != nil {
		return nil, nil, err
	}
	m := &onnxpb.ModelProto{}
	if err := proto.Unmarshal(s.skeleton, m); err != nil {
		return nil, nil, malformed("not an ONNX model: %v", err)
	}
	if m.GetGraph() == nil {
		return nil, nil, malformed("not an ONNX model: it has no graph")
	}
	return m, &s.layout, nil
}

func (s *scanner) model() error {
	return s.fields(span{0, s.layout.size}, func(number protowire.Number, kind protowire.Type, f field) error {
		switch {
		case number == modelGraph && kind == protowire.BytesType:
			if s.layout.graph.content.at != 0 {
				return malformed("the model has two graphs")
			}
			s.layout.graph = f
			graph, err := s.within(func() error { return s.graph(f.content) })
			if err != nil {
				return err
			}
			return s.keep(number, graph)
		case number == modelMetadata && kind == protowire.BytesType:
			s.layout.metadata = append(s.layout.metadata, f)
		}
		return s.copy(f)
	})
}

func (s *scanner) graph(content span) error {
	return s.fields(content, func(number protowire.Number, kind protowire.Type, f field) error {
		if number != graphInitializer || kind != protowire.BytesType {
			return s.copy(f)
		}
		if len(s.layout.tensors) == maxMessages {
			return malformed("more than %d initializers", maxMessages)
		}
		s.layout.tensors = append(s.layout.tensors, rawTensor{message: f})
		t := &s.layout.tensors[len(s.layout.tensors)-1]
		tensor, err := s.within(func() error { return s.tensor(t) })
		if err != nil {
			return fmt.Errorf("initializer %d: %w", len(s.layout.tensors)-1, err)
		}
		return s.keep(number, tensor)
	})
}

func (s *scanner) tensor(t *rawTensor) error {
	return s.fields(t.message.content, func(number protowire.Number, kind protowire.Type, f field) error {
		switch number {
		case tensorFloats, tensorInts32, tensorInts64, tensorRaw, tensorDoubles, tensorUints64:
		default:
			return s.copy(f)
		}
		switch {
		case kind != protowire.BytesType:
			return malformed("its data is not packed")
		case t.number != 0:
			return malformed("it has data twice")
		}
		t.data, t.number = f, number
		return nil
	})
}

// within collects what f keeps apart from the rest.
func (s *scanner) within(f func() error) ([]byte, error) {
	outer := s.skeleton
	s.skeleton = nil
	err := f()
	inner := s.skeleton
	s.skeleton = outer
	return inner, err
}

// keep appends a field to the skeleton.
func (s *scanner) keep(number protowire.Number, content []byte) error {
	if len(s.skeleton)+len(content) > maxSkeleton {
		return errLarge
	}
	s.skeleton = protowire.AppendTag(s.skeleton, number, protowire.BytesType)
	s.skeleton = protowire.AppendBytes(s.skeleton, content)
	return nil
}

var errLarge = malformed("more than %d bytes besides the data of initializers", maxSkeleton)

// copy appends a field to the skeleton as it stands in the file.
func (s *scanner) copy(f field) error {
	n := f.end() - f.start
	if n > maxSkeleton-int64(len(s.skeleton)) {
		return errLarge
	}
	if from := f.start - s.at; from >= 0 && from+n <= int64(len(s.window)) {
		s.skeleton = append(s.skeleton, s.window[from:from+n]...)
		return nil
	}
	begin := len(s.skeleton)
	s.skeleton = append(s.skeleton, make([]byte, n)...)
	return readFull(s.file, s.skeleton[begin:], f.start)
}

// fields calls visit for each field of a message. A field that is no run of bytes has its value as content.
func (s *scanner) fields(message span, visit func(protowire.Number, protowire.Type, field) error) error {
	for at := message.at; at < message.end(); {
		f := field{start: at}
		tag, n, err := s.varint(at, message.end())
		if err != nil {
			return err
		}
		at += n
		number, kind := protowire.DecodeTag(tag)
		if number < protowire.MinValidNumber {
			return malformed("byte %d: not an ONNX model: field number %d", f.start, number)
		}
		f.content.at = at
		switch kind {
		case protowire.VarintType:
			_, n, err = s.varint(at, message.end())
			f.content.size = n
		case protowire.Fixed32Type:
			f.content.size = 4
		case protowire.Fixed64Type:
			f.content.size = 8
		case protowire.BytesType:
			var length uint64
			length, n, err = s.varint(at, message.end())
			if f.content.at += n; err == nil && length > uint64(message.end()-f.content.at) {
				return malformed("byte %d: a field of %d bytes, but only %d bytes follow", f.start, length, message.end()-f.content.at)
			}
			f.content.size = int64(length)
		default:
			return malformed("byte %d: not an ONNX model: wire type %d", f.start, kind)
		}
		if err != nil {
			return err
		}
		if at = f.end(); at > message.end() {
			return malformed("byte %d: a field reaches beyond its message", f.start)
		}
		if err := visit(number, kind, f); err != nil {
			return err
		}
	}
	return nil
}

// varint reads a number that must end before end, and returns how many bytes it takes.
func (s *scanner) varint(at, end int64) (uint64, int64, error) {
	const longest = 10
	want := int(min(longest, end-at))
	if at < s.at || at+int64(want) > s.at+int64(len(s.window)) {
		s.at, s.window = at, s.window[:0]
		if err := s.fill(int(min(1<<16, s.layout.size-at))); err != nil {
			return 0, 0, err
		}
	}
	from := int(at - s.at)
	v, n := protowire.ConsumeVarint(s.window[from : from+want])
	if n < 0 {
		return 0, 0, malformed("byte %d: not an ONNX model: %v", at, protowire.ParseError(n))
	}
	return v, int64(n), nil
}

func (s *scanner) fill(n int) error {
	if cap(s.window) < n {
		s.window = make([]byte, n)
	}
	s.window = s.window[:n]
	return readFull(s.file, s.window, s.at)
}

// bounded counts the messages in a message, and how deeply they are nested, before anything is parsed: an empty message takes two bytes of the file
// and a hundred of memory.
func bounded(b []byte, kind protoreflect.MessageDescriptor, depth int, messages *int) error {
	if *messages++; *messages > maxMessages {
		return malformed("more than %d messages", maxMessages)
	}
	if depth > maxDepth {
		return malformed("messages are nested more than %d deep", maxDepth)
	}
	for len(b) > 0 {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed("not an ONNX model: %v", protowire.ParseError(n))
		}
		b = b[n:]
		f := kind.Fields().ByNumber(number)
		if f == nil || f.Kind() != protoreflect.MessageKind || wire != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, wire, b); n < 0 {
				return malformed("not an ONNX model: %v", protowire.ParseError(n))
			}
			b = b[n:]
			continue
		}
		content, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return malformed("not an ONNX model: %v", protowire.ParseError(n))
		}
		if err := bounded(content, f.Message(), depth+1, messages); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// readFull fills dst from position at. The size of the file was checked before, so an early end means that the file has changed since.
func readFull(r io.ReaderAt, dst []byte, at int64) error {
	n, err := r.ReadAt(dst, at)
	switch {
	case n == len(dst):
		return nil
	case errors.Is(err, io.EOF):
		return malformed("file ends %d bytes early: it was cut off after it was opened", len(dst)-n)
	}
	return cause(err)
}

// int64s decodes packed numbers of which there must be n.
func int64s(packed []byte, n int) ([]int64, error) {
	if n > len(packed) {
		return nil, malformed("data has at most %d numbers, not %d", len(packed), n)
	}
	out := make([]int64, 0, n)
	for len(packed) > 0 {
		v, k := protowire.ConsumeVarint(packed)
		if k < 0 || len(out) == n {
			return nil, malformed("data is not %d numbers", n)
		}
		out, packed = append(out, int64(v)), packed[k:]
	}
	if len(out) != n {
		return nil, malformed("data has %d numbers, not %d", len(out), n)
	}
	return out, nil
}

// toInt converts an extent of the file, which must not be negative.
func toInt(v int64) (int, error) {
	if v < 0 || v > math.MaxInt {
		return 0, malformed("extent %d is not possible", v)
	}
	return int(v), nil
}
