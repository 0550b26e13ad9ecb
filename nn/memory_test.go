package nn

import (
	"testing"

	"pgregory.net/rapid"
)

// TestPlacedBuffersDoNotMeet draws lives and sizes: no two buffers may share an element at one time, and no arena may be larger than all.
func TestPlacedBuffersDoNotMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var buffers []*buffer[float32]
		total := 0
		for range rapid.IntRange(0, 30).Draw(t, "buffers") {
			b := newBuffer[float32](rapid.IntRange(1, 100).Draw(t, "n"))
			start := rapid.IntRange(0, 20).Draw(t, "start")
			b.touch(start)
			b.touch(start + rapid.IntRange(0, 20).Draw(t, "life"))
			if rapid.Bool().Draw(t, "pinned") {
				b.touch(forever)
			}
			buffers = append(buffers, b)
			total += align(b.n)
		}
		size := place(buffers)
		if size > total {
			t.Fatalf("%d elements for buffers of %d", size, total)
		}
		for i, a := range buffers {
			if a.offset%alignment != 0 || a.offset+a.n > size {
				t.Fatalf("buffer at %d of %d elements in an arena of %d", a.offset, a.n, size)
			}
			for _, b := range buffers[:i] {
				if a.start <= b.end && b.start <= a.end && a.offset < b.offset+b.n && b.offset < a.offset+a.n {
					t.Fatalf("%+v and %+v meet", *a, *b)
				}
			}
		}
	})
}

// TestTakeOver lists when a buffer may use another's memory.
func TestTakeOver(t *testing.T) {
	life := func(n, start, end int) *buffer[float32] {
		b := newBuffer[float32](n)
		b.touch(start)
		b.touch(end)
		return b
	}
	for name, c := range map[string]struct {
		from, to *buffer[float32]
		want     bool
	}{
		"last reader":       {life(8, 0, 3), life(8, 3, 5), true},
		"read again":        {life(8, 0, 4), life(8, 3, 5), false},
		"other size":        {life(9, 0, 3), life(8, 3, 5), false},
		"written before":    {life(8, 0, 3), life(8, 2, 5), false},
		"memory of another": {ownBuffer(make([]float32, 8)), life(8, 3, 5), false},
	} {
		c.to.takeOver(c.from, 3)
		if got := c.to.root() == c.from; got != c.want {
			t.Errorf("%s: taken over: %v", name, got)
		}
		if c.want && c.from.end != 5 {
			t.Errorf("%s: the memory is free from %d on", name, c.from.end)
		}
	}
}

// TestPlanElementsCountsTheWorkspace: what convolutions work in is no less memory than values are.
func TestPlanElementsCountsTheWorkspace(t *testing.T) {
	g := graphOf(t, convolutions)
	e := newEngine[float32](t, g, Options{Threads: 1})
	const batch = 3
	n, err := e.PlanElements(batch)
	if err != nil {
		t.Fatal(err)
	}
	forward(t, e, inputFor[float32](t, g, batch), batch)
	if values, workspace := len(e.current.arena), e.convs.Len(); workspace == 0 || n != values+workspace {
		t.Errorf("%d elements, but there are %d of values and %d of the workspace", n, values, workspace)
	}
}
