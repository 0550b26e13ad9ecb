package task

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// inChild starts this test binary as another process, waits until it says that it is ready, and returns a function that kills it as kill -9 does.
func inChild(t *testing.T, name, dir string) (kill func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+name, childDirEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe() // the child ends with this process at the latest
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill = func() {
		if !killed {
			killed = true
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait() // it says "killed"
			in.Close()
		}
	}
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	return kill
}

// untilKilled is the last that a child does.
func untilKilled() error {
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func holdLock(dir string) error {
	s, err := Open(dir, "v1")
	if err != nil {
		return err
	}
	defer s.Close()
	return untilKilled()
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	kill := inChild(t, "hold", dir)
	if _, err := Open(dir, ""); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("opened what another process holds: %v", err)
	}
	kill()
	s, err := Open(dir, "")
	if err != nil {
		t.Fatalf("the lock has outlived its process: %v", err)
	}
	if _, err := Open(dir, ""); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice in one process: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, ""); err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// chain is a plan of tasks that need one another, in two strands with a task at the end of both. Each notes in a file beside the store that it
// begins, and works in two halves with a note in its scratch folder between them; there halfway is called.
func chain(dir string, halfway func(label string) error) (*Plan, *Task, error) {
	const steps = 3
	kind := &Kind{Name: "step", Recipe: 1, Run: func(_ context.Context, job *Job) error {
		half := filepath.Join(job.Scratch, "half")
		begin := "begin"
		if _, err := os.Stat(half); err == nil {
			begin = "go on"
		}
		f, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(f, "%s %s\n", begin, job.Label)
		if err := errors.Join(err, f.Close(), os.WriteFile(job.Path("unfinished"), []byte("x"), 0o644), os.WriteFile(half, nil, 0o644)); err != nil {
			return err
		}
		if halfway != nil {
			if err := halfway(job.Label); err != nil {
				return err
			}
		}
		return errors.Join(os.Remove(job.Path("unfinished")), writeAll(job))
	}}
	p := NewPlan("")
	var ends []*Task
	for strand := range 2 {
		var last []*Task
		for step := range steps {
			t, err := p.Add(kind, fmt.Sprintf("strand %d, step %d", strand, step), []int{strand, step}, last...)
			if err != nil {
				return nil, nil, err
			}
			last = []*Task{t}
		}
		ends = append(ends, last...)
	}
	end, err := p.Add(kind, "end", nil, ends...)
	return p, end, err
}

const (
	middle   = "strand 1, step 1"
	storeDir = "store"
)

// runChain executes the chain on one thread, and stands still in the middle.
func runChain(dir string) error {
	s, err := Open(filepath.Join(dir, storeDir), "v1")
	if err != nil {
		return err
	}
	p, end, err := chain(dir, func(label string) error {
		if label == middle {
			return untilKilled()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.Execute(context.Background(), p, []*Task{end}, ExecuteOptions{})
}

// TestKilled kills a process in the middle of a run, and resumes it: the artifacts are, byte for byte, those of a run that was left alone, and only
// what was missing is done.
func TestKilled(t *testing.T) {
	undisturbed, killed := t.TempDir(), t.TempDir()
	run := func(dir string) {
		t.Helper()
		s := open(t, filepath.Join(dir, storeDir))
		s.Removed = func(key, why string) { t.Errorf("%s is removed: %s", key, why) }
		p, end, err := chain(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Execute(context.Background(), p, []*Task{end}, ExecuteOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	run(undisturbed)

	inChild(t, "chain", killed)()
	before := files(t, filepath.Join(killed, storeDir))
	if _, err := os.Stat(filepath.Join(killed, storeDir, artifactsDir)); err != nil || len(before) == 0 {
		t.Fatalf("nothing was kept: %v", err)
	}
	run(killed)
	run(killed) // there is nothing to do

	artifacts := func(dir string) map[string]string { return files(t, filepath.Join(dir, storeDir, artifactsDir)) }
	expect(t, "artifacts", artifacts(killed), artifacts(undisturbed))
	expect(t, "what is left of unfinished work", files(t, filepath.Join(killed, storeDir, partialDir)), map[string]string{})
	log := func(dir string) []string {
		text, err := os.ReadFile(filepath.Join(dir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
	var want []string
	for _, line := range log(undisturbed) {
		if want = append(want, line); line == "begin "+middle {
			want = append(want, "go on "+middle)
		}
	}
	expect(t, "what was done", log(killed), want)

	timings, err := NewView(filepath.Join(killed, storeDir)).Timings()
	if err != nil {
		t.Fatal(err)
	}
	for _, timing := range timings {
		if timing.Resumed != (timing.Label == middle) {
			t.Errorf("%s: resumed is %t", timing.Label, timing.Resumed)
		}
	}
	expect(t, "timings", len(timings), 7)
}
