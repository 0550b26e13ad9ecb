package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/rebasin/rebasin/tensor"
)

const (
	maxHeader   = 100_000_000 // bytes; the limit of the reference implementation
	maxRank     = 64          // of a tensor; that of PyTorch and NumPy
	prefixSize  = 8           // bytes of the length before the header
	metadataKey = "__metadata__"
)

// span is a tensor and where its bytes are, counted from the end of the header.
type span struct {
	Info
	begin, end int
}

// header is what a header says, checked: spans are in the order of their data and cover it exactly.
type header struct {
	spans    []span
	metadata map[string]string
}

// parseHeader reads a header that is followed by dataSize bytes.
func parseHeader(text []byte, dataSize int64) (*header, error) {
	p, err := newParser("header", text)
	if err != nil {
		return nil, err
	}
	h := &header{}
	err = p.object(p.what, func(key string) error {
		if key == metadataKey {
			var err error
			h.metadata, err = p.strings(metadataKey)
			return err
		}
		s, err := p.span()
		if err != nil {
			return ofTensor(key, err)
		}
		s.Name = key
		h.spans = append(h.spans, s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return h, h.checkCover(dataSize)
}

// checkText finds what makes a text no JSON object at all, so that the parser after it meets well-formed text only.
func checkText(what string, text []byte) error {
	switch {
	case len(text) == 0:
		return malformed("%s is empty", what)
	case text[0] != '{':
		return malformed("%s starts with %q, not with '{'", what, text[0])
	case !utf8.Valid(text):
		return malformed("%s is not valid UTF-8", what)
	case !json.Valid(text):
		var raw json.RawMessage
		err := json.Unmarshal(text, &raw)
		return malformed("%s is not valid JSON: %v", what, err)
	case hasLoneSurrogate(text):
		return malformed("%s has half of a UTF-16 surrogate pair in a string", what)
	}
	return nil
}

// hasLoneSurrogate looks for an escape such as \ud800 without its partner in valid JSON. encoding/json would replace it, and two names that
// differ in the file would be one in memory.
func hasLoneSurrogate(text []byte) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		r, ok := unicodeEscape(text[i:])
		if !ok {
			i++ // an escape of one character, perhaps a backslash
			continue
		}
		i += 5
		if !utf16.IsSurrogate(r) {
			continue
		}
		low, ok := unicodeEscape(text[i+1:])
		if !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
			return true
		}
		i += 6
	}
	return false
}

// unicodeEscape reads the escape at the start of text if it is one of the form \uXXXX.
func unicodeEscape(text []byte) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	r, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(r), err == nil
}

// parser reads the tokens of a valid JSON text by a schema. It recurses no deeper than the schema does.
type parser struct {
	what string // the text, for messages
	dec  *json.Decoder
}

// newParser checks that a text is a JSON object and no name in it is ambiguous.
func newParser(what string, text []byte) (*parser, error) {
	if err := checkText(what, text); err != nil {
		return nil, err
	}
	p := &parser{what, json.NewDecoder(bytes.NewReader(text))}
	p.dec.UseNumber()
	return p, nil
}

// token cannot fail on text that checkText has passed; the error is kept all the same, since a panic here would be a file's doing.
func (p *parser) token() (json.Token, error) {
	t, err := p.dec.Token()
	if err != nil {
		return nil, malformed("%s is not valid JSON: %v", p.what, err)
	}
	return t, nil
}

func (p *parser) expect(delim json.Delim, what, kind string) error {
	t, err := p.token()
	if err != nil {
		return err
	}
	if t != delim {
		return malformed("%s is not %s", what, kind)
	}
	return nil
}

// object reads an object and calls value at each of its keys, which must be distinct.
func (p *parser) object(what string, value func(key string) error) error {
	if err := p.expect('{', what, "an object"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		if seen[key] {
			return malformed("%s has the key %s twice", what, quote(key))
		}
		seen[key] = true
		if err := value(key); err != nil {
			return err
		}
	}
	_, err := p.token()
	return err
}

func (p *parser) string(what string) (string, error) {
	t, err := p.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", malformed("%s is not a string", what)
	}
	return s, nil
}

