package checkpoint_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/checkpoint"
)

// update makes TestCorpus write the corpus anew.
var update = os.Getenv("UPDATE_CORPUS") != ""

// file makes a file of a header and so many bytes of data.
func file(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

// entry is the header of a file with the single tensor "w".
func entry(body string) string { return `{"w":{` + body + `}}` }

func withLength(n uint64, rest string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, n), rest...)
}

// attacks has a file for each way in which one can be wrong, and what must be said about it.
var attacks = []struct {
	name string
	file []byte
	want string
}{
	{"empty", nil, "file has 0 bytes, too few for the length of a header"},
	{"short_prefix", []byte{2, 0, 0, 0, 0, 0, 0}, "file has 7 bytes, too few"},
	{"header_over_limit", withLength(100_000_001, "{}"), "header of 100000001 bytes is over the limit of 100000000"},
	{"header_length_negative", withLength(1<<64-1, "{}"), "header of 18446744073709551615 bytes is over the limit"},
	{"header_truncated", withLength(100_000_000, "{}"), "header of 100000000 bytes, but only 2 bytes follow"},
	{"header_truncated_by_one", withLength(3, "{}"), "header of 3 bytes, but only 2 bytes follow"},
	{"header_empty", file("", 0), "header is empty"},
	{"header_starts_with_space", file(" {}", 0), "header starts with ' ', not with '{'"},
	{"header_is_array", file("[]", 0), "header starts with '[', not with '{'"},
	{"header_bad_utf8", file("{\"\xff\":1}", 0), "header is not valid UTF-8"},
	{"header_bad_json", file(`{"w":}`, 0), "header is not valid JSON: invalid character '}'"},
	{"header_unfinished", file(`{"w":{`, 0), "header is not valid JSON: unexpected end"},
	{"header_trailing_garbage", file(`{}x`, 0), "invalid character 'x' after top-level value"},
	{"header_second_object", file(`{}{}`, 0), "invalid character '{' after top-level value"},
	{"header_padded_with_nul", file("{}\x00", 0), `invalid character '\x00' after top-level value`},
	{"header_deep", file(`{"w":`+strings.Repeat("[", 20000), 0), "exceeded max depth"},
	{"header_nested", file(`{"w":`+strings.Repeat("[", 999)+strings.Repeat("]", 999)+"}", 0), `tensor "w": entry is not an object`},
	{"lone_high_surrogate", file(`{"\ud800":1}`, 0), "half of a UTF-16 surrogate pair"},
	{"lone_low_surrogate", file(`{"a\\\udc00":1}`, 0), "half of a UTF-16 surrogate pair"},
	{"surrogates_swapped", file(`{"\udc00\ud800":1}`, 0), "half of a UTF-16 surrogate pair"},

	{
		"name_twice", file(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1),
		`header has the key "w" twice`,
	},
	{
		"name_twice_escaped", file(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0077":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}`, 1),
		`header has the key "w" twice`,
	},
	{"metadata_twice", file(`{"__metadata__":{},"__metadata__":{}}`, 0), `header has the key "__metadata__" twice`},
	{"metadata_key_twice", file(`{"__metadata__":{"a":"1","a":"2"}}`, 0), `__metadata__ has the key "a" twice`},
	{"metadata_is_list", file(`{"__metadata__":["a"]}`, 0), "__metadata__ is not an object"},
	{"metadata_is_null", file(`{"__metadata__":null}`, 0), "__metadata__ is not an object"},
	{"metadata_number", file(`{"__metadata__":{"a":1}}`, 0), `__metadata__ value of "a" is not a string`},
	{"metadata_object", file(`{"__metadata__":{"a":{"b":"c"}}}`, 0), `__metadata__ value of "a" is not a string`},
	{"metadata_null_value", file(`{"__metadata__":{"a":null}}`, 0), `__metadata__ value of "a" is not a string`},

	{"entry_not_object", file(`{"w":1}`, 0), `tensor "w": entry is not an object`},
	{"entry_key_twice", file(entry(`"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]`), 1), `tensor "w": entry has the key "dtype" twice`},
	{"entry_unknown_key", file(entry(`"dtype":"U8","shape":[1],"data_offsets":[0,1],"stride":[1]`), 1), `entry has the unknown key "stride"`},
	{"no_dtype", file(entry(`"shape":[1],"data_offsets":[0,1]`), 1), `tensor "w": entry has no dtype`},
	{"no_shape", file(entry(`"dtype":"U8","data_offsets":[0,1]`), 1), `tensor "w": entry has no shape`},
	{"no_offsets", file(entry(`"dtype":"U8","shape":[1]`), 1), `tensor "w": entry has no pair of data_offsets`},
	{"dtype_unknown", file(entry(`"dtype":"F33","shape":[1],"data_offsets":[0,1]`), 1), `tensor "w": unknown dtype "F33"`},
	{"dtype_lower_case", file(entry(`"dtype":"f32","shape":[1],"data_offsets":[0,4]`), 4), `unknown dtype "f32"`},
	{"dtype_number", file(entry(`"dtype":1,"shape":[1],"data_offsets":[0,1]`), 1), `tensor "w": dtype is not a string`},
	{"shape_not_array", file(entry(`"dtype":"U8","shape":1,"data_offsets":[0,1]`), 1), `tensor "w": shape is not an array`},
	{"shape_null", file(entry(`"dtype":"U8","shape":null,"data_offsets":[0,1]`), 1), `tensor "w": shape is not an array`},
	{"shape_negative", file(entry(`"dtype":"U8","shape":[-1],"data_offsets":[0,1]`), 1), `tensor "w": shape has -1, which is negative`},
	{"shape_negatives", file(entry(`"dtype":"U8","shape":[-1,-1],"data_offsets":[0,1]`), 1), `shape has -1, which is negative`},
	{"shape_fraction", file(entry(`"dtype":"U8","shape":[1.5],"data_offsets":[0,1]`), 1), `tensor "w": shape has 1.5, which is not an integer`},
	{"shape_exponent", file(entry(`"dtype":"U8","shape":[1e0],"data_offsets":[0,1]`), 1), `shape has 1e0, which is not an integer`},
	{"shape_string", file(entry(`"dtype":"U8","shape":["1"],"data_offsets":[0,1]`), 1), `tensor "w": shape has an element that is not a number`},
	{
		"shape_overflow", file(entry(`"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]`), 1),
		`tensor "w": shape has 9223372036854775808, which overflows int64`,
	},
	{
		"shape_long_number", file(entry(`"dtype":"U8","shape":[1`+strings.Repeat("0", 500)+`],"data_offsets":[0,1]`), 1),
		`shape has 1000000000000000000000000000000000000000..., which overflows int64`,
	},
	{
		"shape_product_overflow", file(entry(`"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]`), 0),
		`tensor "w": shape [4294967296 4294967296] of U8 overflows int64`,
	},
	{"shape_product_overflow_zero", file(entry(`"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]`), 0), `overflows int64`},
	{
		"shape_bytes_overflow", file(entry(`"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]`), 0),
		`tensor "w": shape [2305843009213693952] of F64 overflows int64`,
	},
	{
		"shape_rank", file(entry(`"dtype":"U8","shape":[1`+strings.Repeat(",1", 64)+`],"data_offsets":[0,1]`), 1),
		`tensor "w": shape has more than 64 numbers`,
	},
	{"offsets_one", file(entry(`"dtype":"U8","shape":[1],"data_offsets":[0]`), 1), `entry has no pair of data_offsets`},
	{"offsets_three", file(entry(`"dtype":"U8","shape":[1],"data_offsets":[0,1,2]`), 1), `data_offsets has more than 2 numbers`},
	{"offsets_negative", file(entry(`"dtype":"U8","shape":[1],"data_offsets":[-1,0]`), 1), `data_offsets has -1, which is negative`},
	{"offsets_fraction", file(entry(`"dtype":"U8","shape":[1],"data_offsets":[0.0,1]`), 1), `data_offsets has 0.0, which is not an integer`},
	{
		"offsets_overflow", file(entry(`"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551615]`), 1),
		`data_offsets has 18446744073709551615, which overflows int64`,
	},
	{"offsets_swapped", file(entry(`"dtype":"U8","shape":[1],"data_offsets":[1,0]`), 1), `tensor "w": data_offsets [1 0] end before they begin`},
	{
		"size_too_small", file(`{"fc1.weight":{"dtype":"F32","shape":[3,4],"data_offsets":[0,40]}}`, 40),
		`tensor "fc1.weight": shape [3 4] of F32 needs 48 bytes, file has 40`,
	},
	{"size_too_large", file(entry(`"dtype":"F32","shape":[],"data_offsets":[0,5]`), 5), `tensor "w": shape [] of F32 needs 4 bytes, file has 5`},

	{"hole_at_start", file(entry(`"dtype":"U8","shape":[1],"data_offsets":[1,2]`), 2), `tensor "w": data [1 2] leaves a hole of 1 bytes before it`},
	{
		"hole_between", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}`, 4),
		`tensor "b": data [3 4] leaves a hole of 2 bytes before it`,
	},
	{
		"overlap", file(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}`, 6),
		`tensor "b": data [2 6] overlaps that of tensor "a"`,
	},
	{
		"overlap_same", file(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 4),
		`tensor "b": data [0 4] overlaps that of tensor "a"`,
	},
	{
		"overlap_empty", file(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}}`, 4),
		`tensor "b": data [2 2] overlaps that of tensor "a"`,
	},
	{
		"data_truncated", file(entry(`"dtype":"U8","shape":[9],"data_offsets":[0,9]`), 8),
		`tensor "w": data [0 9] runs past the end: the file is truncated to 8 bytes of data`,
	},
	{
		"data_truncated_hugely", file(entry(`"dtype":"U8","shape":[4611686018427387904],"data_offsets":[0,4611686018427387904]`), 8),
		`data [0 4611686018427387904] runs past the end`,
	},
	{"data_oversized", file(entry(`"dtype":"U8","shape":[9],"data_offsets":[0,9]`), 11), "file has 2 bytes after the last tensor"},
	{"data_without_tensors", file(`{}`, 3), "file has 3 bytes after the last tensor"},
}

// Every attack is refused when the file is opened, with one line that names the file and says what is wrong.
func TestAttacks(t *testing.T) {
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.safetensors")
			if err := os.WriteFile(path, a.file, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := checkpoint.OpenSafetensors(path)
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			text := err.Error()
			if !strings.HasPrefix(text, fmt.Sprintf("checkpoint: reading %q: ", path)) || !strings.Contains(text, a.want) {
				t.Errorf("error is\n%s\nwant %q", text, a.want)
			}
			if !errors.Is(err, checkpoint.ErrFormat) {
				t.Error("does not match ErrFormat")
			}
			if strings.ContainsAny(text, "\n\x00") || len(text) > 600 {
				t.Errorf("not one short line: %q", text)
			}
		})
	}
}

// The attacks, and files that are right, are the seeds of the fuzzer too. They are kept as files so that they survive a change of the table.
func TestCorpus(t *testing.T) {
	for name, content := range seeds(t) {
		path := filepath.Join("testdata", "fuzz", "FuzzSafetensors", name)
		want := fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\n", content)
		if update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("seed %s is not what the table says (UPDATE_CORPUS=1 writes it anew): %v", name, err)
		}
	}
}

// A name may be as long as a header; a message may not.
func TestLongNameInMessage(t *testing.T) {
	long := strings.Repeat("n", 1<<16)
	content := file(`{"`+long+`":{"dtype":"U8","shape":[1],"data_offsets":[0,2]}}`, 2)
	_, err := checkpoint.NewSafetensors("a", bytes.NewReader(content), int64(len(content)))
	if err == nil || len(err.Error()) > 400 || !strings.Contains(err.Error(), `nnn"...: shape [1]`) {
		t.Errorf("error %.500v", err)
	}
}

