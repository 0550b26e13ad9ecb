package symmetry

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Limits on specification files. The YAML reader is recursive and takes time quadratic in the tokens of a line and in
// the commas of a flow mapping; within these limits a hostile file costs seconds at worst, never the stack.
const (
	maxSpecBytes  = 1 << 20
	maxSpecLine   = 4096
	maxFlowMaps   = 16
	maxSpecCommas = 20000
)

// readYAML reads the YAML form. Anchors, aliases, tags, lists and block scalars are not part of it.
func readYAML(data []byte) (*specFile, error) {
	if err := screenYAML(string(data)); err != nil {
		return nil, err
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, yamlError(err)
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			return nil, fmt.Errorf("more than one YAML document")
		}
		body = doc.Body
	}
	if body == nil {
		return nil, fmt.Errorf("the specification is empty")
	}
	return readSections(body)
}

// yamlError reduces the library's message, which quotes the source, to one line.
func yamlError(err error) error {
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil {
		err = errors.New(y.GetMessage())
		if strings.Contains(y.GetMessage(), "must be specified") {
			err = fmt.Errorf("%w (inside {...} text with brackets stands in quotes)", err)
		}
		return atLine(y.GetToken().Position.Line, err)
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(text)
}

// screenYAML refuses, before the YAML reader sees them, files whose nesting or token counts no specification has.
func screenYAML(text string) error {
	if !utf8.ValidString(text) {
		return fmt.Errorf("the specification is not UTF-8")
	}
	if n := strings.Count(text, ","); n > maxSpecCommas {
		return fmt.Errorf("%d commas, at most %d are read", n, maxSpecCommas)
	}
	flowMaps := 0
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if len(line) > maxSpecLine {
			return atLine(number, fmt.Errorf("longer than %d bytes", maxSpecLine))
		}
		n, err := screenLine(line)
		if err != nil {
			return atLine(number, err)
		}
		if flowMaps += n; flowMaps > maxFlowMaps {
			return atLine(number, fmt.Errorf("more than %d flow mappings", maxFlowMaps))
		}
	}
	return nil
}

// screenLine counts the flow mappings that open on a line.
func screenLine(line string) (flowMaps int, err error) {
	if i := strings.IndexFunc(line, func(r rune) bool { return r != '\t' && unicode.IsControl(r) }); i >= 0 {
		return 0, fmt.Errorf("control character %q", line[i:i+1])
	}
	line = cutComment(line)
	if fields := strings.Fields(line); len(fields) > 0 && (fields[0] == "-" || fields[0] == "?") {
		return 0, fmt.Errorf("a list or a complex key, which specifications do not have")
	}
	before := byte(' ')
	for i := range len(line) {
		c := line[i]
		switch opens := strings.IndexByte(" \t,[{:", before) >= 0; {
		case c == '[' && opens:
			return 0, fmt.Errorf("a list, which specifications do not have (parents stand right after a family's name)")
		case c == '{' && opens:
			flowMaps++
		case c == '[' || c == '{':
			if next := strings.IndexAny(line[i+1:], "[{]}"); c == '[' && (next < 0 || line[i+1+next] != ']') {
				return 0, fmt.Errorf(`"[" is not closed`)
			} else if next < 0 || line[i+1+next] == '{' {
				return 0, fmt.Errorf(`"{" is not closed`)
			}
		}
		before = c
	}
	return flowMaps, nil
}

// cutComment drops a comment. It need not know about quotes: what is cut by mistake stands in quotes and cannot nest.
func cutComment(line string) string {
	for i := range len(line) {
		if line[i] == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return line[:i]
		}
	}
	return line
}

func readSections(body ast.Node) (*specFile, error) {
	sections, err := mapping(body, "the specification")
	if err != nil {
		return nil, err
	}
	f := &specFile{}
	for _, s := range sections {
		pairs, err := mapping(s.value, s.key)
		if err != nil {
			return nil, err
		}
		switch s.key {
		case "layouts":
			err = f.addLayouts(pairs)
		case "sizes":
			f.sizes, err = readSizes(pairs, s.key)
		case "fixed":
			f.fixed, err = readSizes(pairs, s.key)
		case "statistics":
			f.statistics, err = readStatistics(pairs)
		default:
			err = atLine(s.line, fmt.Errorf("unknown section %s: there are layouts, sizes, fixed and statistics", quoteShort(s.key)))
		}
		if err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *specFile) addLayouts(pairs []yamlPair) error {
	for _, p := range pairs {
		text, err := scalar(p.value)
		if err == nil && p.value.Type() == ast.NullType {
			err = fmt.Errorf(`no layout is given (that of a scalar is "")`)
		}
		if err != nil {
			return atLine(p.line, fmt.Errorf("tensor %q: %w", p.key, err))
		}
		layout, parents, err := ParseLayout(text)
		if err != nil {
			return atLine(p.line, fmt.Errorf("tensor %q: %w", p.key, err))
		}
		f.entries = append(f.entries, &specEntry{key: p.key, line: p.line, layout: layout, parents: parents})
	}
	return nil
}

func readSizes(pairs []yamlPair, section string) ([]specSize, error) {
	var sizes []specSize
	for _, p := range pairs {
		text, err := scalar(p.value)
		if err == nil {
			var n int
			if n, err = parseExtent(text); err == nil {
				sizes = append(sizes, specSize{name: p.key, size: n, line: p.line})
				continue
			}
		}
		return nil, atLine(p.line, fmt.Errorf("%s: %q: %w", section, p.key, err))
	}
	return sizes, nil
}

type yamlPair struct {
	key   string
	value ast.Node
	line  int
}

// mapping returns the pairs of a mapping node in the file's order. A key that is there twice is an error.
func mapping(node ast.Node, what string) ([]yamlPair, error) {
	var values []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return nil, nil
	default:
		return nil, atLine(nodeLine(node), fmt.Errorf("%s: a mapping is needed here, not %s", what, nodeKind(node)))
	}
	seen := make(map[string]bool, len(values))
	pairs := make([]yamlPair, 0, len(values))
	for _, v := range values {
		line := nodeLine(v.Key)
		key, err := scalar(v.Key)
		if err == nil && seen[key] {
			err = fmt.Errorf("%q is there twice", key)
		}
		if err != nil {
			return nil, atLine(line, fmt.Errorf("%s: %w", what, err))
		}
		seen[key] = true
		pairs = append(pairs, yamlPair{key: key, value: v.Value, line: line})
	}
	return pairs, nil
}

// scalar is the text of a scalar as it stands in the file: a layout "10" is no number to us.
func scalar(node ast.Node) (string, error) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, nil
	}
	return "", fmt.Errorf("text is needed here, not %s", nodeKind(node))
}

func nodeKind(node ast.Node) string {
	if node == nil {
		return "nothing"
	}
	switch node.Type() {
	case ast.AnchorType, ast.AliasType:
		return "an anchor or alias"
	case ast.TagType:
		return "a tag"
	case ast.SequenceType:
		return "a list"
	case ast.MappingType, ast.MappingValueType:
		return "a mapping"
	case ast.MergeKeyType:
		return "a merge key"
	case ast.LiteralType:
		return "a block scalar"
	}
	return "a plain value"
}

func nodeLine(node ast.Node) int {
	if node == nil || node.GetToken() == nil || node.GetToken().Position == nil {
		return 0
	}
	return node.GetToken().Position.Line
}
