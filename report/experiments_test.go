package report_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/rebasin/rebasin/experiment"
	"github.com/rebasin/rebasin/report"
)

// TestExperimentsInABrowser makes the page of all recorded experiments, and opens it.
func TestExperimentsInABrowser(t *testing.T) {
	const recorded = "../docs/results"
	names, err := experiment.RunNames(recorded)
	if err != nil || len(names) == 0 {
		t.Fatalf("%d runs in %s, %v", len(names), recorded, err)
	}
	var runs []*experiment.Finished
	for _, name := range names {
		r, err := experiment.ReadRun(experiment.RunDir(recorded, name))
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r)
	}
	files, err := experiment.WriteReport(t.TempDir(), runs)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]int{`<section `: len(names), `<p class="rule">`: len(names), `<pre class="command"`: len(names)} {
		if got := bytes.Count(page, []byte(what)); got != want {
			t.Errorf("%s stands %d times on the page, want %d", what, got, want)
		}
	}
	report.OpenInABrowser(t, []report.BrowserPage{{Name: "experiments", HTML: page, Figures: bytes.Count(page, []byte("<figcaption>")), Widths: [2]int64{360, 1200}}})
}
