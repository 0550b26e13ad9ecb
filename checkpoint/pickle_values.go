package checkpoint

import (
	"slices"

	"github.com/rebasin/rebasin/tensor"
)

// What a pickle makes are values of these types, and of bool, int64, float64 and string.
type (
	pyNone  struct{}
	pyLong  string // an integer of more than eight bytes, in two's complement, little-endian
	pyBytes string // also a string of Python 2
	pyTuple []any
	pyList  struct{ items []any }
	pySet   struct{ items []any }

	// pyDict is a dict or, ordered, a collections.OrderedDict. Both keep the order of their keys.
	pyDict struct {
		keys, values []any
		places       map[any]int
		ordered      bool
		attributes   *pyDict // what is set on an ordered one beside its keys; nil is nothing
	}

	// pyOpaque is an object of a class that is known, and of no further use.
	pyOpaque struct{ class string }

	// storage is a piece of memory that tensors look at; its bytes are elsewhere in the file, under the key.
	storage struct {
		key   string
		class *class
		bytes int64
		// Before version 0.4 PyTorch wrote storages that are views of others: where the view begins, and what is to be seen, in bytes.
		begin, size int64
	}

	// tensorValue looks at a storage. Nothing about it is checked yet.
	tensorValue struct {
		storage *storage
		dtype   *class
		offset  int64 // in elements, as are the strides
		shape   []int64
		stride  []int64
	}
)

// kindOf names the type of a value for messages.
func kindOf(v any) string {
	switch v := v.(type) {
	case pyNone:
		return "None"
	case bool:
		return "a bool"
	case int64:
		return "an integer"
	case pyLong:
		return "an integer of more than 64 bits"
	case float64:
		return "a float"
	case string:
		return "a string"
	case pyBytes:
		return "bytes"
	case pyTuple:
		return "a tuple"
	case *pyList:
		return "a list"
	case *pySet:
		return "a set"
	case *pyDict:
		return "a dictionary"
	case *class:
		return "the class " + quote(v.name)
	case *pyOpaque:
		return "an object of class " + quote(v.class)
	case *storage:
		return "a storage"
	case *tensorValue:
		return "a tensor"
	}
	return "an unknown value"
}

// set adds a key. The pickle of a dictionary has no key twice; one that does would not mean the same to every reader.
func (d *pyDict) set(key, value any) error {
	switch key.(type) {
	case string, int64, bool, float64, pyLong, pyBytes, pyNone:
		if _, ok := d.places[key]; ok {
			return malformed("a dictionary has the key %s twice", keyText(key))
		}
		if d.places == nil {
			d.places = map[any]int{}
		}
		d.places[key] = len(d.keys)
	case pyTuple, *pyOpaque, *class, *tensorValue:
	default:
		return malformed("%s is a key of a dictionary", kindOf(key))
	}
	d.keys, d.values = append(d.keys, key), append(d.values, value)
	return nil
}

// keyText shows a key in a message.
func keyText(key any) string {
	if s, ok := key.(string); ok {
		return quote(s)
	}
	return kindOf(key)
}

// get returns the value of a key that is a string.
func (d *pyDict) get(key string) (any, bool) {
	i, ok := d.places[key]
	if !ok {
		return nil, false
	}
	return d.values[i], true
}

// A class is a class, function or dtype that a pickle may name.
type class struct {
	name     string
	make     func(u *unpickler, args []any) (any, error) // what a call gives; nil where there is none
	stateful bool                                        // its objects, which are opaque, get a state
	storage  bool                                        // it is a type of storage
	dtype    tensor.DType                                // of a storage or a dtype; 0 is one that is not read, or bytes
	size     int                                         // of an element of a storage, in bytes
}

