package experiment

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/experiment/task"
	"github.com/rebasin/rebasin/train"
	"github.com/rebasin/rebasin/zoo"
)

// pictures makes a folder of grey images of 8x8 pixels, those of each of three classes bright in another corner.
func pictures(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, split := range []struct {
		name string
		n    int
	}{{"train", 16}, {"test", 8}} {
		for class := range 3 {
			folder := filepath.Join(dir, split.name, string(rune('a'+class)))
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			for i := range split.n {
				img := image.NewGray(image.Rect(0, 0, 8, 8))
				for at := range img.Pix {
					noise := (at*37 + i*101 + class*53 + len(split.name)*29) % 120
					img.Pix[at] = uint8(noise)
					if x, y := at%8, at/8; x/4 == class%2 && y/4 == class/2 {
						img.Pix[at] = uint8(noise + 100)
					}
				}
				writePicture(t, filepath.Join(folder, fmt.Sprintf("%d.png", i)), img)
			}
		}
	}
	return dir
}

func writePicture(t testing.TB, path string, img image.Image) {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// smallSpec is a spec that is done in no time.
func smallSpec(experiment, data string) Spec {
	s := Spec{
		Experiment: experiment, Pairs: 2, Points: 3, Samples: 20, Steps: 2, Methods: []string{Naive, ByWeight},
		Cases: []Case{{
			Name: "tiny", Network: zoo.Config{Arch: "mlp", Hidden: []int{6, 5}}, Data: Data{Name: data},
			Training: train.Config{Epochs: 2, Batch: 8, Optimizer: train.Optimizer{Name: "adam", LearningRate: .01}},
		}},
	}
	switch experiment {
	case "onset":
		s.Epochs = []int{1, 2}
	case "width":
		s.Cases[0].Series, s.Cases[0].X = "tiny", 1
		wide := s.Cases[0]
		wide.Name, wide.X, wide.Network.Hidden = "wide", 2, []int{9, 9}
		s.Cases = append(s.Cases, wide)
	case "failures":
		s.Cases[0].Series, s.Cases[0].X = "tiny", .01
		fast := s.Cases[0]
		fast.Name, fast.X, fast.Training.Optimizer.LearningRate = "fast", .1, .1
		alone := s.Cases[0]
		alone.Name, alone.Series, alone.X = "alone", "", 0
		s.Cases = append(s.Cases, fast, alone)
	case "merge-many":
		s.Models, s.Methods = []int{2, 3}, nil
	case "matchers":
		s.Methods = Methods()
	case "counterexample":
		s.Cases, s.Methods, s.Pairs = nil, nil, 1
	case "planted":
		small := MatchNetwork{Name: "small", Config: zoo.Config{Arch: "mlp", Input: []int{16}, Hidden: []int{6, 5}, Classes: 3}}
		s.Cases, s.Methods, s.Draws, s.Networks, s.Timed = nil, nil, 2, []MatchNetwork{small}, []MatchNetwork{small}
	}
	return s
}

func newLab() *Lab { return &Lab{Data: dataset.Options{Offline: true}} }

func planOf(t testing.TB, l *Lab, s Spec) *Plan {
	t.Helper()
	p, err := l.Plan(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// runIn runs a spec in a folder, with a new lab and store as another process has them.
func runIn(ctx context.Context, t testing.TB, dir string, s Spec, threads int, observe func(task.Event), removed func(key, why string)) error {
	t.Helper()
	store, err := task.Open(dir, "v1")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	store.Removed = removed
	p := planOf(t, newLab(), s)
	_, err = Run(ctx, store, dir, p, task.ExecuteOptions{Threads: threads, Observer: observe})
	return err
}

// finish runs a spec to its end and returns the bytes of its records.
func finish(t testing.TB, dir string, s Spec, threads int) string {
	t.Helper()
	if err := runIn(context.Background(), t, dir, s, threads, nil, func(key, why string) { t.Errorf("%s was removed: %s", key, why) }); err != nil {
		t.Fatal(err)
	}
	return recordsOf(t, dir, s)
}

func recordsOf(t testing.TB, dir string, s Spec) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(RunDir(dir, s.withDefaults().Name), recordsFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func keysOf(p *Plan, kind string) (keys []string) {
	for _, t := range p.Tasks.Tasks() {
		if t.Kind.Name == kind {
			keys = append(keys, t.Key)
		}
	}
	return keys
}

// TestKeys has two experiments share their trainings, and what changes a training change its key.
func TestKeys(t *testing.T) {
	data := pictures(t)
	l := newLab()
	first := planOf(t, l, smallSpec("interpolation", data))
	trainings := keysOf(first, "train")
	if len(trainings) != 4 {
		t.Fatalf("%d trainings of two pairs", len(trainings))
	}
	if got := keysOf(planOf(t, newLab(), smallSpec("matchers", data)), "train"); !slices.Equal(got, trainings) {
		t.Errorf("another experiment trains %v, not %v", got, trainings)
	}
	if got := keysOf(planOf(t, l, smallSpec("merge-many", data)), "train"); !slices.Contains(got, trainings[0]) {
		t.Error("merging many does not share the first training")
	}
	s := smallSpec("interpolation", data)
	s.FirstSeed = 2
	if got := keysOf(planOf(t, l, s), "train"); got[0] != trainings[2] || got[1] != trainings[3] {
		t.Error("the first pair from seed 2 on is not the second one from seed 0 on")
	}
	if got := keysOf(planOf(t, &Lab{Sources: map[string]string{"mnist": data}}, smallSpec("interpolation", "mnist")), "train"); slices.Contains(got, trainings[0]) {
		t.Error("a training on other files that stand in for a set has the key of one on a path")
	}
	img := image.NewGray(image.Rect(0, 0, 8, 8))
	img.SetGray(3, 3, color.Gray{9})
	writePicture(t, filepath.Join(data, "train", "a", "0.png"), img)
	other := planOf(t, newLab(), smallSpec("interpolation", data))
	if got := keysOf(other, "train"); got[0] == trainings[0] {
		t.Error("other data has the same key")
	}
	// The spec that a run leaves names what its data was: the same again has the same keys, other data is an error.
	if got := keysOf(planOf(t, newLab(), other.Spec), "train"); got[0] != keysOf(other, "train")[0] {
		t.Error("the spec with the digest of its data has other keys")
	}
	if _, err := newLab().Plan(context.Background(), first.Spec); err == nil || !strings.Contains(err.Error(), "not that with the digest") {
		t.Errorf("a spec with the digest of other data: %v", err)
	}
}

// TestDigestOfLinks has a folder that is reached by a link be the same data.
func TestDigestOfLinks(t *testing.T) {
	data := pictures(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(data, link); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	a, errA := digest(context.Background(), data)
	b, errB := digest(context.Background(), link)
	if errA != nil || errB != nil || a != b {
		t.Errorf("%s, %v and %s, %v", a, errA, b, errB)
	}
}

// TestThreads has all ways of aligning, on one thread and on two.
func TestThreads(t *testing.T) {
	s := smallSpec("matchers", pictures(t))
	one, two := finish(t, t.TempDir(), s, 1), finish(t, t.TempDir(), s, 2)
	if one != two {
		t.Errorf("records on one thread\n%s\nand on two\n%s", one, two)
	}
}

// TestInterrupted cancels a run in the middle of a training, again and again, and resumes it: the records are those of a run that was left alone.
func TestInterrupted(t *testing.T) {
	s := smallSpec("onset", pictures(t))
	want := finish(t, t.TempDir(), s, 1)
	dir := t.TempDir()
	interruptions := 0
	for step := 3; ; step += 5 { // steps of one training are 12
		ctx, cancel := context.WithCancel(context.Background())
		seen := 0
		err := runIn(ctx, t, dir, s, 2, func(e task.Event) {
			if e.State == task.Working && strings.HasPrefix(e.Task.Label, "train") {
				if seen++; seen == step {
					cancel()
				}
			}
		}, func(key, why string) { t.Errorf("%s was removed: %s", key, why) })
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if interruptions++; interruptions > 40 {
			t.Fatal("the run never comes to its end")
		}
		if _, err := ReadRun(RunDir(dir, "onset")); !errors.Is(err, ErrNotFinished) {
			t.Fatalf("an interrupted run reads as %v", err)
		}
	}
	if interruptions == 0 {
		t.Error("nothing was interrupted")
	}
	if got := recordsOf(t, dir, s); got != want {
		t.Errorf("records after %d interruptions\n%s\nand without\n%s", interruptions, got, want)
	}
	if again := finish(t, dir, s, 1); again != want {
		t.Error("records have changed in a run with nothing to do")
	}
}

// TestResumable has the state of a training without one of the networks on its way, as a crash may leave it.
func TestResumable(t *testing.T) {
	data := pictures(t)
	l := newLab()
	p := planOf(t, l, smallSpec("onset", data))
	first := p.Tasks.Tasks()[0]
	ctx, cancel := context.WithCancel(context.Background())
	job := &task.Job{Label: first.Label, Options: first.Options, Dir: t.TempDir(), Scratch: t.TempDir(), Threads: 1}
	job.Progress = func(done, _ int, _ string) {
		if done == 8 { // in the second epoch of six steps
			cancel()
		}
	}
	if err := l.runTrain(ctx, job); !errors.Is(err, context.Canceled) {
		t.Fatalf("the training was not interrupted: %v", err)
	}
	snapshot := filepath.Join(job.Scratch, "snapshot.safetensors")
	if r, err := resumable(job.Scratch, snapshot, []int{1, 2}); r == nil || err != nil {
		t.Fatalf("the training cannot be resumed: %v", err)
	}
	if err := os.Remove(filepath.Join(job.Scratch, epochFile(1))); err != nil {
		t.Fatal(err)
	}
	job.Progress = func(int, int, string) {}
	if err := l.runTrain(context.Background(), job); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(job.Path(epochFile(1))); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(snapshot, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r, err := resumable(job.Scratch, snapshot, nil); r != nil || err != nil {
		t.Errorf("a damaged state was read: %v", err)
	}
}

// TestDamagedArtifact changes a byte of a trained network behind the store's back.
func TestDamagedArtifact(t *testing.T) {
	s := smallSpec("interpolation", pictures(t))
	dir := t.TempDir()
	want := finish(t, dir, s, 1)
	curve := keysOf(planOf(t, newLab(), s), "curve")[0]
	path := filepath.Join(dir, "artifacts", curve, task.ResultFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	var said []string
	if err := runIn(context.Background(), t, dir, s, 1, nil, func(key, why string) { said = append(said, key) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(said, []string{curve}) {
		t.Errorf("%v were removed, not %s", said, curve)
	}
	if got := recordsOf(t, dir, s); got != want {
		t.Error("the records of what was made again are others")
	}
}

// withoutData hides the data sets of this machine.
func withoutData(t *testing.T) {
	for _, name := range []string{"HOME", "XDG_CACHE_HOME", "USERPROFILE", "LocalAppData"} {
		t.Setenv(name, t.TempDir())
	}
}

func TestNotRun(t *testing.T) {
	withoutData(t)
	dir := t.TempDir()
	s := smallSpec("interpolation", pictures(t))
	missing := s.Cases[0]
	missing.Name, missing.Data.Name = "missing", "cifar100"
	s.Cases = append(s.Cases, missing)
	finish(t, dir, s, 1)
	alone := smallSpec("onset", "cifar100")
	if text := finish(t, dir, alone, 1); text != "" {
		t.Errorf("records without data: %s", text)
	}
	var runs []*Finished
	for _, name := range []string{"interpolation", "onset"} {
		f, err := ReadRun(RunDir(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if len(f.NotRun) != 1 || !strings.Contains(f.NotRun[0].Why, "cifar100") {
			t.Errorf("%s: not run: %v", name, f.NotRun)
		}
		// The spec declares what was not run, too: with the data there, the same file runs it.
		if i := slices.IndexFunc(f.Spec.Cases, func(c Case) bool { return c.Name == f.NotRun[0].Case }); i != len(f.Spec.Cases)-1 {
			t.Errorf("%s: the spec declares %v", name, f.Spec.Cases)
		}
		runs = append(runs, f)
	}
	both := planOf(t, &Lab{Data: dataset.Options{Offline: true}, Sources: map[string]string{"cifar100": s.Cases[0].Data.Name}}, runs[0].Spec)
	if len(both.NotRun) > 0 || both.Tasks.Len() != 2*len(planOf(t, newLab(), smallSpec("interpolation", s.Cases[0].Data.Name)).Tasks.Tasks()) {
		t.Errorf("with the data there: %d tasks, not run %v", both.Tasks.Len(), both.NotRun)
	}
	if s, err := runs[0].Summary(); err != nil || len(s.Verdict.Cases) != 1 {
		t.Errorf("verdicts on %+v, %v", s.Verdict.Cases, err)
	}
	older := *runs[0]
	older.Spec.Cases = older.Spec.Cases[:1]
	if !runs[0].isBut(s.withDefaults()) || !older.isBut(s.withDefaults()) {
		t.Error("the run is not recognised as one of its spec")
	}
	if got := runs[1].NotRun[0].Case; got != "tiny" {
		t.Errorf("case %q was not run", got)
	}
	summary, err := runs[1].Summary()
	if err != nil || summary.Verdict.Word != Undecided {
		t.Errorf("the verdict on nothing is %v, %v", summary, err)
	}
	files, err := WriteReport(t.TempDir(), runs)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(files[0])
	if err != nil || !strings.Contains(string(page), "the data set cifar100 is not here") {
		t.Errorf("the page does not say what was not run: %v", err)
	}
	status, err := Status(dir)
	if err != nil || len(status) != 2 || !status[0].Finished || !status[1].Finished {
		t.Errorf("status: %+v, %v", status, err)
	}
}

// TestDataThatDoesNotFit has a case whose two parts of data have different classes.
func TestDataThatDoesNotFit(t *testing.T) {
	data := pictures(t)
	if err := os.RemoveAll(filepath.Join(data, "test", "c")); err != nil {
		t.Fatal(err)
	}
	if _, err := newLab().Plan(context.Background(), smallSpec("interpolation", data)); err == nil {
		t.Error("test data without one of the classes was taken")
	}
	if _, err := newLab().Plan(context.Background(), smallSpec("interpolation", filepath.Join(data, "nothing"))); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("a folder that is not there: %v", err)
	}
}

func TestAnotherSpecOfTheName(t *testing.T) {
	dir, s := t.TempDir(), smallSpec("counterexample", "")
	s.Name = "one"
	p := planOf(t, newLab(), s)
	if p.Replaces(dir) {
		t.Error("nothing is replaced")
	}
	finish(t, dir, s, 1)
	if p.Replaces(dir) {
		t.Error("a run replaces itself")
	}
	other := smallSpec("planted", "")
	other.Name = "one"
	if !planOf(t, newLab(), other).Replaces(dir) {
		t.Error("another run replaces nothing")
	}
	finish(t, dir, other, 1)
	if f, err := ReadRun(RunDir(dir, "one")); err != nil || f.Spec.Experiment != "planted" || f.Records[0].Experiment != "planted" {
		t.Errorf("the run is %+v, %v", f, err)
	}
}

// TestRecordsAreKept has a run whose records are there keep them if running it again fails, and lose them if it is another one.
func TestRecordsAreKept(t *testing.T) {
	dir, s := t.TempDir(), smallSpec("interpolation", pictures(t))
	want := finish(t, dir, s, 1)
	if err := os.RemoveAll(filepath.Join(dir, "artifacts")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := runIn(ctx, t, dir, s, 1, nil, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got := recordsOf(t, dir, s); got != want {
		t.Error("the records are others")
	}
	s.Cases[0].Name = "renamed" // with the same keys
	if err := runIn(ctx, t, dir, s, 1, nil, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := ReadRun(RunDir(dir, s.Experiment)); !errors.Is(err, ErrNotFinished) {
		t.Errorf("records of another spec are kept: %v", err)
	}
}

func TestReadRunRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadRun(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "no run") {
		t.Errorf("no run: %v", err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ReadRun(dir); !errors.Is(err, ErrNotFinished) {
		t.Errorf("stopped before it began: %v", err)
	}
	write(specFile, "experiment: magic\n")
	if _, err := ReadRun(dir); !errors.Is(err, ErrNotFinished) {
		t.Errorf("without records: %v", err)
	}
	write(recordsFile, `{"pair": 0}`+"\n{")
	if _, err := ReadRun(dir); err == nil || !strings.Contains(err.Error(), "record 2") {
		t.Errorf("half a record: %v", err)
	}
	write(recordsFile, `{"pair": -1}`)
	if _, err := ReadRun(dir); err == nil || !strings.Contains(err.Error(), "pair -1") {
		t.Errorf("pair -1: %v", err)
	}
	write(recordsFile, `{"pair": 0}`)
	f, err := ReadRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := WriteReport(t.TempDir(), []*Finished{f}); err == nil || !strings.Contains(err.Error(), "magic") {
		t.Errorf("a report of an experiment that there is not: %v", err)
	}
}

// TestEveryExperiment runs all of them, and reports them on one page.
func TestEveryExperiment(t *testing.T) {
	data, dir := pictures(t), t.TempDir()
	var runs []*Finished
	for _, name := range Experiments() {
		text := finish(t, dir, smallSpec(name, data), 2)
		for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
			var r Record
			if err := json.Unmarshal([]byte(line), &r); err != nil || r.Experiment != name || r.Version != "v1" || len(r.Key) != 32 {
				t.Errorf("record %d of %s: %v: %s", i+1, name, err, line)
			}
		}
		f, err := ReadRun(RunDir(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		s, err := f.Summary()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s.Verdict.Rule == "" || s.Verdict.Why == "" || !slices.Contains([]string{Holds, DoesNotHold, Undecided}, s.Verdict.Word) {
			t.Errorf("the verdict on %s is %+v", name, s.Verdict)
		}
		if name == "counterexample" && s.Verdict.Word != Holds {
			t.Errorf("the counterexample %s: %s", s.Verdict.Word, s.Verdict.Why)
		}
		runs = append(runs, f)
	}
	checkReport(t, runs)
	for _, f := range runs {
		for i := range f.Records {
			f.Records[i].Result = withoutLosses(t, f.Records[i].Result)
		}
		if _, err := f.section(); err != nil {
			t.Errorf("%s without finite losses: %v", f.Spec.Name, err)
		}
	}
	if _, err := WriteReport(t.TempDir(), nil); err == nil {
		t.Error("a report of no runs")
	}
}

// withoutLosses has losses that are not finite.
func withoutLosses(t *testing.T, text json.RawMessage) json.RawMessage {
	t.Helper()
	out := regexp.MustCompile(`"loss":[-+.0-9e]+`).ReplaceAll(text, []byte(`"loss":null`))
	if !json.Valid(out) {
		t.Fatalf("no JSON: %s", out)
	}
	return out
}

// checkReport writes the page of some runs and looks at all files.
func checkReport(t *testing.T, runs []*Finished) {
	t.Helper()
	files, err := WriteReport(t.TempDir(), runs)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil || len(content) == 0 {
			t.Errorf("%s: %d bytes, %v", path, len(content), err)
			continue
		}
		counts[filepath.Ext(path)]++
		switch filepath.Ext(path) {
		case ".png":
			_, err = png.Decode(bytes.NewReader(content))
		case ".csv":
			_, err = csv.NewReader(bytes.NewReader(content)).ReadAll()
		case ".svg":
			d := xml.NewDecoder(bytes.NewReader(content))
			for err == nil {
				_, err = d.Token()
			}
			if err == io.EOF {
				err = nil
			}
		case ".html":
			if outside := regexp.MustCompile(`(?i)(src|href)\s*=\s*"?(https?:)?//`).Find(content); outside != nil {
				err = fmt.Errorf("it asks for %s", outside)
			}
			for _, f := range runs {
				if want := find(f.Spec.Experiment).title; !strings.Contains(string(content), want) {
					err = fmt.Errorf("%q is not in it", want)
				}
			}
		}
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
	}
	if counts[".html"] != 1 || counts[".png"] != counts[".svg"] || counts[".png"] != counts[".csv"] || counts[".png"] < len(runs) {
		t.Errorf("files: %v", counts)
	}
}

func TestNumber(t *testing.T) {
	for _, x := range []float64{0, -1.5, 1e300, math.NaN(), math.Inf(1), math.Inf(-1)} {
		text, err := json.Marshal(Measure{Loss: Number(x), Accuracy: .5})
		if err != nil {
			t.Fatal(err)
		}
		var back Measure
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if got := float64(back.Loss); got != x && !(math.IsNaN(got) && !finite(x)) {
			t.Errorf("%v became %s and %v", x, text, got)
		}
	}
}
