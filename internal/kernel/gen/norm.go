package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func writeNorm(g generator) {
	for _, k := range append(affineKernels(), rowKernels()...) {
		g.vectorKernel(k)
	}
	g.momentSums("momentsAVX2", "")
	g.momentSums("gradMomentsAVX2", "dy")
}

// affine loads x and makes (x - shift)*scale + bias.
func affine(f *vectorFunc) reg.VecVirtual {
	r := f.load("x")
	f.VSUBPS(f.scalar["shift"], r, r)
	f.VMULPS(f.scalar["scale"], r, r)
	f.VADDPS(f.scalar["bias"], r, r)
	return r
}

// positive keeps what is above zero.
func positive(f *vectorFunc, r reg.VecVirtual) { f.VMAXPS(r, f.scalar["zero"], r) }

func affineKernels() []vectorKernel {
	scalars := []string{"shift", "scale", "bias"}
	return []vectorKernel{
		{
			name: "affineAVX2", doc: "stores (x - shift)*scale + bias in dst.", scalars: scalars, slices: []string{"dst", "x"},
			body: func(f *vectorFunc) { f.store(affine(f), "dst") },
		},
		{
			name: "affineReluAVX2", doc: "is affineAVX2 and Relu.", scalars: scalars, slices: []string{"dst", "x"}, prepare: zeroScalar,
			body: func(f *vectorFunc) {
				r := affine(f)
				positive(f, r)
				f.store(r, "dst")
			},
		},
		{
			name: "affineAddAVX2", doc: "is affineAVX2 plus y.", scalars: scalars, slices: []string{"dst", "x", "y"},
			body: func(f *vectorFunc) {
				r := affine(f)
				f.VADDPS(f.at("y"), r, r)
				f.store(r, "dst")
			},
		},
		{
			name: "affineAddReluAVX2", doc: "is affineAddAVX2 and Relu.", scalars: scalars, slices: []string{"dst", "x", "y"}, prepare: zeroScalar,
			body: func(f *vectorFunc) {
				r := affine(f)
				f.VADDPS(f.at("y"), r, r)
				positive(f, r)
				f.store(r, "dst")
			},
		},
		{
			name: "affineMaskAVX2", doc: "stores dy where affineAVX2 of x is positive, else 0, in dst.",
			scalars: scalars, slices: []string{"dst", "dy", "x"}, prepare: zeroScalar,
			body: func(f *vectorFunc) {
				const less = 0x11 // ordered, quiet
				r := affine(f)
				f.VCMPPS(operand.U8(less), r, f.scalar["zero"], r)
				f.VANDPS(f.at("dy"), r, r)
				f.store(r, "dst")
			},
		},
		{
			name: "affineGradAVX2", doc: "stores a*dy + b*(x - shift) + c in dst.",
			scalars: []string{"shift", "a", "b", "c"}, slices: []string{"dst", "dy", "x"},
			body: func(f *vectorFunc) {
				g, r := f.load("dy"), f.load("x")
				f.VMULPS(f.scalar["a"], g, g)
				f.VSUBPS(f.scalar["shift"], r, r)
				f.VMULPS(f.scalar["b"], r, r)
				f.VADDPS(r, g, g)
				f.VADDPS(f.scalar["c"], g, g)
				f.store(g, "dst")
			},
		},
		{
			name: "sumReluAVX2", doc: "stores max(a + b, 0) in dst.", slices: []string{"dst", "a", "b"}, prepare: zeroScalar,
			body: func(f *vectorFunc) {
				r := f.load("a")
				f.VADDPS(f.at("b"), r, r)
				positive(f, r)
				f.store(r, "dst")
			},
		},
	}
}

// centred loads x and makes x - first - mean.
func centred(f *vectorFunc) reg.VecVirtual {
	r := f.load("x")
	f.VSUBPS(f.at("first"), r, r)
	f.VSUBPS(f.at("mean"), r, r)
	return r
}

