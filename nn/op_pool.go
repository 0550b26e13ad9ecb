package nn

import (
	"math"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/internal/kernel"
)

func poolOperators[T Float]() map[string]operator[T] {
	return map[string]operator[T]{
		"MaxPool":           {compile: compileMaxPool[T]},
		"AveragePool":       {compile: compileAveragePool[T]},
		"GlobalAveragePool": {compile: compileGlobalPool[T]},
	}
}

// windows are the windows of a pooling over the planes of a value [N, C, rows, columns], each axis by itself: the elements of window o along an
// axis are first, first+dilation, ... below last.
type windows struct {
	rows, columns axisWindows
	in, out       int  // elements of a plane
	pairs         bool // windows of two rows and two columns side by side, the usual ones
}

// axisWindows has for each position the first element within the value and the end behind the last.
type axisWindows struct {
	first, last, padded []int // padded counts the elements of a window within value and padding
	dilation, extent    int
}

// windowsOf reads the geometry of a pooling. One spatial axis counts as columns of a single row; further axes are not supported.
func windowsOf[T Float](c *call[T]) (windows, error) {
	spatial := c.shape(0)[2:]
	w, err := graph.WindowOf(&c.node.Node, spatial, nil)
	if err != nil {
		return windows{}, err
	}
	switch len(spatial) {
	case 1:
		single := axisWindows{first: []int{0}, last: []int{1}, padded: []int{1}, dilation: 1, extent: 1}
		return newWindows(single, newAxisWindows(w, 0, spatial[0])), nil
	case 2:
		return newWindows(newAxisWindows(w, 0, spatial[0]), newAxisWindows(w, 1, spatial[1])), nil
	}
	return windows{}, errSpatialAxes
}

func newWindows(rows, columns axisWindows) windows {
	return windows{
		rows: rows, columns: columns, in: rows.extent * columns.extent, out: len(rows.first) * len(columns.first),
		pairs: rows.arePairs() && columns.arePairs(),
	}
}

// arePairs says whether the windows are two elements each, one window behind the other.
func (a *axisWindows) arePairs() bool {
	for o, first := range a.first {
		if first != 2*o || a.last[o] != first+2 || a.dilation != 1 {
			return false
		}
	}
	return true
}

func newAxisWindows(w graph.Window, axis, extent int) axisWindows {
	a := axisWindows{dilation: w.Dilation[axis], extent: extent}
	for o := range w.Out[axis] {
		start := o*w.Stride[axis] - w.Before[axis]
		end := start + (w.Kernel[axis]-1)*a.dilation + 1
		first := start
		if first < 0 {
			first += (a.dilation - 1 - first) / a.dilation * a.dilation
		}
		a.first = append(a.first, first)
		a.last = append(a.last, min(end, extent))
		within := min(end, extent+w.After[axis]) - start
		a.padded = append(a.padded, (within+a.dilation-1)/a.dilation)
	}
	return a
}

// count is the number of elements of window o within the value.
func (a *axisWindows) count(o int) int {
	return max(0, (a.last[o]-a.first[o]+a.dilation-1)/a.dilation)
}

// planes makes a step that works on the planes of a value one by one.
func (c *call[T]) planes(in, out int, forward func(y, x []T), backward func(dx, dy, x, y []T)) step {
	x, y, dy, dx := c.x(0), c.y(), c.dy(), c.dx(0)
	count := c.out.n / out
	s := step{forward: c.parallel(count, in, func(lo, hi int) {
		for p := lo; p < hi; p++ {
			forward(y.data[p*out:(p+1)*out], x.data[p*in:(p+1)*in])
		}
	})}
	if dx == nil {
		return s
	}
	back := c.parallel(count, in, func(lo, hi int) {
		d := dx.begin()
		for p := lo; p < hi; p++ {
			backward(d[p*in:(p+1)*in], dy.data[p*out:(p+1)*out], part(x.data, p*in, (p+1)*in), part(y.data, p*out, (p+1)*out))
		}
	})
	s.backward = func() {
		back()
		dx.end()
	}
	return s
}

// compileMaxPool gives the gradient of a window to its first greatest element, in row-major order. A NaN counts as greatest.
func compileMaxPool[T Float](c *call[T]) (step, error) {
	w, err := windowsOf(c)
	if err != nil {
		return step{}, err
	}
	s := c.planes(w.in, w.out, func(y, x []T) { maxPool(y, x, w) }, func(dx, dy, x, _ []T) { maxPoolGrad(dx, dy, x, w) })
	if s.backward != nil {
		c.keepX(0)
	}
	return s, nil
}

