package report

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Document is a page about one piece of work, or about several, a section for each. Texts are plain: blank lines separate
// paragraphs, nothing else is marked up.
type Document struct {
	Title    string
	Summary  string
	Sections []Section
	Meta     []Field // how the page came about: version, seed, seconds, hashes, in this order
}

// Section is a part of a document. Empty parts of it are left out; what is there stands in the order of the fields.
type Section struct {
	ID          string // the anchor, as "width"; letters, digits and hyphens. Chosen if empty
	Heading     string
	Text        string
	Claims      []Claim
	Command     string // what makes these results, to be copied
	Figures     []*Figure
	Tables      []Table
	Comparisons []Comparison
	NotRun      []NotRun
	Notes       []string
	Files       []File // further data for the reader to keep
	Meta        []Field
}

// Outcome is what measurements say about a claim.
type Outcome int

// Outcomes.
const (
	Undecided Outcome = iota
	Holds
	DoesNotHold
)

// String returns "undecided", "holds" or "does not hold".
func (o Outcome) String() string {
	switch o {
	case Holds:
		return "holds"
	case DoesNotHold:
		return "does not hold"
	}
	return "undecided"
}

// Claim is a sentence that measurements decide.
type Claim struct {
	Text    string // what is claimed
	Source  string // where, as "section 5.3, figure 4"
	Outcome Outcome
	Verdict string // a sentence with the numbers that decide
	Rule    string // when the claim holds, and when not
}

// Comparison is a published value beside the measured one.
type Comparison struct {
	Quantity, Paper, Ours string
	Note                  string // what differs between the two
}

// NotRun is something that was not measured, and why.
type NotRun struct{ What, Reason string }

// File is data that the page carries for the reader to keep.
type File struct {
	Name string // proposed to the reader: letters, digits, hyphens, underscores and dots
	Type string // its media type, as "text/csv"
	Data []byte
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
var page = template.Must(template.New("page").Funcs(template.FuncMap{"paragraphs": paragraphs, "words": words}).Parse(pageText))

// WriteHTML writes the document as one HTML page, which is well-formed XML too, in a single call of w.Write. The page loads
// nothing: styles, figures and data are part of it, and its content security policy forbids the rest; there are no scripts. Every
// figure and table comes with its numbers as a CSV file. It is an error if a table's row has more or fewer cells than its
// header, if a figure is nil, if an ID stands twice, or if an ID, a file's name or its type has other characters than it may have.
func (d Document) WriteHTML(w io.Writer) error {
	view := pageView{Title: printable(d.Title), Summary: d.Summary, Meta: d.Meta}
	ids := map[string]bool{}
	for i, s := range d.Sections {
		v, err := s.view(i + 1)
		if err == nil && ids[v.ID] {
			err = fmt.Errorf("the ID %q stands twice", v.ID)
		}
		if err != nil {
			return fmt.Errorf("report: section %q: %w", s.Heading, err)
		}
		ids[v.ID] = true
		view.Claims = view.Claims || len(v.Claims) > 0
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
	Claims         bool // some section has a claim
	Meta           []Field
}

type sectionView struct {
	Section
	ID      string
	Claims  []claimView
	Figures []figureView
	Tables  []tableView
	Compare []tableView // the comparisons as one table, or none
	Files   []fileView
}

type claimView struct {
	Claim
	Chip, Class string
}

type tableView struct {
	Caption string
	Header  []cell
	Rows    [][]cell
	File    *fileView
}

type fileView struct {
	Name string
	Size string
	URL  template.URL
}

type cell struct {
	Text    string
	Numeric bool
}

type figureView struct {
	Title, Caption string
	Wide, Narrow   template.HTML
	Tables         []tableView
	File           fileView
}

func (s Section) view(number int) (sectionView, error) {
	out := sectionView{Section: s, ID: s.ID}
	if out.ID == "" {
		out.ID = fmt.Sprintf("s%d", number)
	}
	if !made(out.ID, "-") {
		return out, fmt.Errorf("an ID of %q: only letters, digits and hyphens are allowed", out.ID)
	}
	for _, c := range s.Claims {
		out.Claims = append(out.Claims, claimView{c, c.Outcome.String(), [...]string{"open", "yes", "no"}[min(max(c.Outcome, 0), DoesNotHold)]})
	}
	var err error
	if out.Tables, err = tableViews(s.Tables); err != nil {
		return out, err
	}
	for i := range out.Tables {
		if out.Tables[i].File, err = csvView(fmt.Sprintf("%s-table-%d.csv", out.ID, i+1), s.Tables[i]); err != nil {
			return out, err
		}
	}
	if out.Compare, err = comparisonViews(out.ID, s.Comparisons); err != nil {
		return out, err
	}
	for i, f := range s.Figures {
		if f == nil {
			return out, fmt.Errorf("figure %d is missing", i+1)
		}
		v, err := f.view(fmt.Sprintf("%s-figure-%d.csv", out.ID, i+1))
		if err != nil {
			return out, err
		}
		out.Figures = append(out.Figures, v)
	}
	for _, f := range s.Files {
		v, err := f.view()
		if err != nil {
			return out, err
		}
		out.Files = append(out.Files, v)
	}
	return out, nil
}

// made tells whether s is not empty and made of letters, digits and the other characters.
func made(s, others string) bool {
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(others, r)) {
			return false
		}
	}
	return s != ""
}

