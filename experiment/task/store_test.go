package task

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDamage spoils an artifact in every way: it is reported, removed and made again as it was; what else is there is left alone.
func TestDamage(t *testing.T) {
	write := func(name, text string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644) }
	}
	edit := func(from, to string) func(string) error {
		return func(dir string) error {
			path := filepath.Join(dir, manifestFile)
			text, err := os.ReadFile(path)
			if err == nil && !strings.Contains(string(text), from) {
				err = fmt.Errorf("no %q in %s", from, text)
			}
			if err != nil {
				return err
			}
			return os.WriteFile(path, []byte(strings.ReplaceAll(string(text), from, to)), 0o644)
		}
	}
	remove := func(name string) func(string) error {
		return func(dir string) error { return os.Remove(filepath.Join(dir, name)) }
	}
	for name, c := range map[string]struct {
		spoil func(dir string) error
		why   string
	}{
		"other bytes":  {write("out.txt", `2`), "out.txt is not what was written"},
		"shorter":      {write("out.txt", ""), "out.txt is not what was written"},
		"longer":       {write("out.txt", "1\n"), "out.txt is not what was written"},
		"missing":      {remove("out.txt"), "out.txt is missing"},
		"extra":        {write("more.txt", ""), "more.txt is not part of it"},
		"extra folder": {func(dir string) error { return os.Mkdir(filepath.Join(dir, "sub"), 0o755) }, "sub is not part of it"},
		"folder in its place": {func(dir string) error {
			return errors.Join(remove("out.txt")(dir), os.Mkdir(filepath.Join(dir, "out.txt"), 0o755))
		}, "out.txt is not a regular file"},
		"no manifest":            {remove(manifestFile), "manifest.json is missing"},
		"manifest cut short":     {edit("}", ""), "manifest.json: "},
		"manifest empty":         {write(manifestFile, ""), "manifest.json: "},
		"manifest goes on":       {edit("\n}\n", "\n}\n{}"), "manifest.json: there is something behind its end"},
		"manifest of no fields":  {write(manifestFile, "{}"), "manifest.json is that of another task"},
		"manifest, more fields":  {edit(`"version"`, `"x": 1, "version"`), `manifest.json: json: unknown field "x"`},
		"manifest, other option": {edit(`"options": 1`, `"options": 2`), "manifest.json is that of another task"},
		"manifest, other files":  {edit(`"out.txt"`, `"../../lock"`), "out.txt is not part of it"},
		"manifest is a folder": {func(dir string) error {
			return errors.Join(remove(manifestFile)(dir), os.Mkdir(filepath.Join(dir, manifestFile), 0o755))
		}, "manifest.json is not a regular file"},
		"manifest is huge": {func(dir string) error { return os.Truncate(filepath.Join(dir, manifestFile), maxManifest+1) }, "manifest.json has 16777217 bytes"},
		"no folder":        {func(dir string) error { return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o644)) }, "it is not a folder"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var c1 counted
			p := NewPlan("e")
			a := add(t, p, c1.kind(), "a", 1)
			b := add(t, p, c1.kind(), "b", "other", a)
			s := open(t, dir)
			execute(t, s, p, a, b)
			before := files(t, filepath.Join(dir, artifactsDir))
			if err := errors.Join(c.spoil(s.artifactPath(a.Key)), s.Close()); err != nil {
				t.Fatal(err)
			}

			s = open(t, dir)
			var removed []string
			s.Removed = func(key, why string) { removed = append(removed, key+": "+why) }
			execute(t, s, p, a, b)
			if len(removed) != 1 || !strings.HasPrefix(removed[0], a.Key+": "+c.why) {
				t.Errorf("removed %q, want %q", removed, c.why)
			}
			expect(t, "runs", c1.runs, map[string]int{"a": 2, "b": 1})
			expect(t, "artifacts", files(t, filepath.Join(dir, artifactsDir)), before)
		})
	}
}

// TestArtifactOfAnotherKey moves an artifact to where another belongs.
func TestArtifactOfAnotherKey(t *testing.T) {
	s := open(t, t.TempDir())
	var c counted
	p := NewPlan("")
	a, b := add(t, p, c.kind(), "a", 1), add(t, p, c.kind(), "b", 2)
	execute(t, s, p, a)
	if err := os.Rename(s.artifactPath(a.Key), s.artifactPath(b.Key)); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.Lookup(b.Key); ok || err != nil {
		t.Errorf("found: %t, %v", ok, err)
	}
}

