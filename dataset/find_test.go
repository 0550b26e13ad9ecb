package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSearchOrder puts the files into every place, and takes the places away one after the other: each time the next one must be used.
func TestSearchOrder(t *testing.T) {
	data, host := newTiny(), newFakeHost(t)
	gopaths := []string{host.path("gopath1"), host.path("gopath2")}
	host.vars["REBASIN_DATA"] = host.path("rebasin-data")
	host.vars["GOMODCACHE"] = host.path("gomodcache")
	host.vars["GOPATH"] = strings.Join(gopaths, string(filepath.ListSeparator))
	host.source = host.path("src", "mnist.go")
	host.module = host.path("downloaded")
	module := filepath.Join(filepath.FromSlash(moduleFolder), "data")
	data.systemDirs = []string{host.path("system")}
	data.mirrors = []string{"https://mirror/"}
	host.serve = func(url string) ([]byte, error) {
		base := strings.TrimSuffix(strings.TrimPrefix(url, "https://mirror/"), ".gz")
		return gzipped(t, data.contents[base]), nil
	}

	cache := host.path("cache", "rebasin", "tiny")
	dirs := []string{
		host.path("data-dir"),
		host.path("rebasin-data"),
		cache,
		host.path("gomodcache", module),
		host.path("gopath1", "pkg", "mod", module),
		host.path("gopath2", "pkg", "mod", module),
		host.path("home", "go", "pkg", "mod", module),
		host.path("src", "data"),
		host.path("downloaded", "data"),
		host.path("system"),
	}
	for _, dir := range dirs {
		data.place(t, dir)
	}
	for i, dir := range append(dirs, "https://mirror/") {
		if dir != cache {
			if err := os.RemoveAll(cache); err != nil {
				t.Fatal(err)
			}
		}
		if i < slices.Index(dirs, cache) {
			data.place(t, cache)
		}
		var said messages
		host.offline, host.fetched = nil, nil
		openTiny(t, data, host, Options{DataDir: host.path("data-dir"), Log: said.log})
		if copied := said.contains("copied "+dir, " to "+cache); copied == (dir == cache) {
			t.Errorf("place %d, %s: it said %q", i, dir, said)
		}
		if asked, want := len(host.offline) > 0, i >= slices.Index(dirs, host.path("downloaded", "data")); asked != want {
			t.Errorf("place %d, %s: the go command was asked %v, want %v", i, dir, asked, want)
		}
		if fetched, want := len(host.fetched) > 0, i == len(dirs); fetched != want {
			t.Errorf("place %d, %s: mirrors were asked for %q", i, dir, host.fetched)
		}
		if len(host.offline) > 1 {
			t.Errorf("the go command was asked %d times", len(host.offline))
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// openTiny opens the training split and checks that it is what was put there.
func openTiny(t *testing.T, data *tiny, host *fakeHost, opt Options) {
	t.Helper()
	set, err := open(context.Background(), &data.source, Train, opt, host.environment())
	if err != nil {
		t.Fatal(err)
	}
	x, labels := make([]float32, 18), make([]int32, 3)
	set.Fill([]int{0, 1, 2}, x, labels)
	if x[0] != float32('a')/255 || x[17] != float32('r')/255 || !slices.Equal(labels, []int32{1, 0, 1}) {
		t.Errorf("set holds %v, %v", x, labels)
	}
}

// The files may have any of their names, lie compressed or not, in the directory or in folders of the usual names.
func TestFileNames(t *testing.T) {
	data := newTiny()
	for _, folder := range []string{".", "tiny", "TINY/raw"} {
		for _, pattern := range []string{"%s-images-idx3-ubyte", "%s-images.idx3-ubyte"} {
			for _, suffix := range []string{"", ".gz"} {
				name := filepath.Join(folder, pattern+suffix)
				t.Run(name, func(t *testing.T) {
					host := newFakeHost(t)
					for base, content := range data.contents {
						if suffix == ".gz" {
							content = gzipped(t, content)
						}
						if strings.Contains(pattern, ".idx") {
							base = strings.Replace(base, "-idx", ".idx", 1)
						}
						writeFile(t, host.path("dir", folder, base+suffix), content)
					}
					openTiny(t, data, host, Options{DataDir: host.path("dir"), Offline: true})
					// The copies in the cache serve on their own.
					openTiny(t, data, host, Options{Offline: true})
				})
			}
		}
	}
}

// A file decompressed by a browser that kept the name is still good.
func TestPlainFileNamedGz(t *testing.T) {
	data, host := newTiny(), newFakeHost(t)
	for base, content := range data.contents {
		writeFile(t, host.path("dir", base+".gz"), content)
	}
	openTiny(t, data, host, Options{DataDir: host.path("dir"), Offline: true})
}

// badFiles are ways in which train-images can be wrong, and what must be said.
func badFiles(t *testing.T, good []byte) map[string]struct {
	stored []byte
	want   string
} {
	flipped := bytes.Clone(good)
	flipped[20] ^= 1
	packed := gzipped(t, good)
	return map[string]struct {
		stored []byte
		want   string
	}{
		"flipped":   {flipped, "has the wrong checksum: SHA-256 of its content is"},
		"short":     {good[:len(good)-1], fmt.Sprintf("ends early: %d bytes of %d", len(good)-1, len(good))},
		"long":      {append(bytes.Clone(good), 0), "too long"},
		"truncated": {packed[:len(packed)-10], "ends early"},
		"bomb":      {gzipped(t, make([]byte, 1<<20)), "too long"},
		"empty":     {nil, "ends early: 0 bytes"},
		"huge":      {bytes.Repeat([]byte{7}, 1<<20), "too long"},
	}
}

// Where the user pointed, a wrong file is an error that names it, although the right one lies further on.
func TestWrongFileWhereTheUserPointed(t *testing.T) {
	data := newTiny()
	for name, bad := range badFiles(t, data.contents["train-images-idx3-ubyte"]) {
		for _, way := range []string{"--data-dir", "$REBASIN_DATA"} {
			t.Run(name+way, func(t *testing.T) {
				host := newFakeHost(t)
				data.place(t, host.path("cache", "rebasin", "tiny"))
				path := host.path("dir", "train-images-idx3-ubyte")
				writeFile(t, path, bad.stored)
				opt := Options{Offline: true}
				if way == "--data-dir" {
					opt.DataDir = host.path("dir")
				} else {
					host.vars["REBASIN_DATA"] = host.path("dir")
				}
				_, err := open(context.Background(), &data.source, Train, opt, host.environment())
				if err == nil {
					t.Fatal("no error")
				}
				for _, part := range []string{"dataset: tiny: " + way + ": ", fmt.Sprintf("%q", path), bad.want} {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("error %q lacks %q", err, part)
					}
				}
			})
		}
	}
}

// Elsewhere it is passed over, and said; a wrong file in the cache is replaced.
func TestWrongFileInTheCache(t *testing.T) {
	data := newTiny()
	for name, bad := range badFiles(t, data.contents["train-images-idx3-ubyte"]) {
		t.Run(name, func(t *testing.T) {
			host := newFakeHost(t)
			path := host.path("cache", "rebasin", "tiny", "train-images-idx3-ubyte.gz")
			writeFile(t, path, bad.stored)
			host.module = host.path("downloaded")
			data.place(t, host.path("downloaded", "data"))
			var said messages
			openTiny(t, data, host, Options{Offline: true, Log: said.log})
			if !said.contains("passed over the user's cache", path, bad.want) {
				t.Errorf("it said %q", said)
			}
			said = nil
			openTiny(t, data, host, Options{Offline: true, Log: said.log})
			if len(said) > 0 {
				t.Errorf("the second time it said %q", said)
			}
		})
	}
}

func TestDirectoryInPlaceOfFile(t *testing.T) {
	data, host := newTiny(), newFakeHost(t)
	path := host.path("dir", "train-images-idx3-ubyte.gz")
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := open(context.Background(), &data.source, Train, Options{DataDir: host.path("dir"), Offline: true}, host.environment())
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q is not a regular file", path)) {
		t.Errorf("error %v", err)
	}
}

// A directory that the user named and that has nothing is mentioned: it may be a slip of the keyboard.
func TestNothingWhereTheUserPointed(t *testing.T) {
	data, host := newTiny(), newFakeHost(t)
	data.place(t, host.path("cache", "rebasin", "tiny"))
	var said messages
	openTiny(t, data, host, Options{DataDir: host.path("typo"), Offline: true, Log: said.log})
	if !said.contains("passed over --data-dir: not in ", host.path("typo")) {
		t.Errorf("it said %q", said)
	}
}

func TestCacheThatCannotBeWritten(t *testing.T) {
	data, host := newTiny(), newFakeHost(t)
	writeFile(t, host.path("cache"), []byte("a file where the cache's directory should be"))
	data.place(t, host.path("dir"))
	var said messages
	openTiny(t, data, host, Options{DataDir: host.path("dir"), Offline: true, Log: said.log})
	if !said.contains("was not kept in the cache", host.path("dir", "train-images-idx3-ubyte.gz")) {
		t.Errorf("it said %q", said)
	}
}

func TestNotFound(t *testing.T) {
	data, host := newTiny(), newFakeHost(t)
	data.mirrors = []string{"https://one/", "https://two/"}
	_, err := open(context.Background(), &data.source, Test, Options{DataDir: host.path("dir")}, host.environment())
	var notFound *NotFoundError
	if !errors.As(err, &notFound) {
		t.Fatalf("error %v", err)
	}
	if notFound.Set != "tiny" || notFound.File != "t10k-images-idx3-ubyte" || len(notFound.Tried) != 6 {
		t.Errorf("error %+v", notFound)
	}
	for _, part := range []string{
		"dataset: tiny: file \"t10k-images-idx3-ubyte\" was found nowhere",
		host.path("dir", "TINY", "raw"), host.path("cache", "rebasin", "tiny"), "go mod download", "no network",
		"train-labels-idx1-ubyte", "--data-dir DIR", "REBASIN_DATA=DIR",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error lacks %q:\n%v", part, err)
		}
	}
}

