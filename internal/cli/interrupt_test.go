package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// A countdown is a context that is cancelled the n-th time it is asked: Ctrl-C at a moment that can be chosen and repeated.
type countdown struct {
	context.Context
	mu   sync.Mutex
	left int
	done chan struct{}
}

func newCountdown(n int) *countdown {
	return &countdown{Context: context.Background(), left: n, done: make(chan struct{})}
}

func (c *countdown) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 {
		return context.Canceled
	}
	if c.left--; c.left == 0 {
		close(c.done)
	}
	return nil
}

func (c *countdown) Done() <-chan struct{} { return c.done }

// quiet runs a command in a folder, interrupted the n-th time that it looks.
func quiet(n int, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(newCountdown(n), append([]string{"--quiet"}, args...), &out, &err)
	return code, out.String(), err.String()
}

// inFolder moves the test to an empty folder with two models, and returns a function that gives the names of all files, hidden ones too.
func inFolder(t *testing.T) func() []string {
	t.Helper()
	t.Chdir(t.TempDir())
	for i, name := range []string{"a.safetensors", "b.safetensors"} {
		var f mlpFixture
		if err := f.parse([]string{fmt.Sprintf("seed=%d", i+1)}); err != nil {
			t.Fatal(err)
		}
		if err := f.write(name); err != nil {
			t.Fatal(err)
		}
	}
	return func() []string { return filesBelow(t, ".") }
}

