package symmetry

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/tensor"
)

const familyFile = `{
"format": "rebasin alignment",
"version": 1,
"groups": [
{"name": "h", "size": 2, "parents": [], "perm": [1,0]},
{"name": "d", "size": 3, "parents": ["h"], "perm": [0,1,2,2,0,1]}
]
}
`

func familySymmetry(t testing.TB) *Symmetry {
	return mustParse(t, "layouts: {w: '(h d[h])', v: h}", map[string]tensor.Shape{"w": {6}, "v": {2}})
}

func TestAlignmentFile(t *testing.T) {
	s := familySymmetry(t)
	a, err := ReadAlignment(strings.NewReader(familyFile), s)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := WriteAlignment(&b, s, a); err != nil || b.String() != familyFile {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestAlignmentFileRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSymmetry(t)
		a := drawAlignment(t, s, "alignment")
		var b bytes.Buffer
		if err := WriteAlignment(&b, s, a); err != nil {
			t.Fatal(err)
		}
		if limit := s.alignmentBytes(); int64(b.Len()) > limit {
			t.Fatalf("%d bytes, the reader takes %d", b.Len(), limit)
		}
		got, err := ReadAlignment(&b, s)
		if err != nil || !got.Equal(a) {
			t.Fatalf("%v: %v, want %v", err, got, a)
		}
	})
}

func TestReadAlignmentErrors(t *testing.T) {
	s := familySymmetry(t)
	for _, c := range []struct{ old, new, want string }{
		{"rebasin alignment", "other", `format "other"`},
		{`"version": 1`, `"version": 2`, "version 2, this program reads version 1"},
		{`"name": "h"`, `"name": "x"`, `group "x": the symmetry has no such group`},
		{`"name": "d", "size": 3, "parents": ["h"], "perm": [0,1,2,2,0,1]`, `"name": "h", "size": 2, "parents": [], "perm": [0,1]`, `group "h" is there twice`},
		{",\n{\"name\": \"d\"", "]}\n{\"name\": \"d\"", "data after the end"},
		{`"size": 2`, `"size": 4`, `group "h": size 4, the symmetry has 2`},
		{`["h"]`, `[]`, `group "d": parents [], the symmetry has ["h"]`},
		{"[1,0]", "[1,1]", `group "h": entry 1 is 1, which is there twice`},
		{"[1,0]", "[1,2]", `group "h": entry 1 is 2, units are 0 to 1`},
		{"[1,0]", "[-1,0]", `group "h": entry 0 is -1`},
		{"[1,0]", "[1]", `group "h": 1 entries where 2 units need 2`},
		{"[1,0]", "null", `group "h": perm is no list`},
		{"[1,0]", "[1,0.5]", `group "h": perm is no list`},
		{"[1,0]", "[1,99999999999]", `group "h": perm is no list`},
		{`, "perm": [1,0]`, "", `group "h": perm is no list`},
		{"[1,0]", "[" + strings.Repeat("1,", 20000) + "0]", "longer than any alignment of this symmetry"},
		{`"version"`, `"extra": 1, "version"`, "not an alignment file"},
		{familyFile, "", "not an alignment file"},
		{familyFile, "[]", "not an alignment file"},
		{familyFile, familyFile[:70], "not an alignment file"},
		{familyFile, familyFile + "x", "data after the end"},
		{"{\"name\": \"h\", \"size\": 2, \"parents\": [], \"perm\": [1,0]},", "", `group "h": the alignment has no permutation`},
	} {
		text := strings.Replace(familyFile, c.old, c.new, 1)
		if text == familyFile {
			t.Fatalf("%q is not in the file", c.old)
		}
		_, err := ReadAlignment(strings.NewReader(text), s)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s -> %s:\n got  %v\n want %s", c.old, c.new[:min(len(c.new), 60)], err, c.want)
		}
	}
}

// brokenFile fails as a full disk does.
type brokenFile struct{}

var errFull = errors.New("no space left")

func (brokenFile) Write([]byte) (int, error) { return 0, errFull }
func (brokenFile) Read([]byte) (int, error)  { return 0, errFull }

func TestAlignmentFilePassesErrorsOn(t *testing.T) {
	s := familySymmetry(t)
	if err := WriteAlignment(brokenFile{}, s, s.Identity()); !errors.Is(err, errFull) {
		t.Errorf("writing: %v", err)
	}
	if _, err := ReadAlignment(brokenFile{}, s); !errors.Is(err, errFull) {
		t.Errorf("reading: %v", err)
	}
	var b bytes.Buffer
	if err := WriteAlignment(&b, s, &Alignment{}); err == nil || b.Len() > 0 {
		t.Errorf("an alignment that does not fit: %v, %d bytes written", err, b.Len())
	}
}

func FuzzAlignment(f *testing.F) {
	s := familySymmetry(f)
	f.Add([]byte(familyFile))
	f.Add([]byte(strings.ReplaceAll(familyFile, "\n", "  \n")))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ReadAlignment(bytes.NewReader(data), s)
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := WriteAlignment(&b, s, a); err != nil {
			t.Fatal(err)
		}
		if again, err := ReadAlignment(&b, s); err != nil || !again.Equal(a) {
			t.Fatalf("%v: %v, want %v", err, again, a)
		}
	})
}