func TestOfflineAsksNoMirror(t *testing.T) {
	data, host := newTiny(), newFakeHost(t)
	data.mirrors = []string{"https://one/"}
	_, err := open(context.Background(), &data.source, Train, Options{Offline: true}, host.environment())
	if err == nil || len(host.fetched) > 0 {
		t.Errorf("error %v, fetched %q", err, host.fetched)
	}
	if !slices.Equal(host.offline, []bool{true}) {
		t.Errorf("the go command was told %v of being offline", host.offline)
	}
}

// TestMirrors runs the real client against servers of this process: one without the files, one that sends too much, one that sends
// something else, one that is right.
func TestMirrors(t *testing.T) {
	data, host := newTiny(), newFakeHost(t)
	serve := func(body func(base string) []byte) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			base := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/mnist/"), ".gz")
			if b := body(base); b != nil {
				_, _ = w.Write(b) // the client hangs up on what is too long
				return
			}
			http.NotFound(w, r)
		}))
		t.Cleanup(server.Close)
		return server.URL + "/mnist/"
	}
	data.mirrors = []string{
		serve(func(string) []byte { return nil }),
		serve(func(string) []byte { return make([]byte, 1<<20) }),
		serve(func(string) []byte { return gzipped(t, []byte("<html>log in to this hotel's network</html>")) }),
		serve(func(base string) []byte { return gzipped(t, data.contents[base]) }),
	}
	env := host.environment()
	env.fetch = httpGet
	var said messages
	if _, err := open(context.Background(), &data.source, Train, Options{Log: said.log}, env); err != nil {
		t.Fatal(err)
	}
	for i, part := range []string{"404 Not Found", "more than", "too long", "copied"} {
		if !said.contains(data.mirrors[i], part) {
			t.Errorf("nothing of %q was said of mirror %d in %q", part, i, said)
		}
	}
	// The next time nothing is asked.
	openTiny(t, data, host, Options{Offline: true})
}