// greatest is the place of the greatest element of a window, -1 in one that lies in the padding.
func greatest[T Float](x []T, w *windows, row, column int) int {
	best, place := T(math.Inf(-1)), -1
	for i := w.rows.first[row]; i < w.rows.last[row]; i += w.rows.dilation {
		base := i * w.columns.extent
		for j := w.columns.first[column]; j < w.columns.last[column]; j += w.columns.dilation {
			if v := x[base+j]; v > best || place < 0 || v != v && best == best {
				best, place = v, base+j
			}
		}
	}
	return place
}

func maxPool[T Float](y, x []T, w windows) {
	if w.pairs {
		n, step := len(w.columns.first), w.columns.extent
		for row := range w.rows.first {
			x := x[2*row*step:]
			kernel.MaxPairs(y[row*n:][:n], x[:2*n], x[step:][:2*n])
		}
		return
	}
	o := 0
	for row := range w.rows.first {
		for column := range w.columns.first {
			y[o] = T(math.Inf(-1))
			if place := greatest(x, &w, row, column); place >= 0 {
				y[o] = x[place]
			}
			o++
		}
	}
}

func maxPoolGrad[T Float](dx, dy, x []T, w windows) {
	if w.pairs {
		n, step := len(w.columns.first), w.columns.extent
		if 4*w.out < w.in { // a row or column is left over
			clear(dx)
		}
		for row := range w.rows.first {
			x, dx := x[2*row*step:], dx[2*row*step:]
			kernel.MaxPairsGrad(dx[:2*n], dx[step:][:2*n], dy[row*n:][:n], x[:2*n], x[step:][:2*n])
		}
		return
	}
	clear(dx)
	o := 0
	for row := range w.rows.first {
		for column := range w.columns.first {
			if place := greatest(x, &w, row, column); place >= 0 {
				dx[place] += dy[o]
			}
			o++
		}
	}
}

// compileAveragePool divides by the number of elements of a window that lie in the value, or with count_include_pad in its padding, too.
func compileAveragePool[T Float](c *call[T]) (step, error) {
	w, err := windowsOf(c)
	if err != nil {
		return step{}, err
	}
	share := averageShares[T](w, c.node.Attrs.Int("count_include_pad", 0) != 0)
	return c.planes(w.in, w.out, func(y, x []T) { averagePool(y, x, share, w) }, func(dx, dy, _, _ []T) { averagePoolGrad(dx, dy, share, w) }), nil
}

// averageShares is what each element of a window counts.
func averageShares[T Float](w windows, withPadding bool) []T {
	var shares []T
	for row := range w.rows.first {
		for column := range w.columns.first {
			count := w.rows.count(row) * w.columns.count(column)
			if withPadding {
				count = w.rows.padded[row] * w.columns.padded[column]
			}
			shares = append(shares, 1/T(max(count, 1)))
		}
	}
	return shares
}

func averagePool[T Float](y, x, share []T, w windows) {
	o := 0
	for row := range w.rows.first {
		for column := range w.columns.first {
			var sum T
			for i := w.rows.first[row]; i < w.rows.last[row]; i += w.rows.dilation {
				base := i * w.columns.extent
				for j := w.columns.first[column]; j < w.columns.last[column]; j += w.columns.dilation {
					sum += x[base+j]
				}
			}
			y[o] = sum * share[o]
			o++
		}
	}
}

func averagePoolGrad[T Float](dx, dy, share []T, w windows) {
	clear(dx)
	o := 0
	for row := range w.rows.first {
		for column := range w.columns.first {
			g := dy[o] * share[o]
			for i := w.rows.first[row]; i < w.rows.last[row]; i += w.rows.dilation {
				base := i * w.columns.extent
				for j := w.columns.first[column]; j < w.columns.last[column]; j += w.columns.dilation {
					dx[base+j] += g
				}
			}
			o++
		}
	}
}

// compileGlobalPool is the mean of each plane.
func compileGlobalPool[T Float](c *call[T]) (step, error) {
	return c.meanOfRuns(elements(c.shape(0)[2:])), nil
}

// meanOfRuns makes the step that takes the mean of each run of n elements.
func (c *call[T]) meanOfRuns(n int) step {
	return c.planes(n, 1,
		func(y, x []T) { y[0] = T(kernel.Sum(x) / float64(n)) },
		func(dx, dy, _, _ []T) { fill(dx, dy[0]/T(n)) })
}
