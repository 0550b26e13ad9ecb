package symmetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// Alignment files carry a format name and version of their own, so that another JSON file is never taken for one.
const (
	alignmentFormat  = "rebasin alignment"
	alignmentVersion = 1
)

type alignmentFile struct {
	Format  string           `json:"format"`
	Version int              `json:"version"`
	Groups  []alignmentGroup `json:"groups"`
}

type alignmentGroup struct {
	Name    string          `json:"name"`
	Size    int             `json:"size"`
	Parents []string        `json:"parents"`
	Perm    json.RawMessage `json:"perm"`
}

// WriteAlignment writes an alignment file: JSON, the same bytes for the same alignment, one group a line in the order of
// the symmetry's groups.
//
//	{
//	"format": "rebasin alignment",
//	"version": 1,
//	"groups": [
//	{"name": "h1", "size": 3, "parents": [], "perm": [2,0,1]},
//	{"name": "dk", "size": 2, "parents": ["h1"], "perm": [0,1,1,0,0,1]}
//	]
//	}
//
// perm is [Alignment].Perms: unit i of the result is unit perm[i] of the source, and a family has one permutation after
// the other, row-major over the joint index of its parents in the result.
func WriteAlignment(w io.Writer, s *Symmetry, a *Alignment) error {
	if err := s.CheckAlignment(a); err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n\"format\": %q,\n\"version\": %d,\n\"groups\": [", alignmentFormat, alignmentVersion)
	for i, g := range s.Groups {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(g.Name)
		if err != nil {
			return err
		}
		parents, err := json.Marshal(append([]string{}, g.Parents...))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "\n{\"name\": %s, \"size\": %d, \"parents\": %s, \"perm\": [", name, g.Size, parents)
		writeInts(&b, a.Perms[g.Name])
		b.WriteString("]}")
		if _, err := b.WriteTo(w); err != nil {
			return err
		}
	}
	b.WriteString("\n]\n}\n")
	_, err := b.WriteTo(w)
	return err
}

func writeInts(b *bytes.Buffer, values []int32) {
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(strconv.AppendInt(b.AvailableBuffer(), int64(v), 10))
	}
}

// ReadAlignment reads an alignment file and checks everything against the symmetry: the format, the groups with their
// sizes and parents, and that every permutation is one. Errors name the group. It reads no more than an alignment of this
// symmetry can take.
func ReadAlignment(r io.Reader, s *Symmetry) (*Alignment, error) {
	limit := s.alignmentBytes()
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("longer than any alignment of this symmetry: over %d bytes", limit)
	}
	var f alignmentFile
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("not an alignment file: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("not an alignment file: data after the end")
	}
	if f.Format != alignmentFormat {
		return nil, fmt.Errorf("not an alignment file: format %s, not %q", quoteShort(f.Format), alignmentFormat)
	}
	if f.Version != alignmentVersion {
		return nil, fmt.Errorf("alignment file of version %d, this program reads version %d", f.Version, alignmentVersion)
	}
	return f.alignment(s)
}

// alignmentBytes bounds the size of a file: numbers of up to ten digits with room for indentation by other tools.
func (s *Symmetry) alignmentBytes() int64 {
	const perEntry, perGroup, rest = 40, 4096, 4096
	names := s.names()
	n := int64(rest)
	for _, g := range s.Groups {
		n += perGroup + perEntry*int64(names.joint(g)*g.Size)
		for _, word := range append([]string{g.Name}, g.Parents...) {
			n += 8 * int64(len(word)) // JSON may escape every byte
		}
	}
	return n
}

func (f *alignmentFile) alignment(s *Symmetry) (*Alignment, error) {
	names := s.names()
	a := &Alignment{Perms: make(map[string][]int32, len(s.Groups))}
	for _, in := range f.Groups {
		g, ok := names.groups[in.Name]
		switch {
		case !ok:
			return nil, fmt.Errorf("group %s: the symmetry has no such group", quoteShort(in.Name))
		case a.Perms[g.Name] != nil:
			return nil, fmt.Errorf("group %q is there twice", g.Name)
		case in.Size != g.Size:
			return nil, fmt.Errorf("group %q: size %d, the symmetry has %d", g.Name, in.Size, g.Size)
		case !slices.Equal(in.Parents, g.Parents):
			return nil, fmt.Errorf("group %q: parents %q, the symmetry has %q", g.Name, in.Parents, g.Parents)
		}
		var perm []int32
		if err := json.Unmarshal(in.Perm, &perm); err != nil || perm == nil {
			return nil, fmt.Errorf("group %q: perm is no list of unit numbers", g.Name)
		}
		a.Perms[g.Name] = perm
	}
	return a, s.CheckAlignment(a)
}
