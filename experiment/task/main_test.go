package task

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// children are what this test binary does instead of testing when [inChild] starts it.
var children = map[string]func(dir string) error{"hold": holdLock, "chain": runChain}

const (
	childEnv    = "TASK_TEST_CHILD"
	childDirEnv = "TASK_TEST_DIR"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		if err := children[name](os.Getenv(childDirEnv)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// open opens a store that does not wait for the disk.
func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, "v1")
	if err != nil {
		t.Fatal(err)
	}
	s.sync = func(string) error { return nil }
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

// counted counts how often its tasks are done, by label.
type counted struct {
	mu   sync.Mutex
	runs map[string]int
}

func (c *counted) add(label string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runs == nil {
		c.runs = map[string]int{}
	}
	c.runs[label]++
}

// kind is one whose tasks write their options, and what those that they need wrote.
func (c *counted) kind() *Kind {
	return &Kind{Name: "write", Recipe: 1, Run: func(_ context.Context, job *Job) error {
		c.add(job.Label)
		return writeAll(job)
	}}
}

func writeAll(job *Job) error {
	text := string(job.Options)
	for _, n := range job.Needs {
		other, err := os.ReadFile(n.Path("out.txt"))
		if err != nil {
			return err
		}
		text += "\n" + string(other)
	}
	return os.WriteFile(job.Path("out.txt"), []byte(text), 0o644)
}

func add(t testing.TB, p *Plan, k *Kind, label string, options any, needs ...*Task) *Task {
	t.Helper()
	task, err := p.Add(k, label, options, needs...)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func execute(t testing.TB, s *Store, p *Plan, wanted ...*Task) {
	t.Helper()
	if err := s.Execute(context.Background(), p, wanted, ExecuteOptions{Threads: 2}); err != nil {
		t.Fatal(err)
	}
}

func expect[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// files are the files below a folder and what is in them; empty folders are there with a slash.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		name = filepath.ToSlash(name)
		if e.IsDir() {
			if inside, err := os.ReadDir(path); err != nil || len(inside) > 0 || name == "." {
				return err
			}
			out[name+"/"] = ""
			return nil
		}
		text, err := os.ReadFile(path)
		out[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
