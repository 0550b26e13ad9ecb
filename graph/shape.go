package graph

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/rebasin/rebasin/tensor"
)

// MaxRank bounds the number of axes of a value. ONNX sets no bound; networks stay far below.
const MaxRank = 16

// maxSymbols bounds the degree of a monomial, so that a hostile chain of Flatten cannot build names without end.
const maxSymbols = 16

// Dim is one extent: Size times Sym, where Sym is "" for 1, a symbol as "N", or a product of symbols, sorted, as "N*T".
// Extents are positive, except that constants may be empty.
type Dim struct {
	Size int
	Sym  string
}

// Fixed is the extent n.
func Fixed(n int) Dim { return Dim{Size: n} }

// Sym is the extent that a symbol stands for.
func Sym(name string) Dim { return Dim{Size: 1, Sym: name} }

// IsFixed says that the extent is a number.
func (d Dim) IsFixed() bool { return d.Sym == "" }

// IsOne says that the extent is the number 1, which broadcasts.
func (d Dim) IsOne() bool { return d.Size == 1 && d.Sym == "" }

// String is "784", "N" or "4*N*T".
func (d Dim) String() string {
	switch {
	case d.Sym == "":
		return strconv.Itoa(d.Size)
	case d.Size == 1:
		return d.Sym
	}
	return strconv.Itoa(d.Size) + "*" + d.Sym
}

func (d Dim) symbols() []string {
	if d.Sym == "" {
		return nil
	}
	return strings.Split(d.Sym, "*")
}

var errOverflow = errors.New("extent overflows")

// Mul multiplies two extents.
func (d Dim) Mul(e Dim) (Dim, error) {
	if d.Size > 0 && e.Size > math.MaxInt/d.Size {
		return Dim{}, errOverflow
	}
	syms := append(d.symbols(), e.symbols()...)
	if len(syms) > maxSymbols {
		return Dim{}, fmt.Errorf("extent has more than %d symbols", maxSymbols)
	}
	slices.Sort(syms)
	return Dim{Size: d.Size * e.Size, Sym: strings.Join(syms, "*")}, nil
}

// Div divides d by e where that leaves no remainder.
func (d Dim) Div(e Dim) (Dim, bool) {
	if e.Size == 0 || d.Size%e.Size != 0 {
		return Dim{}, false
	}
	rest := d.symbols()
	for _, s := range e.symbols() {
		i := slices.Index(rest, s)
		if i < 0 {
			return Dim{}, false
		}
		rest = slices.Delete(rest, i, i+1)
	}
	return Dim{Size: d.Size / e.Size, Sym: strings.Join(rest, "*")}, true
}

// Bind puts numbers in the place of symbols.
func (d Dim) Bind(sizes map[string]int) (int, error) {
	n := d
	n.Sym = ""
	for _, s := range d.symbols() {
		size, ok := sizes[s]
		if !ok {
			return 0, fmt.Errorf("extent %s: no size is given for %s", d, s)
		}
		if size < 0 {
			return 0, fmt.Errorf("extent %s: size %d of %s is negative", d, size, s)
		}
		var err error
		if n, err = n.Mul(Fixed(size)); err != nil {
			return 0, fmt.Errorf("extent %s: %w", d, err)
		}
	}
	return n.Size, nil
}

func (d Dim) validate(least int) error {
	if d.Size < least {
		return fmt.Errorf("extent %d is less than %d", d.Size, least)
	}
	syms := d.symbols()
	if len(syms) > maxSymbols {
		return fmt.Errorf("extent has more than %d symbols", maxSymbols)
	}
	if !slices.IsSorted(syms) {
		return fmt.Errorf("extent %q: symbols are not sorted", d)
	}
	for _, s := range syms {
		if s == "" || strings.ContainsAny(s, " \t\r\n,[]()") {
			return fmt.Errorf("extent %q: %q is no symbol", d, s)
		}
	}
	return nil
}

// Shape is the extents of a value, outermost first.
type Shape []Dim

// ShapeOf makes a shape of numbers.
func ShapeOf(extents ...int) Shape {
	s := make(Shape, len(extents))
	for i, n := range extents {
		s[i] = Fixed(n)
	}
	return s
}

// Rank is the number of axes.
func (s Shape) Rank() int { return len(s) }

// Equal says that two shapes are the same.
func (s Shape) Equal(t Shape) bool { return slices.Equal(s, t) }

// String is "[N 1 28 28]".
func (s Shape) String() string {
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = d.String()
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// Elements is the number of elements, a monomial.
func (s Shape) Elements() (Dim, error) {
	n := Fixed(1)
	for _, d := range s {
		var err error
		if n, err = n.Mul(d); err != nil {
			return Dim{}, fmt.Errorf("shape %s: %w", s, err)
		}
	}
	return n, nil
}

// Fixed returns the extents as numbers when no symbol is among them.
func (s Shape) Fixed() (tensor.Shape, bool) {
	t := make(tensor.Shape, len(s))
	for i, d := range s {
		if !d.IsFixed() {
			return nil, false
		}
		t[i] = d.Size
	}
	return t, true
}

// Bind puts numbers in the place of symbols.
func (s Shape) Bind(sizes map[string]int) (tensor.Shape, error) {
	t := make(tensor.Shape, len(s))
	for i, d := range s {
		var err error
		if t[i], err = d.Bind(sizes); err != nil {
			return nil, fmt.Errorf("shape %s: %w", s, err)
		}
	}
	return t, nil
}

// validate checks rank, symbols, that extents are at least least, and that the number of elements does not overflow.
func (s Shape) validate(least int) error {
	if len(s) > MaxRank {
		return fmt.Errorf("rank %d exceeds %d", len(s), MaxRank)
	}
	for _, d := range s {
		if err := d.validate(least); err != nil {
			return fmt.Errorf("shape %s: %w", s, err)
		}
	}
	_, err := s.Elements()
	return err
}

// Axis turns an axis that may count from the end, in [-rank, rank), into one that counts from the front.
func Axis(axis int64, rank int) (int, error) {
	if axis < -int64(rank) || axis >= int64(rank) {
		return 0, fmt.Errorf("axis %d is outside a value of rank %d", axis, rank)
	}
	if axis < 0 {
		axis += int64(rank)
	}
	return int(axis), nil
}

// Broadcast is the shape of an elementwise operation on two values, after NumPy: axes are lined up at the end, and an extent 1, or a missing
// axis, is repeated.
func Broadcast(a, b Shape) (Shape, error) {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := slices.Clone(a)
	lead := len(a) - len(b)
	for i, d := range b {
		switch e := a[lead+i]; {
		case d == e || d.IsOne():
		case e.IsOne():
			out[lead+i] = d
		default:
			return nil, fmt.Errorf("shapes %s and %s do not broadcast: %s against %s", a, b, e, d)
		}
	}
	return out, nil
}

// BroadcastsTo says whether a value of shape s can be repeated to shape t without changing t.
func (s Shape) BroadcastsTo(t Shape) bool {
	out, err := Broadcast(t, s)
	return err == nil && len(s) <= len(t) && out.Equal(t)
}
