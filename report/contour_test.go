package report

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// onLevel is relative to the values: a contour is placed with a few float64 operations.
const onLevel = 1e-9

func fieldOf(cols, rows int, z func(c, r float64) float64) *field {
	f := &field{cols: cols, rows: rows}
	for r := range rows {
		for c := range cols {
			f.z = append(f.z, z(float64(c), float64(r)))
		}
	}
	return f
}

func TestContourOfACone(t *testing.T) {
	f := fieldOf(41, 41, func(c, r float64) float64 { return math.Hypot(c-20, r-20) })
	lines := f.contour(12.3)
	if len(lines) != 1 {
		t.Fatalf("%d lines, want one ring", len(lines))
	}
	ring := lines[0]
	if ring[0] != ring[len(ring)-1] {
		t.Error("the ring is open")
	}
	for _, p := range ring {
		if d := math.Hypot(p.c-20, p.r-20); math.Abs(d-12.3) > .05 { // the cone is curved between grid points
			t.Errorf("%v is %v from the middle", p, d)
		}
	}
}

func TestContourBreaksAtMissingValues(t *testing.T) {
	slope := func(c, _ float64) float64 { return c }
	f := fieldOf(5, 9, slope)
	if lines := f.contour(2.5); len(lines) != 1 || len(lines[0]) != 9 {
		t.Fatalf("the whole slope has lines %v", lines)
	}
	f.z[4*5+2] = math.NaN()
	lines := f.contour(2.5)
	if len(lines) != 2 || len(lines[0]) != 4 || len(lines[1]) != 4 {
		t.Errorf("with a value missing in the middle: %v", lines)
	}
}

// TestContourProperties draws rough fields: every point of a contour is on its level, every open line ends at the border,
// and the edges that the level crosses have one point each.
func TestContourProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cols, rows := rapid.IntRange(2, 7).Draw(t, "cols"), rapid.IntRange(2, 7).Draw(t, "rows")
		f := &field{cols: cols, rows: rows}
		for range cols * rows {
			f.z = append(f.z, float64(rapid.IntRange(-4, 4).Draw(t, "z")))
		}
		level := float64(rapid.IntRange(-4, 4).Draw(t, "level")) + .3 // at no grid point, where the ends of a line could touch
		lines := f.contour(level)
		points := 0
		for _, line := range lines {
			points += len(line)
			for _, p := range line {
				if z := f.sample(p.c, p.r); math.Abs(z-level) > onLevel {
					t.Errorf("%v has the value %v, not %v", p, z, level)
				}
			}
			first, last := line[0], line[len(line)-1]
			if first == last && len(line) > 1 {
				points--
				continue
			}
			for _, p := range []gridPoint{first, last} {
				if p.c != 0 && p.r != 0 && p.c != float64(cols-1) && p.r != float64(rows-1) {
					t.Errorf("a line ends at %v inside", p)
				}
			}
		}
		if want := f.crossings(level); points != want {
			t.Errorf("%d points for %d crossed edges", points, want)
		}
		if again := f.contour(level); !slices.EqualFunc(lines, again, slices.Equal[[]gridPoint]) {
			t.Error("another order the second time")
		}
	})
}

// crossings counts the edges of the grid whose ends are on both sides of the level.
func (f *field) crossings(level float64) int {
	n := 0
	for r := range f.rows {
		for c := range f.cols {
			if c+1 < f.cols && (f.at(c, r) < level) != (f.at(c+1, r) < level) {
				n++
			}
			if r+1 < f.rows && (f.at(c, r) < level) != (f.at(c, r+1) < level) {
				n++
			}
		}
	}
	return n
}
