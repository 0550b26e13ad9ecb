package report

import (
	"bytes"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
)

func TestResultsAreOnThePage(t *testing.T) {
	d := sampleResults()
	text := readHTML(t, html(t, d))
	for _, want := range []string{
		d.Sections[0].Command, "The barrier between two networks falls", "section 5.3, figure 4", "in all 3 seeds", "Rule: holds if",
		"94.7 %", "narrower, 20 epochs", "CIFAR-100: its files are not there", "width.csv", "AVX-512",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	for chip, want := range map[string]int{"undecided": 4, "does not hold": 3, "holds": 4} { // in the contents, in the section, and in rules
		if n := strings.Count(text, chip); n < want {
			t.Errorf("%q stands %d times", chip, n)
		}
	}
}

// TestDataOnThePageIsTheFigures decodes a link as a browser does.
func TestDataOnThePageIsTheFigures(t *testing.T) {
	d := sampleResults()
	found := regexp.MustCompile(`href="data:text/csv;base64,([^"]*)" download="width-figure-1.csv"`).FindSubmatch(html(t, d))
	if found == nil {
		t.Fatal("no link to the data of the figure")
	}
	encoded := strings.ReplaceAll(string(found[1]), "&#43;", "+")
	got, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := WriteCSV(&want, d.Sections[1].Figures[0].Data()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) || want.Len() < 500 {
		t.Errorf("the page holds %.80q, the figure %.80q", got, want.Bytes())
	}
}

func TestSectionErrors(t *testing.T) {
	for want, sections := range map[string][]Section{
		`the ID "a" stands twice`:         {{ID: "a"}, {ID: "a"}},
		`an ID of "a b"`:                  {{ID: "a b"}},
		`a file named "../a"`:             {{Files: []File{{"../a", "text/csv", nil}}}},
		`a media type of "text/html\"><"`: {{Files: []File{{"a", `text/html"><`, nil}}}},
	} {
		var out bytes.Buffer
		if err := (Document{Sections: sections}).WriteHTML(&out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}

func TestHostileClaims(t *testing.T) {
	const evil = "</pre><script>alert(1)</script>&\x00\"'"
	text := readHTML(t, html(t, Document{Sections: []Section{{
		Claims: []Claim{{evil, evil, 17, evil, evil}}, Command: evil, Comparisons: []Comparison{{evil, evil, evil, evil}},
		NotRun: []NotRun{{evil, evil}}, Meta: []Field{{evil, evil}},
	}}}))
	if n := strings.Count(text, "<script>alert(1)</script>"); n != 13 {
		t.Errorf("the text stands in the page %d times, want 13", n)
	}
}

func TestWordsAreTheCommand(t *testing.T) {
	for _, command := range []string{"", "a", " a  b\n\tc ", "rebasin experiment run width"} {
		var joined string
		for _, w := range words(command) {
			joined += w.Text
		}
		if joined != command {
			t.Errorf("%q became %q", command, joined)
		}
	}
}
