package dataset

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// idxBytes encodes an idx file of bytes.
func idxBytes(data []byte, dims ...uint32) []byte {
	b := []byte{0, 0, idxUint8, byte(len(dims))}
	for _, d := range dims {
		b = binary.BigEndian.AppendUint32(b, d)
	}
	return append(b, data...)
}

func gzipped(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A tiny set in the form of the real ones: images of 2x3, three to train on and two to test with, of classes a and b.
type tiny struct {
	source
	contents map[string][]byte // by base name
}

func newTiny() *tiny {
	t := &tiny{contents: map[string][]byte{}}
	add := func(base string, content []byte) file {
		t.contents[base] = content
		sum := sha256.Sum256(content)
		return file{base: base, size: len(content), sha256: hex.EncodeToString(sum[:])}
	}
	pixels := []byte("abcdefghijklmnopqr")
	t.source = source{
		name:    "tiny",
		folders: []string{"tiny", "TINY/raw"},
		images: [2]file{
			add("train-images-idx3-ubyte", idxBytes(pixels, 3, 2, 3)),
			add("t10k-images-idx3-ubyte", idxBytes(pixels[6:], 2, 2, 3)),
		},
		labels: [2]file{
			add("train-labels-idx1-ubyte", idxBytes([]byte{1, 0, 1}, 3)),
			add("t10k-labels-idx1-ubyte", idxBytes([]byte{0, 1}, 2)),
		},
		classNames: []string{"a", "b"},
		inModule:   true,
	}
	return t
}

// place writes the files of the set to a directory, compressed, as a distribution would.
func (s *tiny) place(t testing.TB, dir string) {
	t.Helper()
	for base, content := range s.contents {
		writeFile(t, filepath.Join(dir, base+".gz"), gzipped(t, content))
	}
}

func writeFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A fakeHost is an environment below one temporary directory.
type fakeHost struct {
	root    string
	vars    map[string]string
	source  string // the recorded source file
	module  string // what the go command answers; "" is that there is none
	fetched []string
	offline []bool // the argument of each call of the go command
	serve   func(url string) ([]byte, error)
}

func newFakeHost(t testing.TB) *fakeHost {
	return &fakeHost{root: t.TempDir(), vars: map[string]string{}}
}

func (h *fakeHost) path(elem ...string) string {
	return filepath.Join(append([]string{h.root}, elem...)...)
}

func (h *fakeHost) environment() environment {
	return environment{
		getenv:       func(name string) string { return h.vars[name] },
		userCacheDir: func() (string, error) { return h.path("cache"), nil },
		userHomeDir:  func() (string, error) { return h.path("home"), nil },
		sourceFile:   func() string { return h.source },
		goDownload: func(_ context.Context, offline bool) (string, error) {
			h.offline = append(h.offline, offline)
			if h.module == "" {
				return "", fs.ErrNotExist
			}
			return h.module, nil
		},
		fetch: func(_ context.Context, url string, _ int) ([]byte, error) {
			h.fetched = append(h.fetched, url)
			if h.serve == nil {
				return nil, errors.New("no network")
			}
			return h.serve(url)
		},
	}
}

// messages collects what a search has to say.
type messages []string

func (m *messages) log(s string) { *m = append(*m, s) }

// contains tells whether one message has all the parts.
func (m *messages) contains(parts ...string) bool {
	for _, s := range *m {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(s, p)
		}
		if all {
			return true
		}
	}
	return false
}
