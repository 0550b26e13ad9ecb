// Package checkpoint reads and writes files of named tensors.
//
// [Open] reads any of the formats, which the content of a file tells; OpenSafetensors that one alone.
//
// Safetensors: eight bytes with the length of a header, the header in JSON (per tensor a dtype, a shape and the range of its bytes; beside them a
// map of strings called __metadata__), then the data without gaps. See https://github.com/huggingface/safetensors.
//
// PyTorch: what torch.save writes, as a zip (since 1.6) or in the older format. Its pickle is interpreted once, when the file is opened, by an
// unpickler that executes nothing: a class or function that is not on a short list is an error that names it. The file holds one dictionary of
// tensors, at the top or below keys (see [OpenOptions]). Tensors that are views come out dense; those that share memory come out whole each. The
// prefix "module." is left out where all names have it.
//
// NumPy: the zips of numpy.savez and savez_compressed, of arrays of numbers in any order of axes and bytes.
//
// Sharded: an index in JSON, whose weight_map says which safetensors file beside it holds each tensor. No file of another folder is opened, and
// every tensor is in the file that is said to hold it, and in no other.
//
// Reading is lazy. A file is checked as a whole against its real size before any tensor can be asked for; Read then reads one tensor. No amount of
// memory is taken from a number in the file before the file is known to be that large. Where a format leaves room (duplicate keys, holes between
// tensors, keys it does not define) a file is refused rather than guessed at. What is wrong with the content of a file is an error that matches
// [ErrFormat] and names file and tensor:
//
//	checkpoint: reading "a.safetensors": tensor "fc1.weight": shape [3 4] of F32 needs 48 bytes, file has 40
//	checkpoint: reading "b.pt": pickle, byte 31: class "os.system" is not read
//
// Writing is streamed, deterministic and atomic. [Write] writes in the format that the ending of a name says, else in the [Form] of another file.
// [WriteSafetensors] asks for one tensor at a time; the same entries and metadata, in any order,
// give the same bytes, laid out as the reference implementation does (which leaves the order of metadata open; here it is sorted); and the file
// appears under its name only when it is whole, through [WriteFile], which writes beside it, syncs and renames.
package checkpoint
