package checkpoint_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/tensor"
)

// put writes a file.
func put(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func filesIn(t testing.TB, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// weightMap is what an index says, read by encoding/json.
func weightMap(t testing.TB, path string) (shards map[string]string, total int) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var x struct {
		Metadata struct {
			Total int `json:"total_size"`
		}
		Shards map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(content, &x); err != nil {
		t.Fatal(err)
	}
	return x.Shards, x.Metadata.Total
}

// sharded writes two shards and an index by hand, of which the index has nothing but the map.
func sharded(t testing.TB) (path string, want map[string]*tensor.Tensor) {
	t.Helper()
	dir := t.TempDir()
	want = map[string]*tensor.Tensor{
		"a": tensor.FromSlice(tensor.Shape{2}, []float32{1, 2}), "b": tensor.FromSlice(tensor.Shape{1}, []int64{3}), "z": tensor.FromSlice(tensor.Shape{2}, []float32{5, 6}),
	}
	one, two := map[string]*tensor.Tensor{"a": want["a"], "z": want["z"]}, map[string]*tensor.Tensor{"b": want["b"]}
	for name, part := range map[string]map[string]*tensor.Tensor{"first": one, "second": two} {
		meta := map[string]string{"format": "pt", "part": name}
		if err := checkpoint.WriteSafetensors(t.Context(), filepath.Join(dir, name), entriesOf(part), meta); err != nil {
			t.Fatal(err)
		}
	}
	path = filepath.Join(dir, "model.safetensors.index.json")
	put(t, path, `{"weight_map": {"z": "first", "b": "second", "a": "first"}, "metadata": {"total_size": 24.0, "note": "x", "more": {"deep": [1]}}}`)
	return path, want
}

func TestSharded(t *testing.T) {
	path, want := sharded(t)
	r := openAny(t, path, "")
	equalTensors(t, readAll(t, r), want)
	if diff := cmp.Diff(map[string]string{"format": "pt", "note": "x"}, r.Metadata()); diff != "" {
		t.Error(diff)
	}
	if form := checkpoint.FormOf(r); form.Format != checkpoint.FormatSharded {
		t.Errorf("the format is %q", form.Format)
	}
	if _, err := r.Read("absent"); err == nil || !strings.Contains(err.Error(), `tensor "absent": not in the file`) {
		t.Errorf("error %v", err)
	}
	for _, x := range r.Infos() {
		if x.DType == 0 {
			t.Errorf("%v", x)
		}
	}
}

// What came in shards goes out in the same shards, under the names of the output; what is new goes into the last.
func TestShardedRewrite(t *testing.T) {
	path, want := sharded(t)
	r := openAny(t, path, "")
	dir := t.TempDir()
	want["new"] = tensor.FromSlice(tensor.Shape{}, []uint8{9})
	entries := append(entriesFrom(r, nil), entryOf("new", want["new"]))
	for _, name := range []string{"m.safetensors.index.json", "m.index.json", "m"} {
		out := filepath.Join(dir, name)
		if err := checkpoint.Write(t.Context(), out, entries, r.Metadata(), checkpoint.FormOf(r)); err != nil {
			t.Fatal(err)
		}
		again := openAny(t, out, "")
		equalTensors(t, readAll(t, again), want)
		if diff := cmp.Diff(r.Metadata(), again.Metadata()); diff != "" {
			t.Error(diff)
		}
		shards, total := weightMap(t, out)
		const first, second = "m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"
		if diff := cmp.Diff(map[string]string{"a": first, "z": first, "b": second, "new": second}, shards); diff != "" || total != 25 {
			t.Errorf("%d bytes, %s", total, diff)
		}
	}
	single := filepath.Join(dir, "m.safetensors")
	if err := checkpoint.Write(t.Context(), single, entries, nil, checkpoint.FormOf(r)); err != nil {
		t.Fatal(err)
	}
	equalTensors(t, readAll(t, open(t, single)), want)
}

// Shards are as full as they may be; a tensor that is larger has one of its own.
func TestShardedBySize(t *testing.T) {
	tensors := map[string]*tensor.Tensor{}
	for i, n := range []int{3, 4, 4, 20, 1, 7, 2} { // in the order of their names
		tensors[fmt.Sprint("t", i)] = tensor.New(tensor.U8, tensor.Shape{n})
	}
	path := filepath.Join(t.TempDir(), "m.index.json")
	if err := checkpoint.Write(t.Context(), path, entriesOf(tensors), nil, checkpoint.Form{ShardBytes: 8}); err != nil {
		t.Fatal(err)
	}
	equalTensors(t, readAll(t, openAny(t, path, "")), tensors)
	shards, total := weightMap(t, path)
	var got []string
	for _, name := range slices.Sorted(maps.Keys(shards)) {
		got = append(got, shards[name][len("m-0000"):len("m-00001")])
	}
	if diff := cmp.Diff([]string{"1", "1", "2", "3", "4", "4", "5"}, got); diff != "" || total != 41 {
		t.Errorf("%d bytes, %s", total, diff)
	}
	if n := len(filesIn(t, filepath.Dir(path))); n != 6 {
		t.Errorf("%d files", n)
	}
	empty := filepath.Join(t.TempDir(), "none.index.json")
	if err := checkpoint.Write(t.Context(), empty, nil, nil, checkpoint.Form{}); err != nil {
		t.Fatal(err)
	}
	if infos := openAny(t, empty, "").Infos(); len(infos) != 0 {
		t.Errorf("%v", infos)
	}
}

// A failure leaves neither shard nor index, and no input is written over.
func TestShardedAtomic(t *testing.T) {
	path, want := sharded(t)
	r := openAny(t, path, "")
	out := filepath.Join(t.TempDir(), "m.index.json")
	entries := entriesFrom(r, nil)
	for i, load := range map[int]func() (*tensor.Tensor, error){
		0: func() (*tensor.Tensor, error) { return nil, os.ErrClosed },
		1: func() (*tensor.Tensor, error) { return nil, os.ErrClosed },
		2: func() (*tensor.Tensor, error) { return nil, nil },
	} {
		broken := slices.Clone(entries)
		broken[i].Load = load
		err := checkpoint.Write(t.Context(), out, broken, nil, checkpoint.FormOf(r))
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("tensor %q", entries[i].Name)) {
			t.Errorf("error %v", err)
		}
		if names := filesIn(t, filepath.Dir(out)); len(names) > 0 {
			t.Errorf("left %v", names)
		}
	}
	dir := filepath.Dir(path)
	first := filepath.Join(dir, "x-00001-of-00003.safetensors")
	if err := os.Link(filepath.Join(dir, "first"), first); err != nil {
		t.Skip(err)
	}
	for _, out := range []string{filepath.Join(dir, "x.index.json"), filepath.Join(dir, "first")} {
		err := checkpoint.Write(t.Context(), out, entriesOf(want), nil, checkpoint.Form{ShardBytes: 10}.Sparing(checkpoint.FormOf(r)))
		if err == nil || !strings.Contains(err.Error(), "is read, and would be overwritten") {
			t.Errorf("%s: error %v", out, err)
		}
	}
	equalTensors(t, readAll(t, openAny(t, path, "")), want)
}

// indexAttacks has an index for each way in which one can be wrong, and what must be said about it.
var indexAttacks = []struct{ name, index, want string }{
	{"not_json", `{"weight_map": {"a": "first"}`, "index is not valid JSON"},
	{"no_map", `{"metadata": {}}`, "index has no weight_map"},
	{"map_is_list", `{"weight_map": ["a"]}`, "weight_map is not an object"},
	{"map_of_numbers", `{"weight_map": {"a": 1}}`, `weight_map value of "a" is not a string`},
	{"map_twice", `{"weight_map": {}, "weight_map": {}}`, `index has the key "weight_map" twice`},
	{"tensor_twice", `{"weight_map": {"a": "first", "a": "first"}}`, `weight_map has the key "a" twice`},
	{"metadata_is_list", `{"metadata": [1], "weight_map": {}}`, "metadata is not an object"},
	{"unknown_key", `{"weight_map": {}, "shards": []}`, `index has the unknown key "shards"`},
	{"deep", `{"metadata": {"x":` + strings.Repeat("[", 20000) + `}}`, "index is not valid JSON"},
	{"surrogate", `{"weight_map": {"\ud800": "first"}}`, "half of a UTF-16 surrogate pair"},
	{"above", `{"weight_map": {"a": "../outside"}}`, `tensor "a": shard "../outside" is not the name of a file in the folder of the index`},
	{"above_windows", `{"weight_map": {"a": "..\\outside"}}`, `is not the name of a file in the folder`},
	{"absolute", `{"weight_map": {"a": "/etc/passwd"}}`, `shard "/etc/passwd" is not the name of a file in the folder`},
	{"drive", `{"weight_map": {"a": "C:first"}}`, `is not the name of a file in the folder`},
	{"below", `{"weight_map": {"a": "sub/first"}}`, `is not the name of a file in the folder`},
	{"dots", `{"weight_map": {"a": ".."}}`, `is not the name of a file in the folder`},
	{"dot", `{"weight_map": {"a": "."}}`, `is not the name of a file in the folder`},
	{"empty", `{"weight_map": {"a": ""}}`, `is not the name of a file in the folder`},
	{"nul", `{"weight_map": {"a": "first\u0000"}}`, `is not the name of a file in the folder`},
	{"absent", `{"weight_map": {"a": "third"}}`, `shard "third": no such file`},
	{"long", `{"weight_map": {"a": "` + strings.Repeat("s", 5000) + `"}}`, `shard "sss`},
	{"folder", `{"weight_map": {"a": "sub"}}`, `shard "sub": is a directory`},
	{"itself", `{"weight_map": {"a": "model.safetensors.index.json"}}`, `shard "model.safetensors.index.json": header`},
	{"missing", `{"weight_map": {"a": "first", "z": "first", "b": "second", "c": "second"}}`, `tensor "c": it is not in shard "second", as the index says`},
	{"unlisted", `{"weight_map": {"a": "first", "b": "second"}}`, `tensor "z": it is in shard "first" and not in the index`},
	{"elsewhere", `{"weight_map": {"a": "second", "z": "first", "b": "second"}}`, `tensor "a": it is in shard "first", and in "second" by the index`},
	{"broken", `{"weight_map": {"a": "broken"}}`, `shard "broken": header of`},
}

// Every way in which an index can be wrong is an error that says so, and no file outside of its folder is opened.
func TestShardedAttacks(t *testing.T) {
	good, _ := sharded(t)
	dir := filepath.Dir(good)
	put(t, filepath.Join(filepath.Dir(dir), "outside"), "secret")
	for _, tt := range indexAttacks {
		t.Run(tt.name, func(t *testing.T) {
			put(t, filepath.Join(dir, "broken"), "12345678{}")
			if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
				t.Fatal(err)
			}
			put(t, good, tt.index)
			_, err := checkpoint.Open(good, checkpoint.OpenOptions{})
			if err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("checkpoint: reading %q: ", good)) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if err != nil && len(err.Error()) > 900 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
	many := strings.Builder{}
	for i := range 5000 {
		fmt.Fprintf(&many, `"t%d":"s%d",`, i, i)
	}
	put(t, good, `{"weight_map":{`+strings.TrimSuffix(many.String(), ",")+`}}`)
	if _, err := checkpoint.Open(good, checkpoint.OpenOptions{}); err == nil || !strings.Contains(err.Error(), "index of 5000 shards is over the limit of 4096") {
		t.Errorf("error %v", err)
	}
	content := `{"weight_map": {}}`
	if _, err := newReader([]byte(content), ""); err == nil || !strings.Contains(err.Error(), "can only be opened by its path") {
		t.Errorf("error %v", err)
	}
}

// The hash of an index changes with its shards.
func TestShardedHash(t *testing.T) {
	path, _ := sharded(t)
	before, err := checkpoint.Hash(path)
	if err != nil {
		t.Fatal(err)
	}
	shard := filepath.Join(filepath.Dir(path), "second")
	content, err := os.ReadFile(shard)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-1] ^= 1
	put(t, shard, string(content))
	after, err := checkpoint.Hash(path)
	if err != nil || before == after {
		t.Errorf("%s, then %s, %v", before, after, err)
	}
	put(t, path, "{ no index")
	if _, err := checkpoint.Hash(path); err != nil {
		t.Error(err)
	}
}
