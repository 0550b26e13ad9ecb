package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
)

func html(t *testing.T, d Document) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := d.WriteHTML(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// samplePage is the page of sampleDocument, made once.
var samplePage = sync.OnceValues(func() ([]byte, error) {
	var out bytes.Buffer
	err := sampleDocument().WriteHTML(&out)
	return out.Bytes(), err
})

// sampleHTML returns the page of sampleDocument, which is not to be changed.
func sampleHTML(t *testing.T) []byte {
	t.Helper()
	page, err := samplePage()
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// readHTML parses a page as XML, checks what every page must hold, and returns its text.
func readHTML(t *testing.T, page []byte) (text string) {
	t.Helper()
	dec := xml.NewDecoder(bytes.NewReader(page))
	ids := map[string]bool{}
	var out strings.Builder
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return out.String()
		}
		if err != nil {
			line, _ := dec.InputPos()
			t.Fatalf("line %d: not well-formed: %v", line, err)
		}
		switch tok := tok.(type) {
		case xml.CharData:
			out.Write(tok)
		case xml.StartElement:
			checkElement(t, tok, ids)
		}
	}
}

func checkElement(t *testing.T, e xml.StartElement, ids map[string]bool) {
	t.Helper()
	attr := map[string]string{}
	for _, a := range e.Attr {
		attr[a.Name.Local] = a.Value
	}
	switch e.Name.Local {
	case "script", "iframe", "object", "link", "img", "base", "form":
		t.Errorf("a page has no <%s>", e.Name.Local)
	case "svg":
		if attr["role"] != "img" || attr["aria-label"] == "" {
			t.Errorf("an SVG without description: %v", attr)
		}
	case "image", "a":
		if v := attr["href"]; !strings.HasPrefix(v, "#") && !strings.HasPrefix(v, "data:image/png;base64,") && (attr["download"] == "" || !strings.HasPrefix(v, "data:text/csv;base64,")) {
			t.Errorf("<%s> loads %.60q", e.Name.Local, v)
		}
	}
	if id := attr["id"]; id != "" && ids[id] {
		t.Errorf("id %q twice", id)
	} else if id != "" {
		ids[id] = true
	}
}

func TestPageHoldsTheDocument(t *testing.T) {
	d := sampleDocument()
	text := readHTML(t, sampleHTML(t))
	for _, want := range []string{
		d.Title, "Best alignment: weight matching", "Between the models", "73.54 %", "Test data: 10,000 images.", "sha256:60303ae2",
		d.Sections[0].Figures[0].Caption, "The numbers", "Weight matching climbs",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
}

func TestPageLoadsNothing(t *testing.T) {
	page := regexp.MustCompile(`xmlns(:\w+)?="[^"]*"`).ReplaceAll(sampleHTML(t), nil)
	if found := regexp.MustCompile(`https?://[^"'\s]*|url\([^)]*\)|@import`).Find(page); found != nil {
		t.Errorf("the page mentions %q", found)
	}
	if !bytes.Contains(page, []byte(`content="default-src 'none'; style-src 'unsafe-inline'; img-src data:"`)) {
		t.Error("the page does not forbid itself to load things")
	}
}

func TestPageIsDeterministic(t *testing.T) {
	if !bytes.Equal(html(t, sampleDocument()), sampleHTML(t)) {
		t.Error("the page differs from one time to the next")
	}
}

func TestFiguresInAPageFollowItsColours(t *testing.T) {
	page := sampleHTML(t)
	figures := page[bytes.Index(page, []byte("<svg")):]
	for _, own := range []string{":#1F2328", ":#59636E", ":#DDE1E6"} {
		if bytes.Contains(figures, []byte(own)) {
			t.Errorf("a figure keeps the colour %s", own)
		}
	}
	for _, variable := range []string{"--ink", "--muted", "--line"} {
		if !bytes.Contains(figures, []byte("var("+variable+")")) {
			t.Errorf("no figure uses %s", variable)
		}
		if n := bytes.Count(page, []byte(variable+": ")); n < 2 {
			t.Errorf("%s is defined %d times, want one for light and one for dark", variable, n)
		}
	}
}

func TestHostileTexts(t *testing.T) {
	const evil = "</title><script>alert(1)</script>&\x00\xff\"'"
	f := must(TraceFigure(TraceOptions{Title: evil, Caption: evil, XLabel: evil, YLabel: evil}, []Trace{{evil, []float64{1, 2}}}))
	f.Alt = evil
	text := readHTML(t, html(t, Document{
		Title:   evil,
		Summary: evil,
		Sections: []Section{{
			Heading: evil, Text: evil, Notes: []string{evil}, Figures: []*Figure{f},
			Tables: []Table{{Caption: evil, Header: []string{evil}, Rows: [][]string{{evil}}}},
		}},
		Meta: []Field{{evil, evil}},
	}))
	if n := strings.Count(text, "<script>alert(1)</script>"); n < 10 {
		t.Errorf("the text stands in the page %d times", n)
	}
}

func TestEmptyDocument(t *testing.T) {
	page := html(t, Document{Title: "Nothing"})
	readHTML(t, page)
	for _, part := range []string{"<nav", "<footer", "<section", `class="summary"`} {
		if bytes.Contains(page, []byte(part)) {
			t.Errorf("an empty document has a %s", part)
		}
	}
}

func TestNumericColumns(t *testing.T) {
	table := Table{Header: []string{"name", "value", "mixed", "empty", "signs"}, Rows: [][]string{
		{"a", "98.05 %", "1", "", "−∞"},
		{"b", "", "none", "", "∞"},
		{"c", "-3", "2", "", "+1"},
	}}
	want := []bool{false, true, false, false, true}
	for i, got := range table.numericColumns() {
		if got != want[i] {
			t.Errorf("column %q: numeric is %v", table.Header[i], got)
		}
	}
}

func TestParagraphs(t *testing.T) {
	got := strings.Join(paragraphs("\n\n one\nstill one\r\n\r\n\n\n two \n\n"), "|")
	if want := "one\nstill one|two"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// fullDisk is a writer that fails.
type fullDisk struct{ calls int }

var errFull = errors.New("no space left on device")

func (w *fullDisk) Write([]byte) (int, error) { w.calls++; return 0, errFull }

func TestDocumentErrors(t *testing.T) {
	ragged := Document{Title: "t", Sections: []Section{{Heading: "h", Tables: []Table{{
		Caption: "c", Header: []string{"a", "b"}, Rows: [][]string{{"1", "2"}, {"3"}},
	}}}}}
	noFigure := Document{Title: "t", Sections: []Section{{Heading: "h", Figures: []*Figure{nil}}}}
	for want, d := range map[string]Document{
		`section "h": table "c": row 2 has 1 cells for 2 columns`: ragged,
		`section "h": figure 1 is missing`:                        noFigure,
	} {
		var out bytes.Buffer
		if err := d.WriteHTML(&out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
		if out.Len() > 0 {
			t.Error("part of a page was written")
		}
	}
	disk := &fullDisk{}
	if err := sampleDocument().WriteHTML(disk); !errors.Is(err, errFull) || disk.calls != 1 {
		t.Errorf("error %v after %d calls", err, disk.calls)
	}
}
