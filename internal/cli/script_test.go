package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rebasin/rebasin/dataset"
)

func TestMain(m *testing.M) {
	testscript.Main(withCache{m}, map[string]func(){
		"rebasin": func() { os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// withCache runs the tests with a cache of data sets of their own.
type withCache struct{ *testing.M }

func (m withCache) Run() int {
	dir, err := os.MkdirTemp("", "rebasin-cli-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	cacheHome = dir
	return m.M.Run()
}

// cacheHome is the folder that mnistCache fills.
var cacheHome string

// mnistCache fills a cache with the files of MNIST, unpacked: every run of a command reads them.
var mnistCache = sync.OnceValues(func() (string, error) {
	if err := os.Setenv("XDG_CACHE_HOME", cacheHome); err != nil {
		return "", err
	}
	for _, split := range []dataset.Split{dataset.Train, dataset.Test} {
		if _, err := dataset.Open(context.Background(), "mnist", split, dataset.Options{}); err != nil {
			return "", err
		}
	}
	packed, err := filepath.Glob(filepath.Join(cacheHome, "rebasin", "mnist", "*.gz"))
	if err != nil {
		return "", err
	}
	for _, path := range packed {
		if err := unpack(path); err != nil {
			return "", err
		}
	}
	return cacheHome, nil
})

// unpack replaces a file by its content.
func unpack(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	content, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	if err := os.WriteFile(strings.TrimSuffix(path, ".gz"), content, 0o644); err != nil {
		return err
	}
	return os.Remove(path)
}

// useCache gives the test a cache that holds MNIST.
func useCache(t *testing.T) string {
	t.Helper()
	dir, err := mnistCache()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_CACHE_HOME", dir)
	return dir
}

// TestScripts runs the command as its users do. The scripts have commands of their own beside testscript's:
//
//	exits CODE PROGRAM ARGS...       runs a program, which must end with this exit code
//	interrupts REGEXP PROGRAM ARGS.. runs a program, sends it SIGINT once its standard error matches, expects exit code 130
//	interrupts @GLOB PROGRAM ARGS..  ... once there is such a file
//	json PATH = VALUE                the last command printed one JSON object and nothing else; at PATH is the VALUE
//	json PATH len N                  ... there is a list or an object with N entries
//	json PATH keys NAME...           ... there is an object with these entries, in any order, and no other
//	json PATH has NAME...            ... there is an object with at least these entries
//	json PATH in LOW HIGH            ... there is a number from LOW to HIGH
//	json PATH ~ REGEXP               ... there is a string that matches
//	only NAME...                     the folder holds these files and no other
//	remember FILE...                 unchanged, from now on, means that these files have the bytes they have now
//	unchanged
//	mlp FILE OPTION=VALUE...         writes a network with random weights, see [mlpFixture]
//	images FILE OPTION=VALUE...      writes a folder or a zip of images, see [imageFixture]
//	arrays FILE NAME=DTYPE:SHAPE..   writes an .npz of random numbers, see [writeArrays]
//	npy NPZ NAME FILE                takes an array out of an .npz
//	header FILE TEXT BYTES [LENGTH]  writes a safetensors file of a header and zeros; LENGTH is what it says of the header's length
func TestScripts(t *testing.T) {
	shared, fresh := useCache(t), t.TempDir()
	goModCache := goModCache()
	torch, err := filepath.Abs(filepath.Join("..", "..", "checkpoint", "testdata", "torch")) // files that PyTorch wrote
	if err != nil {
		t.Fatal(err)
	}
	onnx, err := filepath.Abs(filepath.Join("..", "..", "onnx", "testdata")) // networks that PyTorch exported
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := filepath.Abs(filepath.Join("testdata", "onnx")) // networks that read numbers of tokens
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "script"),
		RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(fresh, "home")
			for _, dir := range []string{"HOME", "USERPROFILE", "LocalAppData"} {
				e.Setenv(dir, home)
			}
			e.Setenv("XDG_CACHE_HOME", shared)
			e.Setenv("FRESH", filepath.Join(fresh, filepath.Base(e.WorkDir)))
			e.Setenv("GOMODCACHE", goModCache)
			e.Setenv("TORCH", torch)
			e.Setenv("ONNX", onnx)
			e.Setenv("TOKENS", tokens)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "interrupts": interrupts, "json": checkJSON, "only": only, "remember": remember, "unchanged": unchanged,
			"mlp": writeMLP, "header": writeHeader, "images": writeImages, "arrays": writeArrays, "npy": writeNPY,
		},
	})
}

// goModCache is where the module is that carries MNIST.
func goModCache() string {
	out, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		return os.Getenv("GOMODCACHE")
	}
	return strings.TrimSpace(string(out))
}

func need(ts *testscript.TestScript, neg bool, ok bool, usage string) {
	if neg || !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) >= 2, "exits CODE PROGRAM ARGS...")
	err := ts.Exec(args[1], args[2:]...)
	if got := codeOf(err); strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func codeOf(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// watched is a buffer that says once when what was written to it matches.
type watched struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	pattern *regexp.Regexp
	seen    chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	if w.pattern != nil && w.pattern.Match(w.buf.Bytes()) {
		close(w.seen)
		w.pattern = nil
	}
	return len(p), nil
}

