package dataset

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// records are n records of a form, with labels in turn and pixels that tell where they stand.
func records(n int, form recordForm) []byte {
	var b []byte
	for i := range n {
		for _, classes := range form.classes {
			b = append(b, byte(i%classes))
		}
		for p := range recordShape.size() {
			b = append(b, byte(p/1024*80+i))
		}
	}
	return b
}

// tarred is an archive of files, gzipped.
func tarred(t testing.TB, folder string, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: folder + "/" + name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return gzipped(t, b.Bytes())
}

// fewCIFAR is a set in the form of CIFAR-10 with few records, whose digests are known.
func fewCIFAR(t testing.TB) (*source, map[string][]byte) {
	t.Helper()
	src, files := cifar10, map[string][]byte{"readme.html": []byte("hello")}
	for split, batches := range cifar10.batches {
		src.batches[split] = nil
		for i, f := range batches {
			f.size = (i + 2) * cifar10Form.size()
			content := records(i+2, cifar10Form)
			sum := sha256.Sum256(content)
			f.sha256 = hex.EncodeToString(sum[:])
			files[f.base] = content
			src.batches[split] = append(src.batches[split], f)
		}
	}
	return &src, files
}

func TestParseRecords(t *testing.T) {
	for _, form := range []recordForm{cifar10Form, cifar100Form, cifar100CoarseForm} {
		content := records(101, form)[100*form.size():] // the labels of a record 100
		if form.labels == 1 {
			content = records(8, form)[7*form.size():]
		}
		pixels, labels, err := parseRecords(content, form, []uint8{9}, []int32{5})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(labels, []int32{5, int32(content[form.label])}) || !slices.Equal(pixels[1:], content[form.labels:]) {
			t.Errorf("%+v: labels %v", form, labels)
		}
	}
	bad := records(3, cifar100Form)
	bad[cifar100Form.size()+1] = 100
	for want, content := range map[string][]byte{
		"label 100 of record 1 is out of range: there are 100 classes": bad,
		"its length 9221 is no multiple of the 3074 bytes of a record": records(3, cifar100Form)[1:],
		"its length 0 is no multiple of":                               nil,
	} {
		if _, _, err := parseRecords(content, cifar100Form, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// The files are found alone, in the folders that people make, and in the archive; whatever way, they are in the cache afterwards.
func TestFindRecords(t *testing.T) {
	src, files := fewCIFAR(t)
	archive := tarred(t, "cifar-10-batches-bin", files)
	src.archive.size = len(archive)
	src.mirrors = []string{"https://down/", "https://mirror/"}
	for name, place := range map[string]func(host *fakeHost){
		"archive": func(h *fakeHost) { writeFile(t, h.path("dir", src.archive.base), archive) },
		"mirror": func(h *fakeHost) {
			h.serve = func(url string) ([]byte, error) {
				if url != "https://mirror/cifar-10-binary.tar.gz" {
					return nil, errors.New("down")
				}
				return archive, nil
			}
		},
		"folder": func(h *fakeHost) {
			for base, content := range files {
				writeFile(t, h.path("dir", "cifar-10-batches-bin", base), content)
			}
		},
		"compressed": func(h *fakeHost) {
			for base, content := range files {
				writeFile(t, h.path("dir", base+".gz"), gzipped(t, content))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			host := newFakeHost(t)
			if err := os.MkdirAll(host.path("dir"), 0o755); err != nil {
				t.Fatal(err)
			}
			place(host)
			for _, split := range []Split{Train, Test, Train} {
				set, err := open(context.Background(), src, split, Options{DataDir: host.path("dir")}, host.environment())
				if err != nil {
					t.Fatal(err)
				}
				var want []byte
				for _, f := range src.batches[split] {
					want = append(want, files[f.base]...)
				}
				pixels, labels := content(set)
				if set.Len()*cifar10Form.size() != len(want) || !bytes.Equal(pixels[:3072], want[1:3073]) || labels[set.Len()-1] != int(want[len(want)-3073]) {
					t.Errorf("%v: %d images", split, set.Len())
				}
				if split == Test {
					if err := os.RemoveAll(host.path("dir")); err != nil {
						t.Fatal(err)
					}
					host.serve = nil
				}
			}
			// One download serves both splits.
			if want := map[string]int{"mirror": 2}[name]; len(host.fetched) != want {
				t.Errorf("asked mirrors for %q", host.fetched)
			}
		})
	}
}

// An archive that the user pointed at must be sound, too.
func TestBadArchives(t *testing.T) {
	src, files := fewCIFAR(t)
	flipped := map[string][]byte{}
	for name, content := range files {
		flipped[name] = bytes.Clone(content)
	}
	flipped["data_batch_2.bin"][7] ^= 1
	lacking := map[string][]byte{"data_batch_1.bin": files["data_batch_1.bin"]}
	long := map[string][]byte{"data_batch_1.bin": make([]byte, src.allSizes()+1)}
	sound := tarred(t, "x", files)
	for want, archive := range map[string][]byte{
		"data_batch_2.bin in ":                     tarred(t, "x", flipped),
		"does not hold data_batch_2.bin":           tarred(t, "x", lacking),
		`"data_batch_1.bin" is too long`:           tarred(t, "x", long),
		"unexpected EOF":                           sound[:len(sound)/2],
		"tar: ":                                    []byte("no archive, but a page that says that it is to be found elsewhere"),
		"tar: \"data_batch_1.bin\" is there twice": gzipped(t, twice(t, files["data_batch_1.bin"])),
	} {
		host := newFakeHost(t)
		writeFile(t, host.path("dir", src.archive.base), archive)
		_, err := open(context.Background(), src, Train, Options{DataDir: host.path("dir"), Offline: true}, host.environment())
		if err == nil || !strings.HasPrefix(err.Error(), "dataset: cifar10: --data-dir: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
	host := newFakeHost(t)
	_, err := open(context.Background(), src, Train, Options{Offline: true}, host.environment())
	if err == nil || !strings.HasSuffix(err.Error(),
		"test_batch.bin (with or without .gz) or cifar-10-binary.tar.gz into a directory DIR and say --data-dir DIR, or set REBASIN_DATA=DIR") {
		t.Errorf("error %v", err)
	}
}

func twice(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, folder := range []string{"a/", "b/"} {
		if err := w.WriteHeader(&tar.Header{Name: folder + "data_batch_1.bin", Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A folder or an archive named as a path may hold any number of records.
func TestOpenRecords(t *testing.T) {
	ten := map[string][]byte{"data_batch_1.bin": records(4, cifar10Form), "data_batch_3.bin": records(3, cifar10Form), "test_batch.bin": records(2, cifar10Form)}
	hundred := map[string][]byte{"train.bin": records(4, cifar100Form), "test.bin": records(2, cifar100Form), "fine_label_names.txt": nil}
	for name, tt := range map[string]struct {
		files   map[string][]byte
		classes int
		train   int
	}{"CIFAR-10": {ten, 10, 7}, "CIFAR-100": {hundred, 100, 4}} {
		dir := t.TempDir()
		for base, content := range tt.files {
			writeFile(t, filepath.Join(dir, "plain", base), content)
			writeFile(t, filepath.Join(dir, "unpacked", strings.ReplaceAll(name, "CIFAR-100", "cifar-100-binary"), base), content)
		}
		writeFile(t, filepath.Join(dir, "packed.tar.gz"), tarred(t, "x", tt.files))
		places := []string{filepath.Join(dir, "plain"), filepath.Join(dir, "packed.tar.gz")}
		if tt.classes == 100 {
			places = append(places, filepath.Join(dir, "unpacked"))
		}
		for _, at := range places {
			for split, n := range []int{Train: tt.train, Test: 2} {
				set, err := Open(context.Background(), at, Split(split), Options{})
				if err != nil {
					t.Fatal(err)
				}
				if set.Len() != n || set.Classes() != tt.classes || set.Label(1) != 1 {
					t.Errorf("%s, %s, %v: %d images in %d classes", name, at, Split(split), set.Len(), set.Classes())
				}
			}
		}
	}
}

func TestOpenRecordsRefuses(t *testing.T) {
	for want, files := range map[string]map[string][]byte{
		`there is no file "test_batch.bin"`:                                  {"data_batch_1.bin": records(4, cifar10Form)},
		`"test_batch.bin": its length 6145 is no multiple of the 3073 bytes`: {"test_batch.bin": records(2, cifar10Form)[1:]},
		`"test.bin": label 200 of record 0 is out of range`:                  {"test.bin": append([]byte{200}, records(1, cifar100Form)[1:]...)},
	} {
		dir := t.TempDir()
		for base, content := range files {
			writeFile(t, filepath.Join(dir, "d", base), content)
		}
		writeFile(t, filepath.Join(dir, "a.tgz"), tarred(t, "x", files))
		for _, at := range []string{"d", "a.tgz"} {
			if _, err := Open(context.Background(), filepath.Join(dir, at), Test, Options{}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want %q in it", at, err, want)
			}
		}
	}
	at := filepath.Join(t.TempDir(), "a.tar")
	writeFile(t, at, tarred(t, "x", map[string][]byte{"y": nil}))
	if _, err := Open(context.Background(), at, Test, Options{}); err == nil || !strings.HasSuffix(err.Error(), "it holds none of CIFAR's files of records") {
		t.Errorf("error %v", err)
	}
}

// The catalogue is whole: names of all classes, in order, and sizes that are whole records.
func TestCIFARCatalogue(t *testing.T) {
	for _, src := range []*source{&cifar10, &cifar100, &cifar100Coarse} {
		if n := src.form.classes[src.form.label]; len(src.classNames) != n || !slices.IsSorted(src.classNames) {
			t.Errorf("%s: %d names of classes in the order %q", src.name, len(src.classNames), src.classNames)
		}
		for split, n := range []int{Train: 50000, Test: 10000} {
			total := 0
			for _, f := range src.batches[split] {
				total += f.size
				if len(f.sha256) != 64 {
					t.Errorf("%s: digest %q", f.base, f.sha256)
				}
			}
			if total != n*src.form.size() {
				t.Errorf("%s: %d bytes for %d records", src.name, total, n)
			}
		}
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(records(2, cifar10Form), uint8(0))
	f.Add(records(2, cifar100Form), uint8(1))
	f.Add(records(1, cifar100Form)[1:], uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, form uint8) {
		r := []recordForm{cifar10Form, cifar100Form, cifar100CoarseForm}[form%3]
		pixels, labels, err := parseRecords(b, r, nil, nil)
		if err != nil {
			return
		}
		if len(labels)*r.size() != len(b) || len(pixels) != len(labels)*recordShape.size() {
			t.Fatalf("%d bytes are %d labels and %d pixels", len(b), len(labels), len(pixels))
		}
		for i, l := range labels {
			if l != int32(b[i*r.size()+r.label]) || int(l) >= r.classes[r.label] {
				t.Fatalf("label %d of record %d", l, i)
			}
		}
	})
}

func FuzzTar(f *testing.F) {
	small := map[string][]byte{"a.bin": []byte("abc"), "b.bin": []byte("defg")}
	f.Add(tarred(f, "x", small))
	f.Add([]byte("no archive"))
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 12
		files, err := readTar(context.Background(), bytes.NewReader(b), limit, func(name string) bool { return strings.HasSuffix(name, ".bin") })
		if err != nil {
			return
		}
		total := 0
		for name, content := range files {
			total += len(content)
			if !strings.HasSuffix(name, ".bin") {
				t.Fatalf("file %q", name)
			}
		}
		if total > limit {
			t.Fatalf("%d bytes", total)
		}
	})
}