func TestCancel(t *testing.T) {
	data, host := newTiny(), newFakeHost(t)
	ctx, cancel := context.WithCancel(context.Background())
	started := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
	}))
	defer server.Close()
	go func() {
		<-started
		cancel()
	}()
	data.mirrors = []string{server.URL + "/", "https://never-asked.invalid/"}
	env := host.environment()
	env.fetch = httpGet
	_, err := open(ctx, &data.source, Train, Options{}, env)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(host.path("cache")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cache exists: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	ctx := context.Background()
	if _, err := Open(ctx, "imagenet", Train, Options{Offline: true}); err == nil ||
		!strings.Contains(err.Error(), `unknown data set "imagenet": known are mnist, fashion-mnist`) {
		t.Errorf("error %v", err)
	}
	data, host := newTiny(), newFakeHost(t)
	if _, err := open(ctx, &data.source, Split(7), Options{Offline: true}, host.environment()); err == nil ||
		!strings.Contains(err.Error(), "unknown split Split(7)") {
		t.Errorf("error %v", err)
	}
	data.place(t, host.path("dir"))
	norm := &Normalization{Mean: []float32{0}, Std: []float32{-1}}
	opt := Options{DataDir: host.path("dir"), Offline: true, Normalize: norm}
	if _, err := open(ctx, &data.source, Train, opt, host.environment()); err == nil ||
		!strings.Contains(err.Error(), "is not positive") {
		t.Errorf("error %v", err)
	}
}
