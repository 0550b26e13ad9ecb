package experiment

import (
	"fmt"
	"math/big"

	"github.com/rebasin/rebasin/tensor"
)

// Areas of decision regions in exact arithmetic: a network of affine layers with ReLU between them is affine on each piece of a partition of its
// inputs into convex polygons, and where its weights are rational so are the corners of the pieces.

// planeMap is the function c[0]·x₁ + c[1]·x₂ + c[2] of the plane.
type planeMap [3]*big.Rat

// point is a point of the plane.
type point [2]*big.Rat

// at is the value at a point.
func (f planeMap) at(p point) *big.Rat {
	v := new(big.Rat).Mul(f[0], p[0])
	v.Add(v, new(big.Rat).Mul(f[1], p[1]))
	return v.Add(v, f[2])
}

func (f planeMap) isZero() bool { return f[0].Sign() == 0 && f[1].Sign() == 0 && f[2].Sign() == 0 }

func (f planeMap) negated() planeMap {
	return planeMap{new(big.Rat).Neg(f[0]), new(big.Rat).Neg(f[1]), new(big.Rat).Neg(f[2])}
}

// clip is the part of a convex polygon where f >= 0 (Sutherland, Hodgman, "Reentrant polygon clipping", 1974, for one edge). What has no area may
// come out as a polygon of area 0.
func clip(polygon []point, f planeMap) []point {
	var out []point
	for i, p := range polygon {
		q := polygon[(i+1)%len(polygon)]
		vp, vq := f.at(p), f.at(q)
		if vp.Sign() >= 0 {
			out = append(out, p)
		}
		if vp.Sign()*vq.Sign() < 0 { // the edge crosses the line at p + t(q-p), t = vp/(vp-vq)
			t := new(big.Rat).Quo(vp, new(big.Rat).Sub(vp, vq))
			var cross point
			for k := range cross {
				d := new(big.Rat).Sub(q[k], p[k])
				cross[k] = d.Add(d.Mul(d, t), p[k])
			}
			out = append(out, cross)
		}
	}
	return out
}

// area of a polygon whose corners go round counterclockwise, by the shoelace formula.
func area(polygon []point) *big.Rat {
	sum := new(big.Rat)
	for i, p := range polygon {
		q := polygon[(i+1)%len(polygon)]
		sum.Add(sum, new(big.Rat).Mul(p[0], q[1]))
		sum.Sub(sum, new(big.Rat).Mul(p[1], q[0]))
	}
	return sum.Quo(sum, big.NewRat(2, 1))
}

// rectangle has its corners counterclockwise.
func rectangle(left, bottom, right, top int64) []point {
	r := func(x, y int64) point { return point{big.NewRat(x, 1), big.NewRat(y, 1)} }
	return []point{r(left, bottom), r(right, bottom), r(right, top), r(left, top)}
}

// exactLayer is an affine layer: row i of weights, and the bias in its last column, make unit i.
type exactLayer [][]*big.Rat

// exactNetwork is a chain of affine layers of the plane, with ReLU behind all but the last, which has one unit.
type exactNetwork []exactLayer

// newExactNetwork reads layers of shape [out, in]; a bias may be nil. Every float32 is rational, so nothing is rounded.
func newExactNetwork(params map[string]*tensor.Tensor, prefixes ...string) (exactNetwork, error) {
	var n exactNetwork
	for _, prefix := range prefixes {
		w, ok := params[prefix+".weight"]
		if !ok || len(w.Shape()) != 2 || w.DType() != tensor.F32 {
			return nil, fmt.Errorf("experiment: %s.weight is no matrix of float32", prefix)
		}
		rows, cols := w.Shape()[0], w.Shape()[1]
		layer := make(exactLayer, rows)
		for i := range layer {
			for _, v := range tensor.Of[float32](w)[i*cols : (i+1)*cols] {
				layer[i] = append(layer[i], exact(float64(v)))
			}
			bias := new(big.Rat)
			if b, ok := params[prefix+".bias"]; ok {
				bias = exact(float64(tensor.Of[float32](b)[i]))
			}
			layer[i] = append(layer[i], bias)
		}
		n = append(n, layer)
	}
	return n, nil
}

func exact(v float64) *big.Rat { return new(big.Rat).SetFloat64(v) }

// between is (1-λ)·n + λ·m.
func (n exactNetwork) between(m exactNetwork, lambda *big.Rat) exactNetwork {
	rest := new(big.Rat).Sub(big.NewRat(1, 1), lambda)
	out := make(exactNetwork, len(n))
	for l := range n {
		out[l] = make(exactLayer, len(n[l]))
		for i := range n[l] {
			for j := range n[l][i] {
				v := new(big.Rat).Mul(rest, n[l][i][j])
				out[l][i] = append(out[l][i], v.Add(v, new(big.Rat).Mul(lambda, m[l][i][j])))
			}
		}
	}
	return out
}

// positive are the polygons on which the output is >= 0, inside a convex one. They do not overlap but on their edges.
func (n exactNetwork) positive(inside []point) [][]point {
	zero, one := new(big.Rat), big.NewRat(1, 1)
	return n.positiveFrom(inside, []planeMap{{one, zero, zero}, {zero, one, zero}})
}

// positiveFrom does it for the layers that remain, whose inputs are those affine functions on the polygon.
func (n exactNetwork) positiveFrom(inside []point, inputs []planeMap) [][]point {
	if len(inside) == 0 || area(inside).Sign() == 0 {
		return nil
	}
	units := n[0].apply(inputs)
	if len(n) == 1 {
		return [][]point{clip(inside, units[0])}
	}
	return n[1:].rectified(inside, units, nil)
}

// rectified cuts the polygon along the kinks of the ReLUs of units, one after the other, and goes on in each piece.
func (n exactNetwork) rectified(inside []point, units, done []planeMap) [][]point {
	if len(inside) == 0 || area(inside).Sign() == 0 {
		return nil
	}
	if len(units) == 0 {
		return n.positiveFrom(inside, done)
	}
	u, zero := units[0], new(big.Rat)
	off := planeMap{zero, zero, zero}
	out := n.rectified(clip(inside, u.negated()), units[1:], append(done[:len(done):len(done)], off))
	if u.isZero() { // off everywhere: not to be counted twice
		return out
	}
	return append(out, n.rectified(clip(inside, u), units[1:], append(done[:len(done):len(done)], u))...)
}

// apply composes the layer with its inputs.
func (l exactLayer) apply(inputs []planeMap) []planeMap {
	out := make([]planeMap, len(l))
	for i, row := range l {
		for k := range out[i] {
			out[i][k] = new(big.Rat)
			for j, f := range inputs {
				out[i][k].Add(out[i][k], new(big.Rat).Mul(row[j], f[k]))
			}
		}
		out[i][2].Add(out[i][2], row[len(inputs)])
	}
	return out
}
