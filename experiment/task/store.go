package task

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Folders and files of a store.
const (
	artifactsDir = "artifacts" // KEY/manifest.json and the artifact's files
	partialDir   = "partial"   // KEY/: artifacts being written; KEY.scratch/: what unfinished tasks left to go on from
	timingFile   = "timing.jsonl"
	lockFile     = "lock"
	manifestFile = "manifest.json"
)

// ErrLocked says that another process is at work in a store.
var ErrLocked = errors.New("another run is at work in this folder")

// Store is a folder of artifacts. It is locked while it is open.
type Store struct {
	dir     string
	version string
	lock    io.Closer
	// sound are the artifacts whose hashes have been checked.
	sound map[string]bool
	// Removed hears of artifacts that were damaged and are removed. It may be nil.
	Removed func(key, why string)
}

// Open opens the store in a folder, which is made where it is missing, and locks it. The version is noted in what is made. While another process holds the lock
// the error wraps [ErrLocked].
func Open(dir, version string) (*Store, error) {
	for _, sub := range []string{artifactsDir, partialDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	lock, err := lockPath(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("%q: %w", dir, err)
	}
	return &Store{dir: dir, version: version, lock: lock, sound: map[string]bool{}}, nil
}

// Close unlocks the store.
func (s *Store) Close() error { return s.lock.Close() }

// manifest describes an artifact.
type manifest struct {
	Label string `json:"label"`
	identity
	// Version is that of the program that made the artifact.
	Version string          `json:"version"`
	Files   map[string]file `json:"files"`
}

type file struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func (s *Store) artifactPath(key string) string { return filepath.Join(s.dir, artifactsDir, key) }
func (s *Store) partialPath(key string) string  { return filepath.Join(s.dir, partialDir, key) }
func (s *Store) scratchPath(key string) string  { return s.partialPath(key) + ".scratch" }

// Lookup finds the artifact of a key. One whose files are not what they were when it was made is removed, and reported, and counts as missing.
func (s *Store) Lookup(key string) (Artifact, bool, error) {
	a := Artifact{Key: key, Dir: s.artifactPath(key)}
	if s.sound[key] {
		return a, true, nil
	}
	if _, err := os.Stat(a.Dir); errors.Is(err, fs.ErrNotExist) {
		return Artifact{}, false, nil
	} else if err != nil {
		return Artifact{}, false, err
	}
	if _, err := check(a.Dir); err != nil {
		if s.Removed != nil {
			s.Removed(key, err.Error())
		}
		return Artifact{}, false, os.RemoveAll(a.Dir)
	}
	s.sound[key] = true
	return a, true, nil
}

// Version is that of the program that made an artifact.
func (s *Store) Version(key string) (string, error) {
	m, err := readManifest(s.artifactPath(key))
	if err != nil {
		return "", err
	}
	return m.Version, nil
}

func readManifest(dir string) (*manifest, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return nil, err
	}
	var m manifest
	if err := decodeStrict(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", manifestFile, err)
	}
	return &m, nil
}

// check compares the files of an artifact with its manifest.
func check(dir string) (*manifest, error) {
	m, err := readManifest(dir)
	if err != nil {
		return nil, err
	}
	got, err := hashFiles(dir)
	if err != nil {
		return nil, err
	}
	for name, want := range m.Files {
		if f, ok := got[name]; !ok {
			return nil, fmt.Errorf("%s is missing", name)
		} else if f != want {
			return nil, fmt.Errorf("%s is not what was written", name)
		}
	}
	for name := range got {
		if _, ok := m.Files[name]; !ok {
			return nil, fmt.Errorf("%s is not part of it", name)
		}
	}
	return m, nil
}

// hashFiles describes the files of an artifact, its manifest left out.
func hashFiles(dir string) (map[string]file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string]file{}
	for _, e := range entries {
		if e.Name() == manifestFile {
			continue
		}
		if !e.Type().IsRegular() {
			return nil, fmt.Errorf("%s is no file", e.Name())
		}
		f, err := hashFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		files[e.Name()] = f
	}
	return files, nil
}

func hashFile(path string) (file, error) {
	f, err := os.Open(path)
	if err != nil {
		return file{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return file{n, hex.EncodeToString(h.Sum(nil))}, err
}

// begin makes the folders of a task that is to be done.
func (s *Store) begin(key string) (dir, scratch string, err error) {
	dir, scratch = s.partialPath(key), s.scratchPath(key)
	if err := os.RemoveAll(dir); err != nil { // of a run that was killed
		return "", "", err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", "", err
	}
	return dir, scratch, os.MkdirAll(scratch, 0o755)
}

// finish puts a task's artifact into its place.
func (s *Store) finish(t *Task, id identity) (Artifact, error) {
	dir := s.partialPath(t.Key)
	files, err := hashFiles(dir)
	if err != nil {
		return Artifact{}, err
	}
	text, err := json.MarshalIndent(manifest{Label: t.Label, identity: id, Version: s.version, Files: files}, "", "  ")
	if err != nil {
		return Artifact{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, manifestFile), append(text, '\n'), 0o644); err != nil {
		return Artifact{}, err
	}
	a := Artifact{Key: t.Key, Dir: s.artifactPath(t.Key)}
	if err := os.Rename(dir, a.Dir); err != nil {
		return Artifact{}, err
	}
	s.sound[t.Key] = true
	return a, os.RemoveAll(s.scratchPath(t.Key))
}

// isKey tells a folder of this package from anything else that may lie there.
var isKey = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Clean removes artifacts for which keep says no, and what unfinished tasks left; keep nil removes all. It returns how many artifacts were removed
// and the bytes that they took.
func (s *Store) Clean(keep func(key string) bool) (removed int, bytes int64, err error) {
	for _, sub := range []string{artifactsDir, partialDir} {
		entries, err := os.ReadDir(filepath.Join(s.dir, sub))
		if err != nil {
			return removed, bytes, err
		}
		for _, e := range entries {
			key := strings.TrimSuffix(e.Name(), ".scratch")
			if !isKey.MatchString(key) || keep != nil && keep(key) {
				continue
			}
			path := filepath.Join(s.dir, sub, e.Name())
			n, err := sizeOf(path)
			if err != nil {
				return removed, bytes, err
			}
			if err := os.RemoveAll(path); err != nil {
				return removed, bytes, err
			}
			delete(s.sound, key)
			bytes += n
			if sub == artifactsDir {
				removed++
			}
		}
	}
	return removed, bytes, nil
}

func sizeOf(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// Missing are the tasks of a plan that would be done, in order: those without an artifact. A task whose artifact is there needs nothing.
func (s *Store) Missing(p *Plan, wanted []*Task) ([]*Task, error) {
	need := map[*Task]bool{}
	var visit func(t *Task) error
	visit = func(t *Task) error {
		if need[t] {
			return nil
		}
		if _, ok, err := s.Lookup(t.Key); ok || err != nil {
			return err
		}
		need[t] = true
		for _, n := range t.Needs {
			if err := visit(n); err != nil {
				return err
			}
		}
		return nil
	}
	for _, t := range wanted {
		if err := visit(t); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(slices.Clone(p.tasks), func(t *Task) bool { return !need[t] }), nil
}
