package task

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func init() { children["full"] = fillDisk }

// TestFullDisk runs [fillDisk] in a process with a small disk of its own.
func TestFullDisk(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"=full", childDirEnv+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), errNoMount.Error()) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		t.Skipf("no disk of its own here: %v, %s", err, out)
	}
	if err != nil || string(out) != "all is well\n" {
		t.Errorf("%v: %s", err, out)
	}
}

var errNoMount = errors.New("cannot mount")

// fillDisk runs tasks on a disk that is too small for one of them.
func fillDisk(dir string) error {
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=512k"); err != nil {
		return fmt.Errorf("%w: %w", errNoMount, err)
	}
	s, err := Open(dir, "v1")
	if err != nil {
		return err
	}
	defer s.Close()
	size := 0
	kind := &Kind{Name: "fill", Run: func(_ context.Context, job *Job) error {
		if job.Label == "small" {
			return os.WriteFile(job.Path("x"), make([]byte, 100<<10), 0o644)
		}
		if size < 0 { // takes all there is, and does not mind: what is left for the store is nothing
			f, err := os.Create(job.Path("x"))
			if err != nil {
				return err
			}
			for err == nil {
				_, err = f.Write(make([]byte, 4096))
			}
			return f.Close()
		}
		return os.WriteFile(job.Path("x"), make([]byte, size), 0o644)
	}}
	p := NewPlan("")
	small, err := p.Add(kind, "small", 1)
	if err != nil {
		return err
	}
	big, err := p.Add(kind, "big", 2, small)
	if err != nil {
		return err
	}
	for _, size = range []int{1 << 20, -1} {
		err = s.Execute(context.Background(), p, []*Task{big}, ExecuteOptions{})
		if !errors.Is(err, syscall.ENOSPC) || !strings.HasPrefix(err.Error(), "big: ") {
			return fmt.Errorf("a full disk gives %w", err)
		}
		left, err := os.ReadDir(filepath.Join(dir, partialDir))
		if err != nil || len(left) > 0 || s.Exists(big.Key) || !s.Exists(small.Key) {
			return fmt.Errorf("after the error %d folders are unfinished, big is there: %t, small: %t", len(left), s.Exists(big.Key), s.Exists(small.Key))
		}
	}
	size = 200 << 10 // somebody has made room
	if err := s.Execute(context.Background(), p, []*Task{big}, ExecuteOptions{}); err != nil {
		return err
	}
	fmt.Println("all is well")
	return nil
}