// numbers reads an array of at most limit non-negative integers.
func (p *parser) numbers(what string, limit int) ([]int, error) {
	if err := p.expect('[', what, "an array"); err != nil {
		return nil, err
	}
	list := []int{}
	for p.dec.More() {
		if len(list) == limit {
			return nil, malformed("%s has more than %d numbers", what, limit)
		}
		n, err := p.number(what)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	_, err := p.token()
	return list, err
}

func (p *parser) number(what string) (int, error) {
	t, err := p.token()
	if err != nil {
		return 0, err
	}
	text, ok := t.(json.Number)
	switch {
	case !ok:
		return 0, malformed("%s has an element that is not a number", what)
	case strings.ContainsAny(text.String(), ".eE"):
		return 0, malformed("%s has %s, which is not an integer", what, clip(text.String()))
	case text[0] == '-':
		return 0, malformed("%s has %s, which is negative", what, clip(text.String()))
	}
	n, err := strconv.ParseInt(text.String(), 10, 64)
	if err != nil {
		return 0, malformed("%s has %s, which overflows int64", what, clip(text.String()))
	}
	return int(n), nil
}

// clip shortens a number for a message.
func clip(number string) string {
	const longest = 40
	if len(number) > longest {
		return number[:longest] + "..."
	}
	return number
}

// strings reads an object whose values are strings.
func (p *parser) strings(what string) (map[string]string, error) {
	m := map[string]string{}
	err := p.object(what, func(key string) error {
		value, err := p.string(what + " value of " + quote(key))
		m[key] = value
		return err
	})
	return m, err
}

// span reads the entry of one tensor.
func (p *parser) span() (span, error) {
	var s span
	var dtype string
	var shape, offsets []int
	err := p.object("entry", func(key string) (err error) {
		switch key {
		case "dtype":
			dtype, err = p.string(key)
			if err == nil {
				s.DType, err = parseDType(dtype)
			}
		case "shape":
			shape, err = p.numbers(key, maxRank)
		case "data_offsets":
			offsets, err = p.numbers(key, 2)
		default:
			err = malformed("entry has the unknown key %s", quote(key))
		}
		return err
	})
	if err != nil {
		return s, err
	}
	switch {
	case s.DType == 0:
		return s, malformed("entry has no dtype")
	case shape == nil:
		return s, malformed("entry has no shape")
	case len(offsets) != 2:
		return s, malformed("entry has no pair of data_offsets")
	}
	s.Shape, s.begin, s.end = shape, offsets[0], offsets[1]
	return s, s.checkSize()
}

func parseDType(name string) (tensor.DType, error) {
	d, err := tensor.ParseDType(name)
	if err != nil {
		return 0, malformed("unknown dtype %s", quote(name))
	}
	return d, nil
}

func (s *span) checkSize() error {
	if s.begin > s.end {
		return malformed("data_offsets [%d %d] end before they begin", s.begin, s.end)
	}
	need, err := s.DType.Bytes(s.Shape)
	if err != nil {
		return malformed("shape %v of %v overflows int64", s.Shape, s.DType)
	}
	if have := s.end - s.begin; have != need {
		return malformed("shape %v of %v needs %d bytes, file has %d", s.Shape, s.DType, need, have)
	}
	return nil
}

// checkCover puts the tensors in the order of their data and checks that they cover dataSize bytes: no hole, no overlap, nothing behind.
func (h *header) checkCover(dataSize int64) error {
	slices.SortFunc(h.spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), cmp.Compare(a.Name, b.Name))
	})
	at := 0
	for i, s := range h.spans {
		switch {
		case s.begin < at:
			return ofTensor(s.Name, malformed("data [%d %d] overlaps that of tensor %s", s.begin, s.end, quote(h.spans[i-1].Name)))
		case s.begin > at:
			return ofTensor(s.Name, malformed("data [%d %d] leaves a hole of %d bytes before it", s.begin, s.end, s.begin-at))
		case int64(s.end) > dataSize:
			return ofTensor(s.Name, malformed("data [%d %d] runs past the end: the file is truncated to %d bytes of data",
				s.begin, s.end, dataSize))
		}
		at = s.end
	}
	if int64(at) < dataSize {
		return malformed("file has %d bytes after the last tensor", dataSize-int64(at))
	}
	return nil
}
