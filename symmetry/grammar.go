package symmetry

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of the text grammar. They are far above what networks need and keep hostile files cheap.
const (
	maxLayoutText = 4096
	maxParens     = 16
	maxExtent     = math.MaxInt32
)

// GrammarError says where a layout's text stops making sense.
type GrammarError struct {
	Text string // the whole text
	Pos  int    // byte offset, from 0
	Msg  string
}

func (e *GrammarError) Error() string {
	return fmt.Sprintf("layout %s, position %d: %s", quoteShort(e.Text), e.Pos+1, e.Msg)
}

// quoteShort quotes text for a message, cut where it is long.
func quoteShort(text string) string {
	const limit = 80
	if len(text) <= limit {
		return strconv.Quote(text)
	}
	return strconv.Quote(strings.ToValidUTF8(text[:limit], "")) + "..."
}

// ParseLayout reads the text form of a layout (see the package comment for the grammar). Named factors and "_" come back
// with size 0, since sizes stand in shapes and not in the text; parents holds the parents of every family that the text
// mentions. A mistake is a *[GrammarError].
func ParseLayout(text string) (layout Layout, parents map[string][]string, err error) {
	p := layoutParser{text: text, parents: map[string][]string{}, plain: map[string]bool{}}
	layout, err = p.layout()
	if err != nil {
		return nil, nil, err
	}
	return layout, p.parents, nil
}

// layoutParser is a recursive descent over
//
//	layout  = { axis }
//	axis    = factor | "(" sum ")"
//	sum     = product { "+" product }
//	product = item { item }
//	item    = factor | "(" sum ")"
//	factor  = "_" | number | name [ "[" name { "," name } "]" ]
//
// Parentheses that change nothing are dropped: a product in a product and a sum in a sum are associative. A sum of two
// or more segments inside a product is an error, since a layout is a concatenation of products.
type layoutParser struct {
	text    string
	pos     int
	depth   int
	parents map[string][]string
	plain   map[string]bool // names that stood without parents
}

func (p *layoutParser) fail(pos int, format string, args ...any) error {
	return &GrammarError{Text: p.text, Pos: pos, Msg: fmt.Sprintf(format, args...)}
}

func (p *layoutParser) layout() (Layout, error) {
	if len(p.text) > maxLayoutText {
		return nil, p.fail(maxLayoutText, "the text is longer than %d bytes", maxLayoutText)
	}
	if !utf8.ValidString(p.text) {
		return nil, p.fail(0, "the text is not UTF-8")
	}
	layout := Layout{}
	for p.skipSpace(); p.pos < len(p.text); p.skipSpace() {
		axis, err := p.axis()
		if err != nil {
			return nil, err
		}
		layout = append(layout, axis)
	}
	return layout, nil
}

func (p *layoutParser) axis() (Axis, error) {
	if p.peek() == '(' {
		return p.parenthesised()
	}
	f, err := p.factor()
	if err != nil {
		return nil, err
	}
	return Axis{{f}}, nil
}

func (p *layoutParser) parenthesised() (Axis, error) {
	open := p.pos
	if p.depth++; p.depth > maxParens {
		return nil, p.fail(open, "more than %d parentheses inside each other", maxParens)
	}
	p.pos++
	var axis Axis
	for {
		segments, err := p.product()
		if err != nil {
			return nil, err
		}
		axis = append(axis, segments...)
		if p.peek() != '+' {
			break
		}
		p.pos++
	}
	if p.peek() != ')' {
		return nil, p.fail(open, `"(" is not closed`)
	}
	p.pos++
	p.depth--
	return axis, nil
}

// product returns one segment, or the several of a sum in parentheses that is its only item.
func (p *layoutParser) product() ([]Segment, error) {
	var segments []Segment
	for items := 0; ; items++ {
		p.skipSpace()
		start := p.pos
		if c := p.peek(); c == ')' || c == '+' || c == 0 {
			if items == 0 {
				return nil, p.fail(p.pos, "a name, a number or _ is missing here")
			}
			return segments, nil
		}
		item, err := p.axis()
		if err != nil {
			return nil, err
		}
		switch {
		case items == 0:
			segments = item
		case len(segments) > 1 || len(item) > 1:
			return nil, p.fail(start, "a concatenation cannot be a factor of a product")
		default:
			segments[0] = append(segments[0], item[0]...)
		}
	}
}

func (p *layoutParser) factor() (Factor, error) {
	start := p.pos
	word := p.word()
	switch {
	case word == "":
		r, _ := utf8.DecodeRuneInString(p.text[p.pos:])
		return Factor{}, p.fail(start, "unexpected %q", r)
	case word == "_":
		return Factor{}, p.noParents("_")
	case word[0] >= '0' && word[0] <= '9':
		n, err := parseExtent(word)
		if err != nil {
			return Factor{}, p.fail(start, "%v", err)
		}
		return Factor{Size: n}, p.noParents(word)
	}
	if err := checkName(word); err != nil {
		return Factor{}, p.fail(start, "%v", err)
	}
	parents, err := p.bracket()
	if err != nil {
		return Factor{}, err
	}
	return Factor{Name: word}, p.declare(start, word, parents)
}