func interrupts(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) >= 2, "interrupts REGEXP|@GLOB PROGRAM ARGS...")
	glob, isGlob := strings.CutPrefix(args[0], "@")
	pattern := regexp.MustCompile("$^") // what never matches
	if !isGlob {
		var err error
		pattern, err = regexp.Compile(args[0])
		ts.Check(err)
	}
	stderr := &watched{pattern: pattern, seen: make(chan struct{})}
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	c := exec.Command(path, args[2:]...)
	c.Args[0] = args[1]
	c.Dir, c.Env, c.Stdout, c.Stderr = ts.MkAbs("."), environ(ts), ts.Stdout(), stderr
	ts.Check(c.Start())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	var look <-chan time.Time
	if isGlob {
		t := time.NewTicker(5 * time.Millisecond)
		defer t.Stop()
		look = t.C
	}
	for running := true; running; {
		select {
		case <-stderr.seen:
		case <-look:
			if there, err := filepath.Glob(ts.MkAbs(glob)); err != nil || len(there) == 0 {
				continue
			}
		case err = <-ended:
			running = false
			continue
		}
		ts.Check(c.Process.Signal(os.Interrupt))
		err, running = <-ended, false
	}
	fmt.Fprint(ts.Stderr(), stderr.buf.String())
	if got := codeOf(err); got != exitInterrupted {
		ts.Fatalf("exit code %d after SIGINT, want %d; it said %s", got, exitInterrupted, stderr.buf.String())
	}
}

// environ is the script's environment, as far as the command looks at it.
func environ(ts *testscript.TestScript) []string {
	env := os.Environ()
	for _, name := range []string{"HOME", "USERPROFILE", "LocalAppData", "XDG_CACHE_HOME", "GOMODCACHE", "TMPDIR"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) >= 3, "json PATH OPERATOR VALUE...")
	text := ts.ReadFile("stdout")
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		ts.Fatalf("no JSON object: %v", err)
	}
	if d.More() {
		ts.Fatalf("more than one JSON object")
	}
	got, err := at(object, args[0])
	ts.Check(err)
	if err := checkValue(got, args[1], args[2:]); err != nil {
		ts.Fatalf("%s: %v", args[0], err)
	}
}

// at follows a path such as points/0/lambda; "." is the whole.
func at(v any, path string) (any, error) {
	if path == "." {
		return v, nil
	}
	for _, part := range strings.Split(path, "/") {
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[part]
			if !ok {
				return nil, fmt.Errorf("no %q in %s; there are %v", part, path, slices.Sorted(maps.Keys(x)))
			}
			v = next
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(x) {
				return nil, fmt.Errorf("no %q in %s, a list of %d", part, path, len(x))
			}
			v = x[i]
		default:
			return nil, fmt.Errorf("%s leads through %v", path, v)
		}
	}
	return v, nil
}

func checkValue(got any, operator string, want []string) error {
	switch operator {
	case "=":
		if text := strings.Trim(plainJSON(got), `"`); text != want[0] {
			return fmt.Errorf("it is %s, want %s", text, want[0])
		}
	case "len":
		if n := entries(got); strconv.Itoa(n) != want[0] {
			return fmt.Errorf("%d entries, want %s", n, want[0])
		}
	case "keys", "has":
		object, ok := got.(map[string]any)
		names := slices.Sorted(maps.Keys(object))
		if operator == "has" {
			names = slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(want, name) })
		}
		if slices.Sort(want); !ok || !slices.Equal(names, want) {
			return fmt.Errorf("the names are %v, want %v", names, want)
		}
	case "in":
		number, ok := got.(json.Number)
		x, err := number.Float64()
		low, errLow := strconv.ParseFloat(want[0], 64)
		high, errHigh := strconv.ParseFloat(want[1], 64)
		if err := errors.Join(err, errLow, errHigh); !ok || err != nil || !(low <= x && x <= high) {
			return fmt.Errorf("it is %v, want from %s to %s (%v)", got, want[0], want[1], err)
		}
	case "~":
		text, ok := got.(string)
		if matched, err := regexp.MatchString(want[0], text); err != nil || !ok || !matched {
			return fmt.Errorf("it is %v, want %q (%v)", got, want[0], err)
		}
	default:
		return fmt.Errorf("unknown operator %q", operator)
	}
	return nil
}

func plainJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func entries(v any) int {
	switch x := v.(type) {
	case map[string]any:
		return len(x)
	case []any:
		return len(x)
	}
	return -1
}

// only counts hidden files too: a partial output is one.
func only(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, true, "only NAME...")
	list, err := os.ReadDir(ts.MkAbs("."))
	ts.Check(err)
	var names []string
	for _, e := range list {
		if e.Name() != ".tmp" { // testscript's own
			names = append(names, e.Name())
		}
	}
	if slices.Sort(args); !slices.Equal(names, args) {
		ts.Fatalf("the folder holds %v, want %v", names, args)
	}
}

func remember(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) > 0, "remember FILE...")
	ts.Setenv("REMEMBERED", digests(ts, args))
}

func unchanged(ts *testscript.TestScript, neg bool, args []string) {
	was := ts.Getenv("REMEMBERED")
	need(ts, neg, len(args) == 0 && was != "", "unchanged, after remember")
	var files []string
	for line := range strings.Lines(was) {
		files = append(files, strings.Fields(line)[1])
	}
	if is := digests(ts, files); is != was {
		ts.Fatalf("files have changed: they were\n%sand are\n%s", was, is)
	}
}

func digests(ts *testscript.TestScript, files []string) string {
	var b strings.Builder
	for _, file := range files {
		fmt.Fprintf(&b, "%x %s\n", sha256.Sum256([]byte(ts.ReadFile(file))), file)
	}
	return b.String()
}
