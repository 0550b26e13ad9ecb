package dataset

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts builds programs that import this package in the ways that programs are built, and runs them where the data is in different places.
// Nothing leaves the machine: the go command is given the module cache of this build as its proxy.
func TestScripts(t *testing.T) {
	env := goEnv(t)
	repo, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "home")
			for _, dir := range []string{"HOME", "USERPROFILE", "LocalAppData"} {
				e.Setenv(dir, home)
			}
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, "cache"))
			e.Setenv("REPO", repo)
			e.Setenv("MODCACHE", env.GOMODCACHE)
			e.Setenv("FILEPROXY", "file://"+filepath.ToSlash(filepath.Join(env.GOMODCACHE, "cache", "download")))
			e.Setenv("GOMODCACHE", env.GOMODCACHE)
			e.Setenv("GOCACHE", env.GOCACHE)
			e.Setenv("GOPATH", filepath.Join(home, "gopath"))
			e.Setenv("GOPROXY", "off")
			e.Setenv("GOTOOLCHAIN", "local")
			e.Setenv("GOENV", "off")
			e.Setenv("CGO_ENABLED", env.CGO_ENABLED) // shares compiled packages with the build of this test
			// Module files that can be deleted: the scripts' own caches go with their work directories.
			e.Setenv("GOFLAGS", "-buildvcs=false -modcacherw")
			return nil
		},
	})
}

type goEnvironment struct{ GOMODCACHE, GOCACHE, CGO_ENABLED string }

// goEnv asks the go command for its directories. Without a go command, or without the archive of the module that the scripts serve to it, there
// is nothing to test with, which only a developer's machine is forgiven.
func goEnv(t *testing.T) goEnvironment {
	t.Helper()
	giveUp := t.Skipf
	if os.Getenv("CI") == "true" {
		giveUp = t.Fatalf
	}
	if _, err := exec.LookPath("go"); err != nil {
		giveUp("needs the go command: %v", err)
	}
	out, err := exec.Command("go", "env", "-json", "GOMODCACHE", "GOCACHE", "CGO_ENABLED").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	var env goEnvironment
	if err := json.Unmarshal(out, &env); err != nil {
		t.Fatalf("go env: %v", err)
	}
	escaped, _, _ := strings.Cut(moduleFolder, "@")
	archive := filepath.Join(env.GOMODCACHE, "cache", "download", escaped, "@v", moduleVersion+".zip")
	if _, err := os.Stat(archive); err != nil {
		giveUp("needs the module's archive in the module cache: %v", err)
	}
	return env
}