// comparisonViews is a table of the comparisons, with a column for the notes if there are any.
func comparisonViews(id string, comparisons []Comparison) ([]tableView, error) {
	if len(comparisons) == 0 {
		return nil, nil
	}
	t := Table{Caption: "Beside the paper", Header: []string{"quantity", "paper", "here"}}
	notes := slices.ContainsFunc(comparisons, func(c Comparison) bool { return c.Note != "" })
	if notes {
		t.Header = append(t.Header, "what differs")
	}
	for _, c := range comparisons {
		row := []string{c.Quantity, c.Paper, c.Ours}
		if notes {
			row = append(row, c.Note)
		}
		t.Rows = append(t.Rows, row)
	}
	out, err := tableViews([]Table{t})
	if err != nil {
		return nil, err
	}
	out[0].File, err = csvView(id+"-paper.csv", t)
	return out, err
}

func (f File) view() (fileView, error) {
	if !made(f.Name, "-_.") {
		return fileView{}, fmt.Errorf("a file named %q: only letters, digits, hyphens, underscores and dots are allowed", f.Name)
	}
	if !made(f.Type, "-+./") {
		return fileView{}, fmt.Errorf("file %q: a media type of %q", f.Name, f.Type)
	}
	size := fmt.Sprintf("%d B", len(f.Data))
	if len(f.Data) >= 1000 {
		size = fmt.Sprintf("%.1f kB", float64(len(f.Data))/1000)
	}
	url := "data:" + f.Type + ";base64," + base64.StdEncoding.EncodeToString(f.Data)
	return fileView{f.Name, size, template.URL(url)}, nil // its characters have been checked
}

// csvView is a table as a file.
func csvView(name string, t Table) (*fileView, error) {
	var out bytes.Buffer
	if err := WriteCSV(&out, t); err != nil {
		return nil, err
	}
	v, err := File{name, "text/csv", out.Bytes()}.view()
	return &v, err
}

func (f *Figure) view(csvName string) (figureView, error) {
	out := figureView{Title: f.Title, Caption: f.Caption}
	for l, to := range []*template.HTML{wide: &out.Wide, narrow: &out.Narrow} {
		svg, err := f.inline(layout(l))
		if err != nil {
			return out, err
		}
		*to = template.HTML(svg) // ours: callers' strings in it are escaped where they enter
	}
	file, err := csvView(csvName, f.Data())
	if err != nil {
		return out, err
	}
	out.File = *file
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
			if err := t.checkRow(r); err != nil {
				return nil, err
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
			first, _ := utf8.DecodeRuneInString(row[c])
			out[c] = out[c] && (strings.ContainsRune("+-−±≈<>.0123456789", first) || row[c] == "∞")
		}
		out[c] = out[c] && filled
	}
	return out
}

// word is a part of a command: space, or what stands between spaces.
type word struct {
	Text  string
	Space bool
}

// words splits a command so that it is broken between words only; joined again they are the command.
func words(command string) []word {
	var out []word
	for _, r := range command {
		space := unicode.IsSpace(r)
		if len(out) == 0 || out[len(out)-1].Space != space {
			out = append(out, word{Space: space})
		}
		out[len(out)-1].Text += string(r)
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