// Opening a small file takes little memory, whatever sizes it declares.
func TestDeclaredSizesAllocateNothing(t *testing.T) {
	const limit = 1 << 20
	for _, name := range []string{"header_truncated", "data_truncated_hugely", "header_over_limit", "shape_product_overflow_zero"} {
		for _, a := range attacks {
			if a.name != name {
				continue
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := checkpoint.NewSafetensors("a", bytes.NewReader(a.file), int64(len(a.file)))
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; err == nil || took > limit {
				t.Errorf("%s: %d bytes allocated, error %v", name, took, err)
			}
		}
	}
}

// No proper beginning of a file is a file, nor is a file with anything behind it.
func TestEveryTruncation(t *testing.T) {
	whole := seeds(t)["valid_all"]
	open := func(content []byte) error {
		_, err := checkpoint.NewSafetensors("a", bytes.NewReader(content), int64(len(content)))
		return err
	}
	if err := open(whole); err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := open(whole[:n]); !errors.Is(err, checkpoint.ErrFormat) {
			t.Fatalf("the first %d of %d bytes: error %v", n, len(whole), err)
		}
	}
	if err := open(append(whole, 0)); !errors.Is(err, checkpoint.ErrFormat) {
		t.Fatalf("with a byte appended: error %v", err)
	}
}