// classes are all that a pickle may name. It may call what has make.
var classes = func() map[string]*class {
	known := map[string]*class{}
	add := func(c class) { known[c.name] = &c }
	for _, name := range []string{"builtins.", "__builtin__."} {
		add(class{name: name + "set", make: makeSet})
		add(class{name: name + "frozenset", make: makeSet})
		add(class{name: name + "dict", make: makeDict})
		add(class{name: name + "list"})
		add(class{name: name + "int"})
		add(class{name: name + "float"})
	}
	add(class{name: "collections.OrderedDict", make: makeOrderedDict})
	add(class{name: "collections.Counter", make: makeDict})
	add(class{name: "collections.defaultdict", make: makeDefaultDict})
	add(class{name: "torch.Size", make: makeSize})
	add(class{name: "torch._utils._rebuild_tensor", make: rebuildTensor})
	add(class{name: "torch._utils._rebuild_tensor_v2", make: rebuildTensor})
	add(class{name: "torch._utils._rebuild_tensor_v3", make: rebuildTensorV3})
	add(class{name: "torch._utils._rebuild_parameter", make: rebuildParameter})
	add(class{name: "torch._utils._rebuild_parameter_with_state", make: rebuildParameter})

	// Values that stand beside state dicts in files of trainings, and mean nothing here.
	for _, name := range []string{"torch.device", "_codecs.encode", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"} {
		add(class{name: name, make: opaque(name)})
	}
	for _, name := range []string{"numpy.dtype", "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"} {
		add(class{name: name, make: opaque(name), stateful: true})
	}
	add(class{name: "numpy.ndarray"})

	for _, e := range elements {
		if e.storage != "" {
			add(class{name: "torch." + e.storage, storage: true, dtype: e.dtype, size: e.size})
			add(class{name: "torch.cuda." + e.storage, storage: true, dtype: e.dtype, size: e.size})
		}
		for _, name := range e.names {
			add(class{name: "torch." + name, dtype: e.dtype})
		}
	}
	add(class{name: untypedStorage, storage: true, size: 1})
	add(class{name: "torch.storage._UntypedStorage", storage: true, size: 1})
	return known
}()

const untypedStorage = "torch.storage.UntypedStorage"

// elements are PyTorch's types of elements: the class of their storages, where there is one, the bytes of an element, and the names of the
// dtype. Those without a dtype here are known, so that what stands beside a state dict may have them, but not read.
var elements = []struct {
	storage string
	dtype   tensor.DType
	size    int
	names   []string
}{
	{"DoubleStorage", tensor.F64, 8, []string{"float64", "double"}},
	{"FloatStorage", tensor.F32, 4, []string{"float32", "float"}},
	{"HalfStorage", tensor.F16, 2, []string{"float16", "half"}},
	{"BFloat16Storage", tensor.BF16, 2, []string{"bfloat16"}},
	{"LongStorage", tensor.I64, 8, []string{"int64", "long"}},
	{"IntStorage", tensor.I32, 4, []string{"int32", "int"}},
	{"ShortStorage", tensor.I16, 2, []string{"int16", "short"}},
	{"CharStorage", tensor.I8, 1, []string{"int8"}},
	{"ByteStorage", tensor.U8, 1, []string{"uint8"}},
	{"BoolStorage", tensor.Bool, 1, []string{"bool"}},
	{"ComplexFloatStorage", 0, 8, []string{"complex64", "cfloat"}},
	{"ComplexDoubleStorage", 0, 16, []string{"complex128", "cdouble"}},
	{"QInt8Storage", 0, 1, []string{"qint8"}},
	{"QUInt8Storage", 0, 1, []string{"quint8"}},
	{"QInt32Storage", 0, 4, []string{"qint32"}},
	{"", tensor.U16, 2, []string{"uint16"}},
	{"", tensor.U32, 4, []string{"uint32"}},
	{"", tensor.U64, 8, []string{"uint64"}},
	{"", tensor.F8E4M3, 1, []string{"float8_e4m3fn"}},
	{"", tensor.F8E5M2, 1, []string{"float8_e5m2"}},
}

// opaque makes an object of which nothing but the class is known.
func opaque(name string) func(*unpickler, []any) (any, error) {
	return func(*unpickler, []any) (any, error) { return &pyOpaque{name}, nil }
}

func makeSet(u *unpickler, args []any) (any, error) {
	if len(args) == 0 {
		return &pySet{}, nil
	}
	list, ok := args[0].(*pyList)
	if !ok || len(args) != 1 {
		return nil, malformed("the arguments are not one list")
	}
	return &pySet{items: slices.Clone(list.items)}, u.spend(len(list.items))
}