// TestStrayFiles are no reason to discard an evening's work.
func TestStrayFiles(t *testing.T) {
	dir := t.TempDir()
	var c counted
	p := NewPlan("")
	a := add(t, p, c.kind(), "a", 1)
	s := open(t, dir)
	execute(t, s, p, a)
	for _, name := range []string{".DS_Store", "Thumbs.db", "desktop.ini"} {
		if err := os.WriteFile(filepath.Join(s.artifactPath(a.Key), name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = open(t, dir)
	if _, ok, err := s.Lookup(a.Key); !ok || err != nil {
		t.Errorf("found: %t, %v", ok, err)
	}
}

// TestUnreadable artifacts are not taken for damaged ones: nothing is removed.
func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	var c counted
	p := NewPlan("")
	a := add(t, p, c.kind(), "a", 1)
	s := open(t, dir)
	execute(t, s, p, a)
	s.Close()
	path := filepath.Join(s.artifactPath(a.Key), "out.txt")
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	if f, err := os.Open(path); err == nil {
		f.Close()
		t.Skip("this user, or system, reads everything")
	}
	s = open(t, dir)
	s.Removed = func(key, why string) { t.Errorf("%s is removed: %s", key, why) }
	if _, _, err := s.Lookup(a.Key); !errors.Is(err, os.ErrPermission) {
		t.Errorf("error %v", err)
	}
}

func TestLookupOfNoKey(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for _, key := range []string{"", ".", "..", "../lock", strings.Repeat("a", 32), strings.Repeat("A", 32)} {
		if _, ok, err := s.Lookup(key); ok || err != nil || s.Exists(key) {
			t.Errorf("%q: %t, %v", key, ok, err)
		}
	}
	if _, err := s.Version(strings.Repeat("a", 32)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("version: %v", err)
	}
}

func TestVersionIsOfWhoMadeIt(t *testing.T) {
	dir := t.TempDir()
	var c counted
	p := NewPlan("")
	a := add(t, p, c.kind(), "a", 1)
	s := open(t, dir)
	execute(t, s, p, a)
	s.Close()
	later, err := Open(dir, "v2")
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	execute(t, later, p, a)
	v, err := later.Version(a.Key)
	if v != "v1" || err != nil || c.runs["a"] != 1 {
		t.Errorf("version %q, %v; %d runs", v, err, c.runs["a"])
	}
	if !later.Exists(a.Key) {
		t.Error("it does not exist")
	}
}

func TestMissing(t *testing.T) {
	s := open(t, t.TempDir())
	var c counted
	p := NewPlan("")
	a, b := add(t, p, c.kind(), "a", 1), add(t, p, c.kind(), "b", 2)
	ab := add(t, p, c.kind(), "ab", 3, a, b)
	add(t, p, c.kind(), "not wanted", 4, a)
	last := add(t, p, c.kind(), "last", 5, ab)
	missing := func(wanted ...*Task) (labels []string) {
		tasks, err := s.Missing(context.Background(), p, wanted)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range tasks {
			labels = append(labels, m.Label)
		}
		return labels
	}
	expect(t, "at first", missing(last, a), []string{"a", "b", "ab", "last"})
	execute(t, s, p, b)
	expect(t, "after b", missing(last), []string{"a", "ab", "last"})
	execute(t, s, p, ab)
	if err := os.RemoveAll(s.artifactPath(a.Key)); err != nil {
		t.Fatal(err)
	}
	s.setSound(a.Key, false)
	expect(t, "what is there needs nothing", missing(last), []string{"last"})
	execute(t, s, p, last)
	expect(t, "in the end", missing(last, ab, b), nil)
	expect(t, "runs", c.runs, map[string]int{"a": 1, "b": 1, "ab": 1, "last": 1})

	other := add(t, NewPlan("other"), c.kind(), "elsewhere", 1)
	if _, err := s.Missing(context.Background(), p, []*Task{other}); err == nil || !strings.Contains(err.Error(), `"elsewhere" is not of this plan`) {
		t.Errorf("a task of another plan: %v", err)
	}
}

// TestView looks at a store while it is open, and at one that is not there: neither is changed by it.
func TestView(t *testing.T) {
	dir := t.TempDir()
	var c counted
	p := NewPlan("")
	a, b := add(t, p, c.kind(), "a", 1), add(t, p, c.kind(), "b", 2)
	s := open(t, dir)
	execute(t, s, p, a)
	if err := os.MkdirAll(s.scratchPath(a.Key), 0o755); err != nil {
		t.Fatal(err)
	}
	damaged := ""
	missing := func() (labels []string) {
		t.Helper()
		v := NewView(dir)
		v.Damaged = func(key, why string) { damaged = key + ": " + why }
		tasks, err := v.Missing(context.Background(), p, p.Tasks())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Estimate(tasks, 1); err != nil {
			t.Fatal(err)
		}
		for _, m := range tasks {
			labels = append(labels, m.Label)
		}
		return labels
	}
	expect(t, "missing", missing(), []string{"b"})
	expect(t, "damaged", damaged, "")
	if err := os.WriteFile(filepath.Join(s.artifactPath(a.Key), "out.txt"), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	expect(t, "missing where it is damaged", missing(), []string{"a", "b"})
	expect(t, "damaged", damaged, a.Key+": out.txt is not what was written")
	expect(t, "files", files(t, dir), before)
	if !exists(s.scratchPath(a.Key)) {
		t.Error("what a run left to go on from is gone")
	}
	s.Close()
	execute(t, open(t, dir), p, b)
	expect(t, "missing in the end", missing(), []string{"a"})

	nowhere := filepath.Join(dir, "nowhere")
	if tasks, err := NewView(nowhere).Missing(context.Background(), p, p.Tasks()); err != nil || len(tasks) != 2 || exists(nowhere) {
		t.Errorf("a folder that is not there: %d tasks are missing, %v; it is made: %t", len(tasks), err, exists(nowhere))
	}
}

func TestClean(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var c counted
	p := NewPlan("")
	a, b := add(t, p, c.kind(), "a", 1), add(t, p, c.kind(), "b", 2)
	execute(t, s, p, a, b)
	unfinished, dropped := strings.Repeat("1", 32), strings.Repeat("2", 32)
	for _, path := range []string{
		"artifacts/README", "artifacts/" + a.Key + ".scratch", "partial/notes.txt", // not ours
		"partial/" + a.Key + ".scratch/x",      // a run was killed before it could remove this
		"partial/" + unfinished + ".scratch/x", // can go on
		"partial/" + unfinished + "/x", "partial/" + dropped + "/x", "partial/" + dropped + ".scratch/x",
	} {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("12345"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	size, err := sizeOf(s.artifactPath(b.Key))
	if err != nil {
		t.Fatal(err)
	}
	all := files(t, dir)
	removed, bytes, err := s.Clean(func(key string) bool { return key == a.Key || key == unfinished })
	if removed != 1 || bytes != size+4*5 || err != nil {
		t.Errorf("removed %d artifacts and %d bytes, not %d, error %v", removed, bytes, size+4*5, err)
	}
	for name := range all {
		if strings.Contains(name, b.Key) || strings.Contains(name, dropped) || name == "partial/"+unfinished+"/x" || name == "partial/"+a.Key+".scratch/x" {
			delete(all, name)
		}
	}
	expect(t, "kept", files(t, dir), all)
	execute(t, s, p, a, b)
	expect(t, "runs", c.runs, map[string]int{"a": 1, "b": 2})

	if removed, _, err := s.Clean(nil); removed != 2 || err != nil {
		t.Errorf("removed %d artifacts, error %v", removed, err)
	}
	for name := range files(t, dir) {
		switch name {
		case "artifacts/README", "artifacts/" + a.Key + ".scratch", "partial/notes.txt", lockFile, timingFile:
		default:
			t.Errorf("%s is left", name)
		}
	}
}

// TestLinks in a store are never followed to remove anything.
func TestLinks(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	precious := filepath.Join(outside, "precious")
	if err := os.WriteFile(precious, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	var c counted
	p := NewPlan("")
	a, b, d := add(t, p, c.kind(), "a", 1), add(t, p, c.kind(), "b", 2), add(t, p, c.kind(), "d", 3)
	for link, to := range map[string]string{
		s.artifactPath(a.Key): outside, s.artifactPath(b.Key): filepath.Join(outside, "nowhere"),
		s.partialPath(a.Key): outside, s.scratchPath(b.Key): outside, s.artifactPath(strings.Repeat("3", 32)): outside,
	} {
		if err := os.Symlink(to, link); err != nil {
			t.Skip(err)
		}
	}
	execute(t, s, p, a, b, d)
	// A file of an artifact that is now a link, to the same bytes even, is not what was written.
	file := filepath.Join(s.artifactPath(d.Key), "out.txt")
	if err := errors.Join(os.WriteFile(filepath.Join(outside, "copy"), []byte("3"), 0o644), os.Remove(file), os.Symlink(filepath.Join(outside, "copy"), file)); err != nil {
		t.Fatal(err)
	}
	s.setSound(d.Key, false)
	if _, ok, err := s.Lookup(d.Key); ok || err != nil {
		t.Errorf("found: %t, %v", ok, err)
	}
	if _, _, err := s.Clean(nil); err != nil {
		t.Fatal(err)
	}
	expect(t, "outside", files(t, outside), map[string]string{"precious": "x", "copy": "3"})
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, ""); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file is a store: %v", err)
	}
}

// FuzzManifest: whatever stands in a manifest, checking an artifact ends with a reason or finds it whole.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"label":"a","kind":"write","recipe":1,"environment":"","options":1,"version":"v1","files":{"out.txt":{"size":1,"sha256":"6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"}}}`))
	f.Add([]byte(`{"files":{"../../x":{"size":-1,"sha256":""}}}`))
	f.Add([]byte(`{"options":}`))
	f.Add([]byte(`null`))
	dir := f.TempDir()
	key := add(f, NewPlan(""), (&counted{}).kind(), "", 1).Key
	if err := os.WriteFile(filepath.Join(dir, "out.txt"), []byte("1"), 0o644); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, manifestFile), text, 0o644); err != nil {
			t.Fatal(err)
		}
		why, err := check(dir, key)
		if err != nil {
			t.Fatal(err)
		}
		m, err := parseManifest(text)
		if why == "" && (err != nil || m.Kind != "write" || len(m.Files) != 1 || m.Files["out.txt"].Size != 1) {
			t.Errorf("a sound artifact: %+v, %v", m, err)
		}
	})
}
