// Package checkpoint reads and writes files of named tensors.
//
// The format is safetensors: eight bytes with the length of a header, the header in JSON (per tensor a dtype, a shape and the range of its
// bytes; beside them a map of strings called __metadata__), then the data without gaps. See https://github.com/huggingface/safetensors.
//
// Reading is lazy. [OpenSafetensors] reads and checks the whole header against the real size of the file before any tensor can be asked for;
// [Safetensors.Read] then reads one tensor. No amount of memory is taken from a number in the file before the file is known to be that large.
// Where the format leaves room (duplicate keys, holes between tensors, keys it does not define) a file is refused rather than guessed at.
// What is wrong with the content of a file is an error that matches [ErrFormat] and names file and tensor:
//
//	checkpoint: reading "a.safetensors": tensor "fc1.weight": shape [3 4] of F32 needs 48 bytes, file has 40
//
// Writing is streamed, deterministic and atomic. [WriteSafetensors] asks for one tensor at a time; the same entries and metadata, in any order,
// give the same bytes, laid out as the reference implementation does (which leaves the order of metadata open; here it is sorted); and the file
// appears under its name only when it is whole, through [WriteFile], which writes beside it, syncs and renames.
package checkpoint