// rowKernels work on rows of one channel, whose neighbours are normalised independently.
func rowKernels() []vectorKernel {
	return []vectorKernel{
		{
			name: "addDifferenceAVX2", doc: "adds x - first to sum.", slices: []string{"sum", "x", "first"},
			body: func(f *vectorFunc) {
				r := f.load("x")
				f.VSUBPS(f.at("first"), r, r)
				f.VADDPS(f.at("sum"), r, r)
				f.store(r, "sum")
			},
		},
		{
			name: "addSquareAVX2", doc: "adds (x - first - mean)² to sum.", slices: []string{"sum", "x", "first", "mean"},
			body: func(f *vectorFunc) {
				r := centred(f)
				f.VMULPS(r, r, r)
				f.VADDPS(f.at("sum"), r, r)
				f.store(r, "sum")
			},
		},
		{
			name: "inverseRootAVX2", doc: "makes x 1/sqrt(x*scale + epsilon).", scalars: []string{"scale", "epsilon", "unit"}, slices: []string{"x"},
			body: func(f *vectorFunc) {
				r := f.load("x")
				f.VMULPS(f.scalar["scale"], r, r)
				f.VADDPS(f.scalar["epsilon"], r, r)
				f.VSQRTPS(r, r)
				f.VDIVPS(r, f.scalar["unit"], r)
				f.store(r, "x")
			},
		},
		{
			name: "rowAffineAVX2", doc: "stores (x - first - mean)*inverse*scale + bias in dst.",
			scalars: []string{"scale", "bias"}, slices: []string{"dst", "x", "first", "mean", "inverse"},
			body: func(f *vectorFunc) {
				r := centred(f)
				f.VMULPS(f.at("inverse"), r, r)
				f.VMULPS(f.scalar["scale"], r, r)
				f.VADDPS(f.scalar["bias"], r, r)
				f.store(r, "dst")
			},
		},
		{
			name: "addProductAVX2", doc: "adds scale*a*b to sum.", scalars: []string{"scale"}, slices: []string{"sum", "a", "b"},
			body: func(f *vectorFunc) {
				r := f.load("a")
				f.VMULPS(f.scalar["scale"], r, r)
				f.VMULPS(f.at("b"), r, r)
				f.VADDPS(f.at("sum"), r, r)
				f.store(r, "sum")
			},
		},
		{
			name: "rowGradAVX2", doc: "stores scale*dy*inverse - u - (x - first - mean)*v in dst.",
			scalars: []string{"scale"}, slices: []string{"dst", "dy", "x", "first", "mean", "inverse", "u", "v"},
			body: func(f *vectorFunc) {
				g := f.load("dy")
				f.VMULPS(f.scalar["scale"], g, g)
				f.VMULPS(f.at("inverse"), g, g)
				f.VSUBPS(f.at("u"), g, g)
				r := centred(f)
				f.VMULPS(f.at("v"), r, r)
				f.VSUBPS(r, g, g)
				f.store(g, "dst")
			},
		},
	}
}

// momentSums adds, in float64, d = x - shift (or dy) and d² (or d*dy) to partial sums: element i goes to partial sum i mod block. The product
// of two float32 is exact in float64, so that fusing it with the addition changes nothing.
func (g generator) momentSums(name, dy string) {
	slices := "x"
	if dy != "" {
		slices += ", " + dy
	}
	g.begin(name, "func(acc *[32]float64, shift float32, "+slices+" []float32)",
		fmt.Sprintf("adds to the partial sums acc. The length of x is a multiple of %d.", block))
	acc := g.Load(g.Param("acc"), g.GP64())
	shift := g.YMM()
	address, err := g.Param("shift").Resolve()
	if err != nil {
		panic(err)
	}
	g.VBROADCASTSS(address.Addr, shift)
	base := g.Load(g.Param("x").Base(), g.GP64())
	n := g.Load(g.Param("x").Len(), g.GP64())
	var baseDY reg.Register
	if dy != "" {
		baseDY = g.Load(g.Param(dy).Base(), g.GP64())
	}
	sums := make([]reg.VecVirtual, 8)
	for i := range sums {
		sums[i] = g.YMM()
		g.VMOVUPD(operand.Mem{Base: acc, Disp: 32 * i}, sums[i])
	}
	g.SHRQ(operand.U8(4), n)
	g.JZ(operand.LabelRef("done"))
	g.Label("loop")
	for i := range 4 {
		d, wide := g.XMM(), g.YMM()
		g.VMOVUPS(operand.Mem{Base: base, Disp: 16 * i}, d)
		g.VSUBPS(shift.AsX(), d, d)
		g.VCVTPS2PD(d, wide)
		first := wide
		if dy != "" {
			first = g.YMM()
			g.VCVTPS2PD(operand.Mem{Base: baseDY, Disp: 16 * i}, first)
		}
		g.VADDPD(first, sums[i], sums[i])
		g.VFMADD231PD(first, wide, sums[4+i])
	}
	g.ADDQ(operand.I8(block*sizeFloat), base)
	if dy != "" {
		g.ADDQ(operand.I8(block*sizeFloat), baseDY)
	}
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	g.Label("done")
	for i, sum := range sums {
		g.VMOVUPD(sum, operand.Mem{Base: acc, Disp: 32 * i})
	}
	g.end()
}