// makeOrderedDict also reads the form of Python 2, which gives the items as an argument: a list of lists of two.
func makeOrderedDict(u *unpickler, args []any) (any, error) {
	d := &pyDict{ordered: true}
	if len(args) == 0 {
		return d, nil
	}
	list, ok := args[0].(*pyList)
	if !ok || len(args) != 1 {
		return nil, malformed("the arguments are not one list")
	}
	if err := u.spend(len(list.items)); err != nil {
		return nil, err
	}
	for _, item := range list.items {
		pair, ok := item.(*pyList)
		if !ok || len(pair.items) != 2 {
			return nil, malformed("an item is %s, not a list of key and value", kindOf(item))
		}
		if err := d.set(pair.items[0], pair.items[1]); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func makeDict(u *unpickler, args []any) (any, error) {
	d := &pyDict{}
	if len(args) == 0 {
		return d, nil
	}
	from, ok := args[0].(*pyDict)
	if !ok || len(args) != 1 {
		return nil, malformed("the arguments are not one dictionary")
	}
	if err := u.spend(len(from.keys)); err != nil {
		return nil, err
	}
	for i, key := range from.keys {
		if err := d.set(key, from.values[i]); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func makeDefaultDict(_ *unpickler, args []any) (any, error) {
	if len(args) > 1 {
		return nil, malformed("%d arguments", len(args))
	}
	return &pyDict{}, nil
}

func makeSize(_ *unpickler, args []any) (any, error) {
	if len(args) == 1 {
		if size, ok := args[0].(pyTuple); ok {
			return size, nil
		}
	}
	return nil, malformed("the arguments are not one tuple")
}

// rebuildTensor reads (storage, offset, size, stride, ...); what follows, whether it is trained and its hooks, says nothing about its values.
func rebuildTensor(u *unpickler, args []any) (any, error) {
	if len(args) < 4 || len(args) > 7 {
		return nil, malformed("%d arguments", len(args))
	}
	s, ok := args[0].(*storage)
	if !ok {
		return nil, malformed("the tensor is made of %s, not of a storage", kindOf(args[0]))
	}
	t := &tensorValue{storage: s, dtype: s.class}
	if t.offset, ok = args[1].(int64); !ok {
		return nil, malformed("the offset is %s, not an integer", kindOf(args[1]))
	}
	var err error
	if t.shape, err = integers("size", args[2]); err != nil {
		return nil, err
	}
	if t.stride, err = integers("stride", args[3]); err != nil {
		return nil, err
	}
	return t, u.spend(len(t.shape) + len(t.stride))
}

// rebuildTensorV3 reads (storage, offset, size, stride, requires_grad, hooks, dtype, ...), the form of dtypes without a storage of their own.
func rebuildTensorV3(u *unpickler, args []any) (any, error) {
	if len(args) < 7 || len(args) > 8 {
		return nil, malformed("%d arguments", len(args))
	}
	v, err := rebuildTensor(u, args[:6])
	if err != nil {
		return nil, err
	}
	c, ok := args[6].(*class)
	if !ok || c.storage || c.make != nil {
		return nil, malformed("the dtype is %s", kindOf(args[6]))
	}
	v.(*tensorValue).dtype = c
	return v, nil
}

// rebuildParameter reads (tensor, requires_grad, hooks) and, with state, (..., state).
func rebuildParameter(_ *unpickler, args []any) (any, error) {
	if len(args) < 3 || len(args) > 4 {
		return nil, malformed("%d arguments", len(args))
	}
	t, ok := args[0].(*tensorValue)
	if !ok {
		return nil, malformed("the parameter is made of %s, not of a tensor", kindOf(args[0]))
	}
	return t, nil
}

// integers reads a tuple of integers, which torch.Size is too.
func integers(what string, v any) ([]int64, error) {
	list, ok := v.(pyTuple)
	if !ok {
		return nil, malformed("the %s is %s, not a tuple", what, kindOf(v))
	}
	if len(list) > maxRank {
		return nil, malformed("the %s has more than %d numbers", what, maxRank)
	}
	out := make([]int64, len(list))
	for i, x := range list {
		if out[i], ok = x.(int64); !ok {
			return nil, malformed("the %s has %s, not an integer", what, kindOf(x))
		}
	}
	return out, nil
}
