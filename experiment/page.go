package experiment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/report"
)

// ReportFile is the name of the page that [WriteReport] writes.
const ReportFile = "report.html"

// WriteReport writes one page about finished runs into a folder, and beside it the figures as SVG and PNG and their numbers as CSV. It returns the
// files, the page first.
func WriteReport(dir string, runs []*Finished) ([]string, error) {
	doc := report.Document{Title: "Experiments", Summary: summaryText}
	if len(runs) == 0 {
		return nil, errors.New("experiment: there is no run to report")
	}
	if d := find(runs[0].Spec.Experiment); len(runs) == 1 && d != nil {
		doc.Title = d.title
	}
	files := []string{filepath.Join(dir, ReportFile)}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for _, r := range runs {
		section, err := r.section()
		if err != nil {
			return nil, fmt.Errorf("run %q: %w", r.Spec.Name, err)
		}
		if slices.ContainsFunc(doc.Sections, func(s report.Section) bool { return s.ID == section.ID }) {
			section.ID = "" // as of the names a.b and a-b; the page chooses one
		}
		doc.Sections = append(doc.Sections, *section)
		for i, fig := range section.Figures {
			written, err := writeFigure(filepath.Join(dir, fmt.Sprintf("%s-%d", r.Spec.Name, i+1)), fig)
			if err != nil {
				return nil, err
			}
			files = append(files, written...)
		}
	}
	var page bytes.Buffer
	if err := doc.WriteHTML(&page); err != nil {
		return nil, err
	}
	return files, writeWhole(files[0], page.Bytes())
}

const summaryText = "Claims of Git Re-Basin: Merging Models modulo Permutation Symmetries (Ainsworth, Hayase, Srinivasa, ICLR 2023, arXiv:2209.04836), measured. " +
	"Numbers are means over pairs of networks with different seeds, ± one standard error. Losses are mean cross-entropies in nats. A barrier is how far the loss rises above the chord between the ends. " +
	"Verdicts are computed from the numbers by the rule that stands beside them."

// writeFigure writes a figure in both formats, and its numbers.
func writeFigure(base string, fig *report.Figure) ([]string, error) {
	svg, err := fig.SVG()
	if err != nil {
		return nil, err
	}
	png, err := fig.PNG()
	if err != nil {
		return nil, err
	}
	var csv bytes.Buffer
	if err := report.WriteCSV(&csv, fig.Data()); err != nil {
		return nil, err
	}
	var files []string
	for _, f := range []struct {
		ending  string
		content []byte
	}{{".svg", svg}, {".png", png}, {".csv", csv.Bytes()}} {
		if err := writeWhole(base+f.ending, f.content); err != nil {
			return nil, err
		}
		files = append(files, base+f.ending)
	}
	return files, nil
}

// section is a run on the page.
func (f *Finished) section() (*report.Section, error) {
	d := find(f.Spec.Experiment)
	if d == nil {
		return nil, fmt.Errorf("experiment: there is no experiment %q", f.Spec.Experiment)
	}
	s, err := f.Summary()
	if err != nil {
		return nil, err
	}
	out := &report.Section{
		ID: strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(f.Spec.Name), ".", "-"), "_", "-"), Heading: d.title,
		Claims:  []report.Claim{{Text: d.claim, Source: d.source, Outcome: s.Verdict.outcome(), Verdict: s.Verdict.Why, Rule: s.Verdict.Rule}},
		Command: f.command(), Comparisons: s.Comparisons, Notes: s.Notes, Meta: f.meta(),
	}
	if d.figures != nil && len(f.Records) > 0 {
		if out.Figures, err = d.figures(f); err != nil {
			return nil, err
		}
	}
	if len(s.Verdict.Cases) > 1 {
		t := report.Table{Caption: "Verdicts", Header: []string{"case", "verdict", "because"}}
		for _, c := range s.Verdict.Cases {
			t.Rows = append(t.Rows, []string{c.Subject, c.Word, c.Why})
		}
		out.Tables = append(out.Tables, t)
	}
	for _, t := range s.Tables {
		out.Tables = append(out.Tables, report.Table{Caption: t.Title, Header: t.Header, Rows: t.Rows})
	}
	for _, n := range f.NotRun {
		out.NotRun = append(out.NotRun, report.NotRun{What: n.Case, Reason: n.Why})
	}
	return out, nil
}

