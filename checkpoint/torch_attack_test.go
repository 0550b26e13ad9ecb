package checkpoint_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/checkpoint"
)

// Pieces of pickles, written down as code.
const proto = "\x80\x02"

func pyText(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func pyInt(n int64) string {
	return "\x8a\x08" + string(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

func pyTuple(items ...string) string { return "(" + strings.Join(items, "") + "t" }

func pyInts(n ...int64) string {
	var items []string
	for _, x := range n {
		items = append(items, pyInt(x))
	}
	return pyTuple(items...)
}

func pyCall(module, name string, args ...string) string {
	return "c" + module + "\n" + name + "\n" + pyTuple(args...) + "R"
}

// pyStorage is a storage in a zip, or in the older format where it has a view.
func pyStorage(class, key string, numel int64, view ...string) string {
	return pyTuple(append([]string{pyText("storage"), "ctorch\n" + class + "\n", pyText(key), pyText("cpu"), pyInt(numel)}, view...)...) + "Q"
}

const noHooks = "ccollections\nOrderedDict\n)R"

// pyTensor has everything but the storage in its hands.
func pyTensor(storage, offset, shape, stride string) string {
	return pyCall("torch._utils", "_rebuild_tensor_v2", storage, offset, shape, stride, "\x89", noHooks)
}

func pyDict(pairs ...string) string { return "}(" + strings.Join(pairs, "") + "u" }

// twoFloats is a tensor of shape [2] in storage "0", which has eight bytes.
var twoFloats = pyTensor(pyStorage("FloatStorage", "0", 2), pyInt(0), pyInts(2), pyInts(1))

// withTensor is a state dict of twoFloats and another value.
func withTensor(value string) string { return pyDict(pyText("w"), twoFloats, pyText("x"), value) }

// oneTensor is a state dict of one tensor in storage "0".
func oneTensor(offset int64, shape, stride []int64) string {
	return pyDict(pyText("w"), pyTensor(pyStorage("FloatStorage", "0", 2), pyInt(offset), pyInts(shape...), pyInts(stride...)))
}

// zipped is a zip of stored entries, in the order of their names.
func zipped(entries map[string]string) []byte {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		to, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = io.WriteString(to, entries[name])
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// torchZip is a file of PyTorch with this pickle, without protocol and end, and storage "0" of eight bytes.
func torchZip(code string) []byte {
	return zipped(map[string]string{"a/data.pkl": proto + code + ".", "a/data/0": "\x00\x00\x80\x3f\x00\x00\x00\x40", "a/version": "3\n"})
}

// with is torchZip with other entries: a value of "-" is none.
func with(code string, changes ...string) []byte {
	entries := map[string]string{"a/data.pkl": proto + code + ".", "a/data/0": "\x00\x00\x80\x3f\x00\x00\x00\x40", "a/version": "3\n"}
	for i := 0; i < len(changes); i += 2 {
		if entries[changes[i]] = changes[i+1]; changes[i+1] == "-" {
			delete(entries, changes[i])
		}
	}
	return zipped(entries)
}

// patched replaces bytes, which must be there.
func patched(content []byte, was, is string) []byte {
	if len(was) != len(is) || !bytes.Contains(content, []byte(was)) {
		panic(fmt.Sprintf("no %q to be replaced by %q", was, is))
	}
	return bytes.ReplaceAll(content, []byte(was), []byte(is))
}

// legacy is a file of the older format: the code of its object, the keys of its storages, and what follows.
func legacy(code, keys, storages string) []byte {
	return legacyOf("\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", "M\xe9\x03", pyDict(pyText("little_endian"), "\x88"), code, keys, storages)
}

func legacyOf(magic, protocol, machine, code, keys, storages string) []byte {
	return []byte(proto + magic + "." + proto + protocol + "." + proto + machine + "." + proto + code + "." + proto + keys + "." + storages)
}

var (
	legacyFloats = pyTensor(pyStorage("FloatStorage", "0", 2, "N"), pyInt(0), pyInts(2), pyInts(1))
	legacyDict   = pyDict(pyText("w"), legacyFloats)
	legacyKeys   = "](" + pyText("0") + "e"
	legacyData   = "\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x3f\x00\x00\x00\x40"
)

// u8 is the head of an array of so many bytes.
func u8(n int) string {
	return fmt.Sprintf("{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }", n)
}

func oneNpy(content string) []byte { return zipped(map[string]string{"w.npy": content}) }

// deflatedZip is a zip of one entry, compressed.
func deflatedZip(name, content string) []byte {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	to, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate})
	if err == nil {
		_, err = io.WriteString(to, content)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// deflated is an npz of an array of zeros that is larger than the file by far.
func deflated(n int) []byte { return deflatedZip("w.npy", npy(u8(n), strings.Repeat("\x00", n))) }

// overlapping is an npz whose two entries are the same bytes.
func overlapping() []byte {
	content := zipped(map[string]string{"a.npy": npy(u8(1), "\x01"), "b.npy": npy(u8(1), "\x01")})
	// The place of the second entry, in the list at the end, becomes that of the first: names of the local headers are nobody's business.
	at := bytes.LastIndex(content, []byte("b.npy"))
	binary.LittleEndian.PutUint32(content[at-4:], 0)
	return content
}

// containerAttacks has a file for each way in which one of PyTorch or NumPy can be wrong, and what must be said about it.
func containerAttacks() map[string]attack {
	all := map[string]attack{}
	add := func(name string, file []byte, want string) {
		if _, twice := all[name]; twice {
			panic(name)
		}
		all[name] = attack{file, want}
	}
	pickle := func(name, code, want string) { add("pickle_"+name, torchZip(code), want) }
	for _, class := range []string{
		"os.system", "posix.system", "nt.system", "subprocess.Popen", "builtins.eval", "__builtin__.exec", "builtins.getattr", "builtins.__import__", "runpy._run_code",
		"torch.serialization.load", "torch.jit._script.unpackage", "torch._utils._rebuild_sparse_tensor", "argparse.Namespace", "numpy.load", "__main__.Net",
	} {
		module, name := class[:strings.LastIndexByte(class, '.')], class[strings.LastIndexByte(class, '.')+1:]
		pickle("class_"+strings.ReplaceAll(class, ".", "_"), withTensor(pyCall(module, name, pyText("echo"))), `class "`+class+`" is not read`)
	}
	pickle("class_by_stack", withTensor(pyText("os")+pyText("system")+"\x93)R"), `class "os.system" is not read`)
	pickle("class_by_numbers", withTensor("K\x01K\x02\x93"), "a class is named by an integer and an integer, not by strings")
	pickle("class_long", "c"+strings.Repeat("m", 10000)+"\n", "the name of a class has more than 200 bytes")
	pickle("class_unfinished", "cos", "the pickle ends early")
	pickle("call_of_text", pyText("os.system")+")R", "a string is called, not a class")
	pickle("call_without_tuple", "ccollections\nOrderedDict\n]R", `class "collections.OrderedDict" is called with a list, not with a tuple`)
	pickle("call_of_storage", "ctorch\nFloatStorage\n)R", `class "torch.FloatStorage" is not to be called`)
	pickle("new_of_dtype", "ctorch\nfloat32\n)\x81", `class "torch.float32" is not to be called`)
	pickle("build_dict", "}}b", "attributes are set on a dictionary")
	pickle("build_list", "]}b", "attributes are set on a list")
	pickle("build_tensor", twoFloats+"}b", "attributes are set on a tensor")
	pickle("build_class", "ccollections\nOrderedDict\n}b", `attributes are set on the class "collections.OrderedDict"`)
	pickle("build_with_list", noHooks+"]b", "attributes are set from a list, not from a dictionary")
	for name, opcode := range map[string]string{
		"inst": "i", "obj": "o", "ext1": "\x82", "ext2": "\x83", "ext4": "\x84", "newobj_ex": "\x92", "bytearray": "\x96", "next_buffer": "\x97", "int": "I1\n", "string": "S'a'\n",
		"unicode": "Va\n", "persid": "Pa\n", "put": "p0\n", "get": "g0\n", "dict": "d", "list": "l", "none_such": "\xff", "zero": "\x00",
	} {
		pickle("opcode_"+name, opcode, "is not read")
	}
	pickle("protocol", "\x80\x06", "protocol 6 is not read")
	for name, opcode := range map[string]string{
		"append": "a", "appends": "(e", "setitem": "s", "setitems": "(u", "tuple2": "N\x86", "tuple": "t", "reduce": "R", "build": "b", "persid": "Q", "dup": "2", "pop": "0",
		"pop_mark": "1", "put": "q\x00", "memoize": "\x94", "additems": "(\x90", "frozenset": "\x91", "below_mark": "N(a", "class": "N\x93",
	} {
		pickle("stack_"+name, opcode, "pickle, byte ")
	}
	pickle("no_end", "N", "") // and the one that follows
	all["pickle_no_end"] = attack{with("", "a/data.pkl", proto+"N"), "the pickle ends early"}
	add("pickle_empty", with("", "a/data.pkl", ""), "the pickle ends early")
	pickle("two_values", "NN", "pickle ends with 2 values and 0 marks on its stack")
	pickle("mark_left", "N(", "pickle ends with 1 values and 1 marks on its stack")
	pickle("no_value", "", "pickle ends with 0 values")
	pickle("append_to_dict", "}Na", "values are added to a dictionary, not to a list or set")
	pickle("set_in_list", "]NNs", "keys are set in a list, not in a dictionary")
	pickle("key_without_value", "}(Nu", "a dictionary gets a key without a value")
	pickle("key_is_list", "}]Ns", "a list is a key of a dictionary")
	pickle("key_twice", pyDict(pyText("w"), twoFloats, pyText("w"), twoFloats), `a dictionary has the key "w" twice`)
	pickle("memo_unknown", "h\x07", "nothing is remembered under 7")
	pickle("memo_far", "Nr\xff\xff\xff\xffj\xfe\xff\xff\xff", "nothing is remembered under 4294967294")
	pickle("text_huge", "X\xff\xff\xff\xff", "a string of 4294967295 bytes, but only")
	pickle("text_huge_8", "\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "a string of 18446744073709551615 bytes, but only")
	pickle("bytes_huge", "\x8e\x00\x00\x00\x00\x00\x00\x00\x80", "a string of 9223372036854775808 bytes, but only")
	pickle("frame_huge", "\x95\xff\xff\xff\xff\xff\xff\xff\x7f", "a frame of 9223372036854775807 bytes, but only")
	pickle("long_huge", "\x8b\xff\xff\xff\xff", "an integer of 4294967295 bytes")
	pickle("text_not_utf8", "X\x01\x00\x00\x00\xff", `the string "\xff" is not valid UTF-8`)
	pickle("set_of_text", withTensor(pyCall("builtins", "set", pyText("a"))), "builtins.set: the arguments are not one list")
	pickle("ordered_of_text", withTensor(pyCall("collections", "OrderedDict", pyText("a"))), "the arguments are not one list")
	pickle("ordered_of_single", withTensor(pyCall("collections", "OrderedDict", "](](Nee")), "collections.OrderedDict: an item is a list, not a list of key and value")
	pickle("size_of_list", withTensor(pyCall("torch", "Size", "]")), "torch.Size: the arguments are not one tuple")
	pickle("counter_of_none", withTensor(pyCall("collections", "Counter", "N")), "the arguments are not one dictionary")
	pickle("default_of_two", withTensor(pyCall("collections", "defaultdict", "N", "N")), "2 arguments")

	// A tensor where something else should be, and the other way round.
	storage := pyStorage("FloatStorage", "0", 2)
	for name, c := range map[string][2]string{
		"offset":       {pyTensor(storage, twoFloats, pyInts(2), pyInts(1)), "the offset is a tensor, not an integer"},
		"offset_float": {pyTensor(storage, "G\x00\x00\x00\x00\x00\x00\x00\x00", pyInts(2), pyInts(1)), "the offset is a float, not an integer"},
		"offset_long":  {pyTensor(storage, "\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01", pyInts(2), pyInts(1)), "the offset is an integer of more than 64 bits, not an integer"},
		"size":         {pyTensor(storage, pyInt(0), twoFloats, pyInts(1)), "the size is a tensor, not a tuple"},
		"size_list":    {pyTensor(storage, pyInt(0), "](K\x02e", pyInts(1)), "the size is a list, not a tuple"},
		"size_item":    {pyTensor(storage, pyInt(0), pyTuple(twoFloats), pyInts(1)), "the size has a tensor, not an integer"},
		"stride_item":  {pyTensor(storage, pyInt(0), pyInts(2), pyTuple(pyText("1"))), "the stride has a string, not an integer"},
		"stride_bool":  {pyTensor(storage, pyInt(0), pyInts(2), pyTuple("\x88")), "the stride has a bool, not an integer"},
		"storage":      {pyTensor(twoFloats, pyInt(0), pyInts(2), pyInts(1)), "the tensor is made of a tensor, not of a storage"},
		"arguments":    {pyCall("torch._utils", "_rebuild_tensor_v2", storage), "1 arguments"},
		"parameter":    {pyCall("torch._utils", "_rebuild_parameter", pyText("w"), "\x88", noHooks), "the parameter is made of a string, not of a tensor"},
		"parameters":   {pyCall("torch._utils", "_rebuild_parameter"), "0 arguments"},
		"dtype":        {pyCall("torch._utils", "_rebuild_tensor_v3", storage, pyInt(0), pyInts(2), pyInts(1), "\x89", noHooks, pyText("f")), "the dtype is a string"},
		"dtype_class":  {pyCall("torch._utils", "_rebuild_tensor_v3", storage, pyInt(0), pyInts(2), pyInts(1), "\x89", noHooks, "ctorch\nFloatStorage\n"), "the dtype is the class"},
		"v3_arguments": {pyCall("torch._utils", "_rebuild_tensor_v3", storage), "1 arguments"},
		"id":           {"NQ", "None stands for an object outside of the pickle, not a tuple"},
		"id_short":     {pyTuple(pyText("storage")) + "Q", "an object outside of the pickle is not a storage"},
		"id_other":     {pyTuple(pyText("module"), "N", "N", "N", "N") + "Q", "an object outside of the pickle is not a storage"},
		"id_type":      {pyTuple(pyText("storage"), pyText("FloatStorage"), pyText("0"), pyText("cpu"), pyInt(2)) + "Q", "the type of a storage is a string"},
		"id_dtype":     {pyTuple(pyText("storage"), "ctorch\nfloat32\n", pyText("0"), pyText("cpu"), pyInt(2)) + "Q", "the type of a storage is the class"},
		"id_key":       {pyTuple(pyText("storage"), "ctorch\nFloatStorage\n", "K\x00", pyText("cpu"), pyInt(2)) + "Q", "the key of a storage is an integer, not a string"},
		"id_length":    {pyTuple(pyText("storage"), "ctorch\nFloatStorage\n", pyText("0"), pyText("cpu"), twoFloats) + "Q", `the length of storage "0" is a tensor, not an integer`},
		"id_negative":  {pyStorage("FloatStorage", "0", -1), `storage "0" has -1 elements`},
		"id_overflow":  {pyStorage("FloatStorage", "0", 1<<62), `storage "0" has 4611686018427387904 elements`},
		"id_twice":     {pyTuple(pyStorage("FloatStorage", "0", 2), pyStorage("FloatStorage", "0", 3)), `storage "0" is declared twice, differently`},
		"id_dtypes":    {pyTuple(pyStorage("FloatStorage", "0", 2), pyStorage("IntStorage", "0", 2)), `storage "0" is declared twice, differently`},
		"id_view":      {pyStorage("FloatStorage", "0", 2, pyTuple(pyText("1"), pyInt(1), pyInt(2))), `the view of storage "0" is not inside of it`},
		"id_view_less": {pyStorage("FloatStorage", "0", 2, pyTuple(pyText("1"), pyInt(-1), pyInt(2))), `the view of storage "0" is not inside of it`},
		"id_view_none": {pyStorage("FloatStorage", "0", 2, "K\x01"), `the view of storage "0" is not described by three values`},
	} {
		pickle("confused_"+name, withTensor(c[0]), c[1])
	}

	// Tensors that look beyond their storages.
	for name, c := range map[string]struct {
		code, want string
	}{
		"short":           {oneTensor(0, []int64{3}, []int64{1}), `tensor "w": shape [3] with strides [1] at 0 needs 3 elements, storage "0" has 2`},
		"offset":          {oneTensor(1, []int64{2}, []int64{1}), `tensor "w": shape [2] with strides [1] at 1 needs 3 elements, storage "0" has 2`},
		"stride":          {oneTensor(0, []int64{2}, []int64{2}), `needs 3 elements, storage "0" has 2`},
		"negative_offset": {oneTensor(-1, []int64{1}, []int64{1}), `tensor "w": offset -1 is negative`},
		"negative_stride": {oneTensor(1, []int64{2}, []int64{-1}), `tensor "w": shape [2] with strides [-1]: a number is negative`},
		"negative_size":   {oneTensor(0, []int64{-2}, []int64{1}), `a number is negative`},
		"negative_sizes":  {oneTensor(0, []int64{-2, -1}, []int64{1, 1}), `a number is negative`},
		"lengths":         {oneTensor(0, []int64{2}, []int64{1, 1}), `tensor "w": 1 extents and 2 strides`},
		"rank":            {oneTensor(0, make([]int64, 65), make([]int64, 65)), `the size has more than 64 numbers`},
		"overflow":        {oneTensor(0, []int64{1 << 32, 1 << 32}, []int64{0, 0}), `shape [4294967296 4294967296] of F32 overflows int64`},
		"overflow_stride": {oneTensor(0, []int64{3}, []int64{1 << 62}), `overflows int64`},
		"overflow_offset": {oneTensor(1<<63-1, []int64{2}, []int64{1}), `overflows int64`},
		"overflow_end":    {oneTensor(1<<63-1, []int64{1}, []int64{1}), `at 9223372036854775807 needs 9223372036854775808 elements`},
		"repeated":        {oneTensor(0, []int64{1 << 30}, []int64{0}), `tensor "w": the tensors up to here have more than 67108864 bytes, in a file of`},
		"complex":         {pyDict(pyText("w"), pyTensor(pyStorage("ComplexFloatStorage", "0", 1), pyInt(0), pyInts(1), pyInts(1))), `tensor "w": elements of "torch.ComplexFloatStorage" are not read`},
		"untyped":         {pyDict(pyText("w"), pyTensor(strings.Replace(storage, "ctorch\nFloatStorage\n", "ctorch.storage\nUntypedStorage\n", 1), pyInt(0), pyInts(1), pyInts(1))), `elements of "torch.storage.UntypedStorage" are not read`},
		"key_is_int":      {pyDict("K\x01", twoFloats, pyText("w"), twoFloats), `a tensor of the state dict is under an integer, not under a string`},
	} {
		pickle("tensor_"+name, c.code, c.want)
	}
	pickle("top_is_list", "]", "holds a list, not a state dict")
	pickle("top_is_tensor", twoFloats, "holds one tensor, not a state dict")
	pickle("top_is_class", "ctorch\nfloat32\n", `holds the class "torch.float32", not a state dict`)
	pickle("no_tensors", pyDict(pyText("w"), "K\x01"), "holds no state dict: no dictionary of tensors is in it")
	pickle("tensors_under_numbers", pyDict("K\x01", twoFloats), "holds no state dict")
	deep := withTensor("N")
	for range 40 {
		deep = pyDict(pyText("k"), deep)
	}
	pickle("nested", deep, "holds no state dict")
	var many []string
	for i := range 1000 {
		many = append(many, pyText(fmt.Sprint("model", i)), withTensor("N"))
	}
	pickle("candidates", pyDict(many...), `and 990 more with their numbers of tensors`)

	add("zip_no_storage", with(withTensor("N"), "a/data/0", "-"), `tensor "w": entry "data/0" is not in the zip`)
	add("zip_storage_short", with(withTensor("N"), "a/data/0", "1234567"), `tensor "w": storage "0" needs 8 bytes, file has 7`)
	add("zip_storage_long", with(withTensor("N"), "a/data/0", "123456789"), `tensor "w": storage "0" needs 8 bytes, file has 9`)
	add("zip_byte_order", with(withTensor("N"), "a/byteorder", "middle"), `the byte order is "middle"`)
	add("zip_byte_order_long", with(withTensor("N"), "a/byteorder", strings.Repeat("little", 100)), `entry "byteorder" has 600 bytes, over the limit of 7`)
	add("zip_metadata", with(withTensor("N"), "a/rebasin.json", "[]"), `rebasin.json starts with '[', not with '{'`)
	add("zip_metadata_number", with(withTensor("N"), "a/rebasin.json", `{"a":1}`), `rebasin.json value of "a" is not a string`)
	add("zip_script", with(withTensor("N"), "a/constants.pkl", "x"), "this is a program of TorchScript, not a state dict")
	add("zip_deep", zipped(map[string]string{"a/b/data.pkl": proto + withTensor("N") + "."}), `entry "data.pkl" is not in the zip`)
	add("zip_other", zipped(map[string]string{"a.txt": "x"}), "a zip that is neither of PyTorch, with an entry NAME/data.pkl, nor of NumPy, with entries NAME.npy alone")
	add("zip_empty", zipped(nil), "a zip that is neither")
	add("zip_cut", torchZip(withTensor("N"))[:200], "zip: not a valid zip file")
	add("zip_twice", patched(with(withTensor("N"), "a/data/1", "12345678"), "a/data/1", "a/data/0"), `entry "a/data/0" is in the zip twice`)
	add("zip_deflated", deflatedZip("a/data.pkl", proto+withTensor("N")+"."), `entry "data.pkl" is compressed or encrypted; PyTorch stores entries as they are`)
	whole := torchZip(withTensor("N"))
	list := bytes.LastIndex(whole, []byte("PK\x01\x02")) // of the last entry, "a/version", 2 bytes
	flags := bytes.Clone(whole)
	flags[list+8] |= 1
	first := bytes.Index(flags, []byte("PK\x01\x02"))
	flags[first+8] |= 1
	add("zip_encrypted", flags, `entry "data.pkl" is compressed or encrypted`)
	long := bytes.Clone(whole)
	second := first + bytes.Index(long[first+4:], []byte("PK\x01\x02")) + 4
	binary.LittleEndian.PutUint32(long[second+20:], 1<<31)
	binary.LittleEndian.PutUint32(long[second+24:], 1<<31)
	add("zip_past_end", long, `tensor "w": entry "data/0" has 2147483648 bytes, which run past the end of the file`)
	far := bytes.Clone(whole)
	binary.LittleEndian.PutUint32(far[second+42:], 1<<30)
	add("zip_header_past_end", far, `tensor "w": `)

	for name, c := range map[string][2]string{
		"magic":          {"\x92NUMPY\x01\x00", "it is no .npy file of version 1 to 3"},
		"version":        {"\x93NUMPY\x04\x00\x02\x00{}", "it is no .npy file of version 1 to 3"},
		"cut":            {"\x93NUM", "unexpected EOF"},
		"header_cut":     {"\x93NUMPY\x01\x00\xff\xff{}", "a header of 65535 bytes, in 12"},
		"header_huge":    {"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "a header of 4294967295 bytes"},
		"not_dict":       {npy("[]", ""), "header: it does not begin with a dictionary"},
		"empty_dict":     {npy("{}", ""), "header: it has not the three keys"},
		"no_end":         {npy("{'descr': '|u1'", ""), "header: the dictionary does not end"},
		"trailing":       {npy(u8(0)+"x", ""), "header: something follows the dictionary"},
		"key_twice":      {npy("{'descr': '|u1', 'descr': '|u1'}", ""), `the key "descr" is there twice`},
		"key_unknown":    {npy("{'evil': 1}", ""), `it has the unknown key "evil"`},
		"key_open":       {npy("{'descr", ""), "a string does not end"},
		"key_number":     {npy("{1: 2}", ""), "a string is missing"},
		"object":         {npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "x"), `dtype "|O" is not read`},
		"text":           {npy("{'descr': '<U5', 'fortran_order': False, 'shape': (1,), }", "x"), `dtype "<U5" is not read`},
		"records":        {npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "x"), "arrays of records are not read"},
		"dtype_empty":    {npy("{'descr': '', 'fortran_order': False, 'shape': (1,), }", "x"), "the dtype is empty"},
		"complex":        {npy("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", "12345678"), `dtype "<c8" is not read`},
		"order":          {npy("{'descr': '|u1', 'fortran_order': 0, 'shape': (1,), }", "x"), "fortran_order is neither True nor False"},
		"shape_list":     {npy("{'descr': '|u1', 'fortran_order': False, 'shape': [1], }", "x"), "the shape is not a tuple"},
		"shape_negative": {npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,), }", "x"), "the shape is not a tuple of at most 64 numbers"},
		"shape_open":     {npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1", "x"), "the shape is not a tuple of at most 64 numbers"},
		"shape_huge":     {npy("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,), }", "x"), "the shape is not a tuple of at most 64 numbers"},
		"shape_rank":     {npy("{'descr': '|u1', 'fortran_order': False, 'shape': ("+strings.Repeat("1,", 65)+"), }", "x"), "the shape is not a tuple of at most 64 numbers"},
		"shape_overflow": {npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", "x"), "shape [4294967296 4294967296] of F64 overflows int64"},
		"short":          {npy(u8(2), "x"), "shape [2] of U8 needs 2 bytes, file has 1"},
		"long":           {npy(u8(2), "xyz"), "shape [2] of U8 needs 2 bytes, file has 3"},
	} {
		add("npy_"+name, oneNpy(c[0]), `tensor "w": `)
		all["npy_"+name] = attack{all["npy_"+name].file, c[1]}
	}
	add("npz_overlapping", overlapping(), `entry "b.npy" overlaps "a.npy"`)
	bomb := deflated(1 << 16)
	at := bytes.LastIndex(bomb, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(bomb[at+24:], 1<<31)
	add("npz_inflated", bomb, `entry "w.npy" cannot have 2147483648 bytes, stored in`)
	method := bytes.Clone(oneNpy(npy(u8(1), "x")))
	at = bytes.LastIndex(method, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint16(method[at+10:], 12)
	add("npz_method", method, `entry "w.npy" is encrypted or compressed by a method that is not read`)
	past := bytes.Clone(oneNpy(npy(u8(1), "x")))
	binary.LittleEndian.PutUint32(past[at+20:], 1<<30)
	binary.LittleEndian.PutUint32(past[at+24:], 1<<30)
	add("npz_past_end", past, `entry "w.npy" has 1073741824 bytes, which run past the end of the file`)

	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"magic":      {legacyOf("K\x01", "M\xe9\x03", "}", "N", "]", ""), "a pickle that is not of PyTorch"},
		"protocol":   {legacyOf("\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", "M\xea\x03", "}", "N", "]", ""), "the protocol of the file is not 1001"},
		"machine":    {legacyOf("\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", "M\xe9\x03", "]", "N", "]", ""), "the description of the machine is a list, not a dictionary"},
		"endianness": {legacyOf("\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", "M\xe9\x03", "}", "N", "]", ""), "does not say whether it was little-endian"},
		"class":      {legacyOf("\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", "M\xe9\x03", "cos\nsystem\n)R", "N", "]", ""), `class "os.system" is not read`},
		"id_early":   {legacyOf("\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", "M\xe9\x03", ")Q", "N", "]", ""), "an object outside of the pickle where there can be none"},
		"keys":       {legacy(legacyDict, "}", legacyData), "the keys of the storages are a dictionary, not a list"},
		"key":        {legacy(legacyDict, "](K\x00e", legacyData), "the key of a storage is an integer, not a string"},
		"key_twice":  {legacy(legacyDict, "]("+pyText("0")+pyText("0")+"e", legacyData+legacyData), `the list of storages has "0", which is there already or belongs to nothing`},
		"key_other":  {legacy(legacyDict, "]("+pyText("1")+"e", legacyData), `the list of storages has "1", which is there already or belongs to nothing`},
		"key_none":   {legacy(legacyDict, "]", ""), `tensor "w": storage "0" is not in the file`},
		"length":     {legacy(legacyDict, legacyKeys, "\x03"+legacyData[1:]), `storage "0" has 3 elements, not the 2 that were declared`},
		"cut":        {legacy(legacyDict, legacyKeys, legacyData[:15]), `storage "0" needs 8 bytes, file has 7`},
		"cut_length": {legacy(legacyDict, legacyKeys, legacyData[:7]), `the file ends before storage "0"`},
		"trailing":   {legacy(legacyDict, legacyKeys, legacyData+"x"), "file has 1 bytes after the last storage"},
		"view":       {legacy(pyDict(pyText("w"), pyTensor(pyStorage("FloatStorage", "0", 2, pyTuple(pyText("v"), pyInt(1), pyInt(1))), pyInt(0), pyInts(2), pyInts(1))), legacyKeys, legacyData), `needs 2 elements, storage "0" has 1`},
		"huge":       {legacy(pyDict(pyText("w"), pyTensor(pyStorage("FloatStorage", "0", 1<<60, "N"), pyInt(0), pyInts(1<<60), pyInts(1))), legacyKeys, "\x00\x00\x00\x00\x00\x00\x00\x10"), `storage "0" needs 4611686018427387904 bytes, file has 0`},
	} {
		add("legacy_"+name, c.file, c.want)
	}
	return all
}

type attack struct {
	file []byte
	want string
}

// Every attack is refused when the file is opened, with one short line that says what is wrong, in memory that is bounded by its size.
func TestContainerAttacks(t *testing.T) {
	for name, a := range containerAttacks() {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := newReader(a.file, "")
			runtime.ReadMemStats(&after)
			if err == nil {
				r.Close()
				t.Fatal("opened")
			}
			text := err.Error()
			if !strings.HasPrefix(text, `checkpoint: reading "a": `) || !strings.Contains(text, a.want) {
				t.Errorf("error is\n%s\nwant %q", text, a.want)
			}
			if !errors.Is(err, checkpoint.ErrFormat) && !strings.Contains(text, "--key") {
				t.Error("does not match ErrFormat")
			}
			if strings.ContainsAny(text, "\n\x00") || len(text) > 800 {
				t.Errorf("not one short line: %q", text)
			}
			const perByte, free = 300, 1 << 20
			if took := after.TotalAlloc - before.TotalAlloc; took > uint64(free+perByte*len(a.file)) {
				t.Errorf("%d bytes allocated for a file of %d", took, len(a.file))
			}
		})
	}
}

// What is deep, shares itself or contains itself is beside the state dict, and is left out.
func TestTorchBombsBeside(t *testing.T) {
	laughs := ")" + strings.Repeat("2\x86", 100) // a tuple of twice a tuple of twice ...: 2^100 of them
	nested := strings.Repeat("]", 100_000) + strings.Repeat("a", 99_999)
	itself := "]q\x00h\x00a"
	dicts := "}q\x01" + pyText("again") + "h\x01s"
	wide := pyText(strings.Repeat("x", 1<<14)) + "q\x02" + "](" + strings.Repeat("h\x02", 10_000) + "e" // 160 MB if written out
	for name, value := range map[string]string{"laughs": laughs, "nested": nested, "itself": itself, "dicts": dicts, "wide": "0" + wide} {
		if name == "wide" {
			value = pyTuple(wide) // the string and the list
		}
		content := torchZip(withTensor(value))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := newReader(content, "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		left := checkpoint.FormOf(r).LeftOut("b.pt")
		runtime.ReadMemStats(&after)
		if !slices.Equal(left, []string{`"x"`}) {
			t.Errorf("%s: %v are left out", name, left)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(1<<20+300*len(content)) {
			t.Errorf("%s: %d bytes allocated for a file of %d", name, took, len(content))
		}
	}
}

// A program may be long, but not without end: opcodes, and values and marks on the stack are counted.
func TestPickleLimits(t *testing.T) {
	for _, tt := range []struct{ code, want string }{
		{strings.Repeat("N0", 1<<22), "the pickle has more than 8388608 opcodes and elements"},
		{strings.Repeat("N", 1<<20+1), "more than 1048576 values on the stack"},
		{strings.Repeat("(", 1<<20+1), "more than 1048576 marks on the stack"},
		{"]q\x00(" + strings.Repeat("N", 1000) + "e" + strings.Repeat("h\x000", 1<<22), "opcodes and elements"},
	} {
		if _, err := newReader(torchZip(tt.code), ""); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
	}
}

// A zip of tensors that all look at one storage would be far larger in memory than in the file.
func TestSharedStorageBomb(t *testing.T) {
	const n, size = 3000, 100_000
	var items []string
	for i := range n {
		items = append(items, pyText(fmt.Sprint("w", i)), pyTensor(pyStorage("ByteStorage", "0", size), pyInt(0), pyInts(size), pyInts(1)))
	}
	content := with(pyDict(items...), "a/data/0", strings.Repeat("\x01", size))
	_, err := newReader(content, "")
	if err == nil || !strings.Contains(err.Error(), "the tensors up to here have more than") {
		t.Errorf("error %v", err)
	}
}

// An npz that inflates to far more than any network does is refused.
func TestInflationBomb(t *testing.T) {
	const declared = 100 << 20
	random, noise := rand.New(rand.NewPCG(1, 1)), make([]byte, declared/1000)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	head := npy(u8(declared), "")
	content := deflatedZip("w.npy", head+string(noise))
	binary.LittleEndian.PutUint32(content[bytes.LastIndex(content, []byte("PK\x01\x02"))+24:], uint32(len(head)+declared))
	if _, err := newReader(content, ""); err == nil || !strings.Contains(err.Error(), `tensor "w": the tensors up to here have more than 67108864 bytes`) {
		t.Errorf("error %v", err)
	}
	r, err := newReader(deflated(1<<20), "")
	if err != nil {
		t.Fatal(err)
	}
	if x, err := r.Read("w"); err != nil || x.Len() != 1<<20 {
		t.Errorf("%v, %v", x, err)
	}
}

// An older view of a storage is read.
func TestLegacyView(t *testing.T) {
	view := pyTuple(pyText("v"), pyInt(1), pyInt(1))
	w := pyTensor(pyStorage("FloatStorage", "0", 2, view), pyInt(0), pyInts(1), pyInts(1))
	r, err := newReader(legacy(pyDict(pyText("w"), w, pyText("whole"), legacyFloats), legacyKeys, legacyData), "")
	if err != nil {
		t.Fatal(err)
	}
	got := readAll(t, r)
	if fmt.Sprintf("%x %x", got["w"].Bytes(), got["whole"].Bytes()) != "00000040 0000803f00000040" {
		t.Errorf("%x, %x", got["w"].Bytes(), got["whole"].Bytes())
	}
}

// containerSeeds are the attacks, and files that are right.
func containerSeeds(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for name, a := range containerAttacks() {
		all[name] = a.file
	}
	for _, path := range append(fixtures(t, "torch/*.pt"), fixtures(t, "npz/*.npz")...) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all["valid_"+strings.ReplaceAll(filepath.Base(path), ".", "_")] = content
	}
	return all
}