func filesBelow(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && path != dir {
			names = append(names, filepath.ToSlash(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestInterruptAnywhere interrupts commands at every moment, more sparsely the later: each time they end with code 130, one line, and no output,
// or were done already.
func TestInterruptAnywhere(t *testing.T) {
	defer goleak.VerifyNone(t)
	useCache(t)
	for _, tt := range []struct {
		name    string
		args    string
		outputs []string // all that it makes when it is done
		state   []string // what an interrupted one may leave
	}{
		{
			name: "demo", args: "demo --hidden 8 --epochs 1 --points 2 --subset 100 --steps 2 --out demo",
			outputs: []string{
				"demo", "demo/a.safetensors", "demo/b-aligned.safetensors", "demo/b.safetensors", "demo/curve.png", "demo/curve.svg",
				"demo/merged.safetensors", "demo/report.html",
			},
		},
		{name: "align", args: "align a.safetensors b.safetensors -o out", outputs: []string{"out"}},
		{
			name: "align auto", args: "align a.safetensors b.safetensors -o out --method auto --data mnist --samples 500 --batch 100 --steps 2",
			outputs: []string{"out"},
		},
		{name: "merge", args: "merge a.safetensors b.safetensors -o out", outputs: []string{"out"}},
		{
			name: "merge searching", args: "merge a.safetensors b.safetensors -o out --search-lambda --data mnist --samples 500",
			outputs: []string{"out"},
		},
		{
			name: "interpolate", args: "interpolate a.safetensors b.safetensors --data mnist --samples 500 --points 3 -o out.svg",
			outputs: []string{"out.svg"},
		},
		{
			name: "train", args: "train --hidden 8 --data mnist --limit 500 --batch 100 --epochs 2 --checkpoints 1 -o out",
			outputs: []string{"out", "out-epoch1"}, state: []string{"out.snapshot", "out-epoch1"},
		},
		{name: "eval", args: "eval a.safetensors --data mnist"},
		{name: "verify", args: "verify a.safetensors a.safetensors --data mnist"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := inFolder(t)
			before, models := files(), contents(t, "a.safetensors", "b.safetensors")
			for n := 1; ; n += 1 + n/2 {
				code, stdout, stderr := quiet(n, strings.Fields(tt.args)...)
				if contents(t, "a.safetensors", "b.safetensors") != models {
					t.Fatalf("interrupted at %d: an input has changed", n)
				}
				made := slices.DeleteFunc(files(), func(name string) bool { return slices.Contains(before, name) })
				if code == exitDone {
					if !slices.Equal(made, tt.outputs) {
						t.Errorf("when done, it has made %v, want %v", made, tt.outputs)
					}
					if n < 3 {
						t.Errorf("it was never interrupted")
					}
					return
				}
				if !regexp.MustCompile(`^rebasin: interrupted[^\n]*\n$`).MatchString(stderr) || code != exitInterrupted || stdout != "" {
					t.Fatalf("interrupted at %d: exit code %d, it printed %q and said %q", n, code, stdout, stderr)
				}
				for _, name := range made {
					// The demonstration's files appear one by one, each whole.
					if !slices.Contains(tt.state, name) && tt.name != "demo" || strings.Contains(name, ".tmp") {
						t.Errorf("interrupted at %d: it left %v", n, made)
					}
					if err := os.RemoveAll(name); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

func contents(t *testing.T, names ...string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(data)
	}
	return b.String()
}

// TestResume interrupts a training at many moments, again and again, and expects the bytes of one that was left alone.
func TestResume(t *testing.T) {
	useCache(t)
	files := inFolder(t)
	args := strings.Fields("train --hidden 8 --dropout .2 --data mnist --limit 700 --batch 100 --epochs 3 --seed 5 --checkpoints 0,2")
	if code, _, stderr := quiet(0x7fffffff, append(args, "-o", "whole")...); code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, often := range []int{13, 20, 31} {
		out := []string{"-o", "out"}
		interrupted := 0
		for {
			code, _, stderr := quiet(often+interrupted, append(slices.Clone(args), out...)...)
			if code == exitDone {
				break
			}
			interrupted++
			if code != exitInterrupted || interrupted > 100 {
				t.Fatalf("exit code %d after %d interruptions: %s", code, interrupted, stderr)
			}
			if _, err := os.Stat("out.snapshot"); err == nil {
				if want := "rebasin: interrupted; the state is in out.snapshot: go on with --resume\n"; len(out) == 2 && stderr != want {
					t.Fatalf("it said %q, want %q", stderr, want)
				}
				out = []string{"-o", "out", "--resume"}
			}
		}
		if interrupted == 0 {
			t.Errorf("at %d the training was never interrupted", often)
		}
		for _, suffix := range []string{"", "-epoch0", "-epoch2"} {
			if contents(t, "out"+suffix) != contents(t, "whole"+suffix) {
				t.Errorf("at %d, after %d interruptions: out%s differs from that of a training that was left alone", often, interrupted, suffix)
			}
		}
		if slices.Contains(files(), "out.snapshot") {
			t.Errorf("the snapshot is still there")
		}
	}
}

// TestResumeAnotherTraining changes one flag after the other: what is resumed must be the training that was interrupted.
func TestResumeAnotherTraining(t *testing.T) {
	useCache(t)
	inFolder(t)
	args := strings.Fields("train --hidden 8 --data mnist --limit 500 --batch 100 --epochs 2 -o out")
	for n := 1; ; n++ {
		if code, _, stderr := quiet(n, args...); code != exitInterrupted {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		if _, err := os.Stat("out.snapshot"); err == nil {
			break
		}
	}
	snapshot := contents(t, "out.snapshot")
	for _, other := range []string{
		"--seed 9", "--lr .1", "--epochs 3", "--batch 50", "--hidden 9", "--hidden 8,8", "--activation tanh", "--dropout .1", "--limit 400", "--norm layer",
		"--normalize 0.1:0.2", "--data fashion-mnist", "--schedule cosine", "--optimizer sgd",
	} {
		if other == "--data fashion-mnist" && os.Getenv("REBASIN_DATA") == "" {
			continue // that one has to be fetched
		}
		code, _, stderr := quiet(0x7fffffff, append(append(slices.Clone(args), "--resume"), strings.Fields(other)...)...)
		if code != exitFailed || !strings.HasPrefix(stderr, "rebasin: train: ") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit code %d, it said %q", other, code, stderr)
		}
		if contents(t, "out.snapshot") != snapshot {
			t.Fatalf("%s: the snapshot has changed", other)
		}
	}
	if code, _, stderr := quiet(0x7fffffff, append(args, "--resume")...); code != exitDone {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
