package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
)

// Document is a page about one piece of work. Texts are plain: blank lines separate paragraphs, nothing else is marked up.
type Document struct {
	Title    string
	Summary  string
	Sections []Section
	Meta     []Field // how the page came about: version, seed, seconds, hashes, in this order
}

// Section is a part of a document. Empty parts of it are left out.
type Section struct {
	Heading string
	Text    string
	Tables  []Table
	Figures []*Figure
	Notes   []string
}

// Table is a header and rows of as many cells. The first column names the rows; if a column holds nothing but numbers it is
// aligned to the right.
type Table struct {
	Caption string
	Header  []string
	Rows    [][]string
}

// Field is a name with its value.
type Field struct{ Name, Value string }

//go:embed page.html.tmpl
var pageText string

// page is parsed once; a mistake in it is one of this package.
var page = template.Must(template.New("page").Funcs(template.FuncMap{"paragraphs": paragraphs}).Parse(pageText))

// WriteHTML writes the document as one HTML page, which is well-formed XML too, in a single call of w.Write. The page loads
// nothing: styles and figures are part of it, and its content security policy forbids the rest. It is an error if a table's row
// has more or fewer cells than its header, or if a figure is nil.
func (d Document) WriteHTML(w io.Writer) error {
	view := pageView{Title: printable(d.Title), Summary: d.Summary, Meta: d.Meta}
	for i, s := range d.Sections {
		v, err := s.view(i + 1)
		if err != nil {
			return fmt.Errorf("report: section %q: %w", s.Heading, err)
		}
		view.Sections = append(view.Sections, v)
	}
	var out bytes.Buffer
	if err := page.Execute(&out, view); err != nil {
		return fmt.Errorf("report: page %q: %w", d.Title, err)
	}
	if _, err := w.Write([]byte(printableLines(out.String()))); err != nil {
		return fmt.Errorf("report: page %q: %w", d.Title, err)
	}
	return nil
}

// printableLines replaces what cannot stand in XML, but keeps line breaks.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

// pageView and what it holds is the document as the template wants it.
type pageView struct {
	Title, Summary string
	Sections       []sectionView
	Meta           []Field
}

type sectionView struct {
	ID            string
	Heading, Text string
	Tables        []tableView
	Figures       []figureView
	Notes         []string
}

type tableView struct {
	Caption string
	Header  []cell
	Rows    [][]cell
}

type cell struct {
	Text    string
	Numeric bool
}

type figureView struct {
	Title, Caption string
	Wide, Narrow   template.HTML
	Tables         []tableView
}

func (s Section) view(number int) (sectionView, error) {
	out := sectionView{ID: fmt.Sprintf("s%d", number), Heading: s.Heading, Text: s.Text, Notes: s.Notes}
	var err error
	if out.Tables, err = tableViews(s.Tables); err != nil {
		return out, err
	}
	for i, f := range s.Figures {
		if f == nil {
			return out, fmt.Errorf("figure %d is missing", i+1)
		}
		v, err := f.view()
		if err != nil {
			return out, err
		}
		out.Figures = append(out.Figures, v)
	}
	return out, nil
}

func (f *Figure) view() (figureView, error) {
	out := figureView{Title: f.Title, Caption: f.Caption}
	for l, to := range []*template.HTML{wide: &out.Wide, narrow: &out.Narrow} {
		svg, err := f.inline(layout(l))
		if err != nil {
			return out, err
		}
		*to = template.HTML(svg) // ours: callers' strings in it are escaped where they enter
	}
	var err error
	out.Tables, err = tableViews(f.content.tables())
	return out, err
}

func tableViews(tables []Table) ([]tableView, error) {
	out := make([]tableView, 0, len(tables))
	for _, t := range tables {
		v := tableView{Caption: t.Caption}
		numeric := t.numericColumns()
		for c, text := range t.Header {
			v.Header = append(v.Header, cell{text, numeric[c]})
		}
		for r, row := range t.Rows {
			if len(row) != len(t.Header) {
				return nil, fmt.Errorf("table %q: row %d has %d cells for %d columns", t.Caption, r+1, len(row), len(t.Header))
			}
			cells := make([]cell, len(row))
			for c, text := range row {
				cells[c] = cell{text, numeric[c]}
			}
			v.Rows = append(v.Rows, cells)
		}
		out = append(out, v)
	}
	return out, nil
}

// numericColumns tells for each column whether all its filled cells begin like numbers, so that "98.05 %" counts as one.
func (t Table) numericColumns() []bool {
	out := make([]bool, len(t.Header))
	for c := range out {
		filled := false
		out[c] = true
		for _, row := range t.Rows {
			if c >= len(row) || row[c] == "" {
				continue
			}
			filled = true
			out[c] = out[c] && strings.ContainsAny(row[c][:1], "+-.0123456789") || strings.HasPrefix(row[c], "−") || row[c] == "∞"
		}
		out[c] = out[c] && filled
	}
	return out
}

// paragraphs splits text at blank lines.
func paragraphs(text string) []string {
	var out []string
	for p := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}
