package experiment

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Two machines do a case each; joined, the run is that of both cases done in one place, and its page is made.
func TestJoin(t *testing.T) {
	data, dir, elsewhere := pictures(t), t.TempDir(), t.TempDir()
	both := widths(data, 5, 7)
	both.Name = "both"
	want := finish(t, dir, both, 1)
	var runs []string
	for i, d := range []string{dir, elsewhere} {
		one := widths(data, 5+2*i)
		one.Name = "one"
		finish(t, d, one, 1)
		runs = append(runs, RunDir(d, "one"))
	}
	joined, err := Join(dir, "joined", runs...)
	if err != nil {
		t.Fatal(err)
	}
	if got := recordsOf(t, dir, joined.Spec); got != want {
		t.Errorf("the joined records are\n%s\nthose of one run\n%s", got, want)
	}
	if len(joined.Spec.Cases) != 2 || len(joined.Times) == 0 {
		t.Errorf("%d cases and %d times", len(joined.Spec.Cases), len(joined.Times))
	}
	keys, err := runKeys(RunDir(dir, "joined"))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := runKeys(RunDir(dir, "both"))
	if err != nil || len(keys) != len(whole) {
		t.Errorf("%d keys, those of one run are %d, %v", len(keys), len(whole), err)
	}
	if _, err := WriteReport(t.TempDir(), []*Finished{joined}); err != nil {
		t.Error(err)
	}
	names, err := RunNames(dir)
	if err != nil || len(names) != 3 {
		t.Errorf("the runs are %q, %v", names, err)
	}

	longer := widths(data, 9)
	longer.Name, longer.Samples = "longer", 21
	finish(t, elsewhere, longer, 1)
	for _, wrong := range []struct {
		name string
		runs []string
		want string
	}{
		{"joined", runs, "there is a run of that name"},
		{"twice", []string{runs[0], runs[0]}, "is there twice"},
		{"../out", runs, "a name has up to 64"},
		{"alone", runs[:1], "at least two"},
		{"other", []string{runs[0], RunDir(elsewhere, "longer")}, "declare different samples"},
		{"none", []string{runs[0], RunDir(elsewhere, "none")}, "there is no run"},
	} {
		if _, err := Join(dir, wrong.name, wrong.runs...); err == nil || !strings.Contains(err.Error(), wrong.want) {
			t.Errorf("%s: %v, want an error with %q", wrong.name, err, wrong.want)
		}
	}
	path := filepath.Join(runs[1], recordsFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	older := strings.ReplaceAll(string(text), `"kind":"curve","recipe":1`, `"kind":"curve","recipe":99`)
	if err := os.WriteFile(path, []byte(older), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Join(dir, "older", runs...); err == nil || !strings.Contains(err.Error(), "curve tasks were done by recipe 99") {
		t.Errorf("records of two recipes: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, runsDir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "out")); err == nil {
		t.Error("a run outside the folder of runs")
	}
}

// widths is the experiment of width with cases of these hidden units.
func widths(data string, hidden ...int) Spec {
	s := smallSpec("width", data)
	tiny := s.Cases[0]
	s.Cases = nil
	for _, h := range hidden {
		c := tiny
		c.Name, c.Series, c.X = strings.Repeat("w", h), "mlp", float64(h)
		c.Network.Hidden = []int{h, 5}
		s.Cases = append(s.Cases, c)
	}
	return s
}
