package task

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
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

// maxManifest bounds the bytes of a manifest: some hundred thousand files.
const maxManifest = 1 << 24

// View looks at the store in a folder, which may be at work or not be there yet. It has no lock and changes nothing. Its methods may be called from several goroutines.
type View struct {
	dir string

	mu    sync.Mutex          // guards what follows
	sound map[string]bool     // the artifacts whose hashes have been checked
	rates map[string][]Timing // by kind, nil where they must be read

	// Damaged hears of artifacts that are not what was written. It may be nil.
	Damaged func(key, why string)
}

// NewView returns a view of the store in a folder.
func NewView(dir string) *View { return &View{dir: dir, sound: map[string]bool{}} }

// Store is a folder of artifacts. It is locked while it is open. Its methods may be called from several goroutines, but while one of them cleans or
// executes, others may only read timings and estimate.
type Store struct {
	*View
	version string
	lock    io.Closer
	sync    func(path string) error // syncPath, except in tests

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
	return &Store{View: NewView(dir), version: version, lock: lock, sync: syncPath}, nil
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

func (v *View) artifactPath(key string) string { return filepath.Join(v.dir, artifactsDir, key) }
func (s *Store) partialPath(key string) string { return filepath.Join(s.dir, partialDir, key) }
func (s *Store) scratchPath(key string) string { return s.partialPath(key) + ".scratch" }

func (v *View) isSound(key string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.sound[key]
}

func (v *View) setSound(key string, sound bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sound[key] = sound
}

// Lookup finds the artifact of a key. One whose files are not what they were when it was made is reported and counts as missing; one
// that cannot be read is an error. Hidden files, and what file managers leave in folders they show, are passed over.
func (v *View) Lookup(key string) (Artifact, bool, error) {
	a, why, err := v.find(key)
	if errors.Is(err, fs.ErrNotExist) { // it was removed meanwhile
		return Artifact{}, false, nil
	}
	if why != "" && v.Damaged != nil {
		v.Damaged(key, why)
	}
	return a, a.Key != "", err
}

// find finds a sound artifact, or else says what is wrong with that in its place, if anything is there.
func (v *View) find(key string) (a Artifact, why string, err error) {
	a = Artifact{Key: key, Dir: v.artifactPath(key)}
	if !isKey.MatchString(key) {
		return Artifact{}, "", nil
	}
	if v.isSound(key) {
		return a, "", nil
	}
	if _, err := os.Stat(a.Dir); errors.Is(err, fs.ErrNotExist) {
		return Artifact{}, "", nil
	} else if err != nil {
		return Artifact{}, "", err
	}
	if why, err = check(a.Dir, key); err != nil {
		return Artifact{}, "", fmt.Errorf("checking an artifact: %w", err)
	}
	if why != "" {
		return Artifact{}, why, nil
	}
	v.setSound(key, true)
	return a, "", nil
}

// Lookup is [View.Lookup], and removes and reports what is damaged.
func (s *Store) Lookup(key string) (Artifact, bool, error) {
	a, why, err := s.find(key)
	if err != nil {
		return Artifact{}, false, err
	}
	if why != "" {
		if s.Removed != nil {
			s.Removed(key, why)
		}
		return Artifact{}, false, os.RemoveAll(s.artifactPath(key))
	}
	if a.Key != "" {
		_ = os.RemoveAll(s.scratchPath(key)) // of a run that was killed between putting the artifact into its place and this
	}
	return a, a.Key != "", nil
}

// Exists tells whether an artifact is there; its files are not checked.
func (v *View) Exists(key string) bool {
	return isKey.MatchString(key) && exists(v.artifactPath(key))
}

// Version is that of the program that made an artifact.
func (v *View) Version(key string) (string, error) {
	text, err := os.ReadFile(filepath.Join(v.artifactPath(key), manifestFile))
	if err != nil {
		return "", err
	}
	m, err := parseManifest(text)
	if err != nil {
		return "", fmt.Errorf("%q: %w", v.artifactPath(key), err)
	}
	return m.Version, nil
}

func parseManifest(text []byte) (*manifest, error) {
	var m manifest
	if err := decodeStrict(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", manifestFile, err)
	}
	return &m, nil
}

// check compares an artifact with its manifest and says in what they differ.
func check(dir, key string) (why string, err error) {
	if info, err := os.Stat(dir); err != nil {
		return "", err
	} else if !info.IsDir() {
		return "it is not a folder", nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	present := map[string]fs.DirEntry{}
	for _, e := range entries {
		present[e.Name()] = e
	}
	m, why, err := checkManifest(dir, present[manifestFile])
	if why != "" || err != nil {
		return why, err
	}
	if k, err := m.key(); err != nil || k != key {
		return manifestFile + " is that of another task", nil
	}
	for _, e := range entries {
		if _, ok := m.Files[e.Name()]; !ok && e.Name() != manifestFile && !stray(e.Name()) {
			return e.Name() + " is not part of it", nil
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		if e := present[name]; e == nil {
			return name + " is missing", nil
		} else if !e.Type().IsRegular() {
			return name + " is not a regular file", nil
		}
		got, err := hashFile(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		if got != m.Files[name] {
			return name + " is not what was written", nil
		}
	}
	return "", nil
}

func checkManifest(dir string, e fs.DirEntry) (m *manifest, why string, err error) {
	if e == nil {
		return nil, manifestFile + " is missing", nil
	}
	info, err := e.Info()
	if err != nil {
		return nil, "", err
	}
	if !info.Mode().IsRegular() {
		return nil, manifestFile + " is not a regular file", nil
	}
	if info.Size() > maxManifest {
		return nil, fmt.Sprintf("%s has %d bytes", manifestFile, info.Size()), nil
	}
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return nil, "", err
	}
	if m, err = parseManifest(text); err != nil {
		return nil, err.Error(), nil
	}
	return m, "", nil
}

// stray tells files that systems put into folders of their own accord.
func stray(name string) bool {
	return strings.HasPrefix(name, ".") || name == "Thumbs.db" || name == "desktop.ini"
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

// begin makes the folders of a task that is to be done, and says whether an earlier run left anything to go on from.
func (s *Store) begin(key string) (dir, scratch string, resumed bool, err error) {
	dir, scratch = s.partialPath(key), s.scratchPath(key)
	if err := os.RemoveAll(dir); err != nil { // of a run that was killed
		return "", "", false, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", "", false, err
	}
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return "", "", false, err
	}
	left, err := os.ReadDir(scratch)
	return dir, scratch, len(left) > 0, err
}

// seal writes the manifest of what a task made, and has all of it on the disk: what a full disk cannot take is an error here.
func (s *Store) seal(t *Task, id identity) error {
	dir := s.partialPath(t.Key)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	m := manifest{Label: t.Label, identity: id, Version: s.version, Files: map[string]file{}}
	for _, e := range entries {
		if e.Name() == manifestFile || !e.Type().IsRegular() {
			return fmt.Errorf("the task made %q, but artifacts are regular files and none of them is %s", e.Name(), manifestFile)
		}
		path := filepath.Join(dir, e.Name())
		if m.Files[e.Name()], err = hashFile(path); err != nil {
			return err
		}
		if err := s.sync(path); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, manifestFile)
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return errors.Join(s.sync(path), s.sync(dir))
}

// place puts a sealed artifact into its place.
func (s *Store) place(key string) error {
	to := s.artifactPath(key)
	if err := os.RemoveAll(to); err != nil { // something that came there while the task was at work
		return err
	}
	if err := rename(s.partialPath(key), to); err != nil {
		return err
	}
	if err := s.sync(filepath.Dir(to)); err != nil {
		return err
	}
	s.setSound(key, true)
	return os.RemoveAll(s.scratchPath(key))
}

// abandon removes what is of no use of a task that came to no good end: everything but a scratch folder with something in it.
func (s *Store) abandon(key string) {
	_ = os.RemoveAll(s.partialPath(key))
	_ = os.Remove(s.scratchPath(key))
}

// syncPath has a file or folder on the disk, where the system has a way to do that for what is open for reading.
func syncPath(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

// isKey tells a folder of this package from anything else that may lie there.
var isKey = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Clean removes artifacts for which keep says no, and what unfinished tasks left behind, except what they need to go on if keep says yes; keep nil
// removes all. What is not of this package stays. It returns how many artifacts were removed and the bytes of all that was.
func (s *Store) Clean(keep func(key string) bool) (removed int, bytes int64, err error) {
	kept := func(key string) bool { return keep != nil && keep(key) }
	for _, sub := range []string{artifactsDir, partialDir} {
		entries, err := os.ReadDir(filepath.Join(s.dir, sub))
		if err != nil {
			return removed, bytes, err
		}
		for _, e := range entries {
			key, scratch := strings.CutSuffix(e.Name(), ".scratch")
			if !isKey.MatchString(key) || scratch && sub == artifactsDir {
				continue
			}
			path := filepath.Join(s.dir, sub, e.Name())
			if kept(key) && (sub == artifactsDir || scratch && !exists(s.artifactPath(key))) {
				continue
			}
			n, err := sizeOf(path)
			if err != nil {
				return removed, bytes, err
			}
			if sub == artifactsDir {
				s.setSound(key, false)
				removed++
			}
			if err := os.RemoveAll(path); err != nil {
				return removed, bytes, err
			}
			bytes += n
		}
	}
	return removed, bytes, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
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
func (v *View) Missing(ctx context.Context, p *Plan, wanted []*Task) ([]*Task, error) {
	return p.missing(ctx, wanted, v.Lookup)
}

// Missing is [View.Missing], and removes and reports what is damaged.
func (s *Store) Missing(ctx context.Context, p *Plan, wanted []*Task) ([]*Task, error) {
	return p.missing(ctx, wanted, s.Lookup)
}

func (p *Plan) missing(ctx context.Context, wanted []*Task, lookup func(key string) (Artifact, bool, error)) ([]*Task, error) {
	need := map[*Task]bool{}
	var visit func(t *Task) error
	visit = func(t *Task) error {
		if need[t] {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, ok, err := lookup(t.Key); ok || err != nil {
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
		if p.byKey[t.Key] != t {
			return nil, fmt.Errorf("task: %s %q is not of this plan", t.Kind.Name, t.Label)
		}
		if err := visit(t); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(p.Tasks(), func(t *Task) bool { return !need[t] }), nil
}