func (v *Verdict) outcome() report.Outcome {
	switch v.Word {
	case Holds:
		return report.Holds
	case DoesNotHold:
		return report.DoesNotHold
	}
	return report.Undecided
}

// command is what makes a run again: of a preset, if the spec is that but for what flags say, or else of a file.
func (f *Finished) command() string {
	command := fmt.Sprintf("rebasin experiment run %s.yaml", f.Spec.Name)
	for _, preset := range Presets() {
		s, err := Preset(f.Spec.Experiment, preset)
		if err != nil || s.Name != f.Spec.Name {
			continue
		}
		flags := ""
		if s = s.withDefaults(); s.Pairs != f.Spec.Pairs {
			flags += fmt.Sprintf(" --pairs %d", f.Spec.Pairs)
		}
		if s.FirstSeed != f.Spec.FirstSeed {
			flags += fmt.Sprintf(" --seed %d", f.Spec.FirstSeed)
		}
		if f.isBut(s) {
			command = fmt.Sprintf("rebasin experiment run %s --preset %s%s", f.Spec.Experiment, preset, flags)
		}
	}
	var named []string
	for i := range f.Spec.Cases {
		if d := f.Spec.Cases[i].Data; d.Digest != "" && !dataset.IsPath(d.Name) && !slices.Contains(named, d.Name) {
			named = append(named, d.Name)
			command += fmt.Sprintf(" --source %s=PATH", d.Name)
		}
	}
	return command
}

// isBut tells whether the run is of a spec, but for pairs, the first seed, where data was found, and cases that were not run, which older runs do not declare.
func (f *Finished) isBut(s Spec) bool {
	run := f.Spec
	run.Pairs, run.FirstSeed = s.Pairs, s.FirstSeed
	run.Cases = nil
	for _, c := range f.cases() {
		run.Cases = append(run.Cases, *c)
		run.Cases[len(run.Cases)-1].Data.Digest = ""
	}
	s.Cases = slices.DeleteFunc(slices.Clone(s.Cases), func(c Case) bool {
		return slices.ContainsFunc(f.NotRun, func(n NotRun) bool { return n.Case == c.Name })
	})
	a, errA := json.Marshal(run)
	b, errB := json.Marshal(s)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// meta says what a run was.
func (f *Finished) meta() []report.Field {
	out := []report.Field{{Name: "run", Value: f.Spec.Name}, {Name: "pairs", Value: fmt.Sprint(f.Spec.Pairs)}, {Name: "first seed", Value: fmt.Sprint(f.Spec.FirstSeed)}}
	var versions, environments []string
	for _, r := range f.Records {
		versions, environments = append(versions, r.Version), append(environments, r.Environment)
	}
	seconds := 0.0
	for _, t := range f.Times {
		seconds += t.Seconds * float64(t.Threads)
	}
	list := func(values []string) string {
		slices.Sort(values)
		return strings.Join(slices.Compact(values), ", ")
	}
	for i := range f.Spec.Cases {
		if d := &f.Spec.Cases[i].Data; d.Digest != "" {
			out = append(out, report.Field{Name: "data of " + f.Spec.Cases[i].Name, Value: fmt.Sprintf("files with SHA-256 %s…", d.Digest[:min(16, len(d.Digest))])})
		}
	}
	return append(out, report.Field{Name: "version", Value: list(versions)}, report.Field{Name: "instruction set", Value: list(environments)},
		report.Field{Name: "time on one thread", Value: fmt.Sprintf("%.0f min", seconds/60)})
}