// declare holds every mention of a name to the same parents.
func (p *layoutParser) declare(start int, name string, parents []string) error {
	known, isFamily := p.parents[name]
	if (isFamily && !slices.Equal(known, parents)) || (p.plain[name] && len(parents) > 0) {
		return p.fail(start, "%q stands with other parents in the same layout", name)
	}
	if len(parents) == 0 {
		p.plain[name] = true
	} else {
		p.parents[name] = parents
	}
	return nil
}

func (p *layoutParser) noParents(word string) error {
	if p.pos < len(p.text) && p.text[p.pos] == '[' {
		return p.fail(p.pos, "%s is fixed and has no parents", word)
	}
	return nil
}

// bracket reads the parents of a family, if any; "[" stands right after the name.
func (p *layoutParser) bracket() ([]string, error) {
	if p.pos >= len(p.text) || p.text[p.pos] != '[' {
		return nil, nil
	}
	open := p.pos
	var parents []string
	for {
		p.pos++
		p.skipSpace()
		start := p.pos
		name := p.word()
		if err := checkName(name); err != nil {
			return nil, p.fail(start, "parents are names: %v", err)
		}
		if slices.Contains(parents, name) {
			return nil, p.fail(start, "parent %q twice", name)
		}
		parents = append(parents, name)
		switch p.peek() {
		case ',':
		case ']':
			p.pos++
			return parents, nil
		default:
			return nil, p.fail(open, `"[" is not closed`)
		}
	}
}

// peek skips space and returns the next byte, 0 at the end.
func (p *layoutParser) peek() byte {
	p.skipSpace()
	if p.pos == len(p.text) {
		return 0
	}
	return p.text[p.pos]
}

func (p *layoutParser) skipSpace() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// word takes the longest run of characters that names and numbers are made of.
func (p *layoutParser) word() string {
	rest := p.text[p.pos:]
	n := strings.IndexFunc(rest, func(r rune) bool { return !isNameRune(r) })
	if n < 0 {
		n = len(rest)
	}
	p.pos += n
	return rest[:n]
}

func isNameRune(r rune) bool {
	return r != utf8.RuneError && unicode.IsGraphic(r) && !unicode.IsSpace(r) && !strings.ContainsRune("()[]{}+,\"'`\\", r)
}

// checkName says why a word cannot name a group. Names are runs of printable characters other than brackets, quotes,
// "+" and ","; they do not start with a digit, "-" or "." and are not "_".
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a name is missing")
	case name == "_":
		return fmt.Errorf(`"_" is a fixed axis and no name`)
	case strings.ContainsRune("0123456789-.", rune(name[0])):
		return fmt.Errorf("name %s starts with %q", quoteShort(name), name[0])
	}
	if i := strings.IndexFunc(name, func(r rune) bool { return !isNameRune(r) }); i >= 0 {
		r, _ := utf8.DecodeRuneInString(name[i:])
		return fmt.Errorf("name %s contains %q", quoteShort(name), r)
	}
	return nil
}

func parseExtent(word string) (int, error) {
	n, err := strconv.ParseUint(word, 10, 31)
	if err != nil || (word[0] == '0' && len(word) > 1) {
		return 0, fmt.Errorf("%s is no number from 1 to %d", quoteShort(word), maxExtent)
	}
	if n == 0 {
		return 0, fmt.Errorf("an extent is at least 1; _ stands for any")
	}
	return int(n), nil
}

// FormatLayout writes the canonical text form, which [ParseLayout] reads back to the same layout without the sizes of
// named factors. parents gives the parents of families. A fixed extent of size 0 is written "_".
func FormatLayout(layout Layout, parents map[string][]string) string {
	return formatLayout(layout, func(name string) []string { return parents[name] })
}

// Format writes a layout of the symmetry in the canonical text form.
func (s *Symmetry) Format(layout Layout) string {
	return formatLayout(layout, s.names().parents)
}

func formatLayout(layout Layout, parents func(string) []string) string {
	axes := make([]string, len(layout))
	for i, a := range layout {
		axes[i] = formatAxis(a, parents)
	}
	return strings.Join(axes, " ")
}

func formatAxis(axis Axis, parents func(string) []string) string {
	if len(axis) == 1 {
		return formatSegment(axis[0], parents)
	}
	parts := make([]string, len(axis))
	for i, s := range axis {
		parts[i] = formatSegment(s, parents)
	}
	return "(" + strings.Join(parts, " + ") + ")"
}

func formatSegment(segment Segment, parents func(string) []string) string {
	parts := make([]string, len(segment))
	for i, f := range segment {
		parts[i] = formatFactor(f, parents)
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "(" + strings.Join(parts, " ") + ")"
}

func formatFactor(f Factor, parents func(string) []string) string {
	switch {
	case f.Name != "":
		return formatName(f.Name, parents(f.Name))
	case f.Size == 0:
		return "_"
	default:
		return strconv.Itoa(f.Size)
	}
}

func formatName(name string, parents []string) string {
	if len(parents) == 0 {
		return name
	}
	return name + "[" + strings.Join(parents, ",") + "]"
}
