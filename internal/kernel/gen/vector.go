package main

import (
	"fmt"
	"strings"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// block is the number of elements one round of a vector kernel handles: slices are multiples of it.
const block = 16

// A vectorKernel describes a loop over slices: scalars are broadcast once, body handles one vector at a time.
type vectorKernel struct {
	name, doc string
	scalars   []string
	slices    []string
	prepare   func(f *vectorFunc)
	body      func(f *vectorFunc)
}

// A vectorFunc is a vector kernel while it is written.
type vectorFunc struct {
	generator
	scalar map[string]reg.VecVirtual
	base   map[string]reg.Register
	disp   int
}

func (f *vectorFunc) at(slice string) operand.Mem {
	return operand.Mem{Base: f.base[slice], Disp: f.disp}
}

func (f *vectorFunc) load(slice string) reg.VecVirtual {
	r := f.YMM()
	f.VMOVUPS(f.at(slice), r)
	return r
}

func (f *vectorFunc) store(r reg.VecVirtual, slice string) { f.VMOVUPS(r, f.at(slice)) }

func writeVector(g generator) {
	for _, k := range vectorKernels() {
		g.vectorKernel(k)
	}
	g.reduction("dotBlocksAVX2", "x", "y")
	g.reduction("sumBlocksAVX2", "x", "")
}

// vectorKernel writes a loop over all slices together. Their length is that of the first one.
func (g generator) vectorKernel(k vectorKernel) {
	var params []string
	if len(k.scalars) > 0 {
		params = append(params, strings.Join(k.scalars, ", ")+" float32")
	}
	params = append(params, strings.Join(k.slices, ", ")+" []float32")
	doc := fmt.Sprintf("%s The length of %s is a multiple of %d.", k.doc, k.slices[0], block)
	g.begin(k.name, "func("+strings.Join(params, ", ")+")", doc)
	f := &vectorFunc{generator: g, scalar: map[string]reg.VecVirtual{}, base: map[string]reg.Register{}}
	for _, name := range k.scalars {
		r := g.YMM()
		address, err := g.Param(name).Resolve()
		if err != nil {
			panic(err)
		}
		g.VBROADCASTSS(address.Addr, r)
		f.scalar[name] = r
	}
	for _, name := range k.slices {
		f.base[name] = g.Load(g.Param(name).Base(), g.GP64())
	}
	n := g.Load(g.Param(k.slices[0]).Len(), g.GP64())
	if k.prepare != nil {
		k.prepare(f)
	}
	g.SHRQ(operand.U8(4), n)
	g.JZ(operand.LabelRef("done"))
	g.Label("loop")
	for f.disp = 0; f.disp < block*sizeFloat; f.disp += avx2.bytes {
		k.body(f)
	}
	for _, name := range k.slices {
		g.ADDQ(operand.I8(block*sizeFloat), f.base[name])
	}
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	g.Label("done")
	g.end()
}

func zeroScalar(f *vectorFunc) {
	zero := f.YMM()
	f.VXORPS(zero, zero, zero)
	f.scalar["zero"] = zero
}

func vectorKernels() []vectorKernel {
	binary := func(name, doc string, op func(f *vectorFunc, b operand.Mem, a reg.VecVirtual)) vectorKernel {
		return vectorKernel{name: name, doc: doc, slices: []string{"dst", "a", "b"}, body: func(f *vectorFunc) {
			r := f.load("a")
			op(f, f.at("b"), r)
			f.store(r, "dst")
		}}
	}
	kernels := []vectorKernel{
		binary("addAVX2", "stores a + b in dst.", func(f *vectorFunc, b operand.Mem, a reg.VecVirtual) { f.VADDPS(b, a, a) }),
		binary("subAVX2", "stores a - b in dst.", func(f *vectorFunc, b operand.Mem, a reg.VecVirtual) { f.VSUBPS(b, a, a) }),
		binary("mulAVX2", "stores a * b in dst.", func(f *vectorFunc, b operand.Mem, a reg.VecVirtual) { f.VMULPS(b, a, a) }),
		binary("divAVX2", "stores a / b in dst.", func(f *vectorFunc, b operand.Mem, a reg.VecVirtual) { f.VDIVPS(b, a, a) }),
	}
	return append(append(kernels, linearKernels()...), optimiserKernels()...)
}

func linearKernels() []vectorKernel {
	return []vectorKernel{
		{
			name: "axpyAVX2", doc: "adds alpha*x to y.", scalars: []string{"alpha"}, slices: []string{"x", "y"},
			body: func(f *vectorFunc) {
				r := f.load("x")
				f.VMULPS(f.scalar["alpha"], r, r)
				f.VADDPS(f.at("y"), r, r)
				f.store(r, "y")
			},
		},
		{
			name: "scaleAVX2", doc: "multiplies x by alpha.", scalars: []string{"alpha"}, slices: []string{"x"},
			body: func(f *vectorFunc) {
				r := f.load("x")
				f.VMULPS(f.scalar["alpha"], r, r)
				f.store(r, "x")
			},
		},
		{
			name: "lerpAVX2", doc: "stores s*a + t*b in dst.", scalars: []string{"s", "t"}, slices: []string{"dst", "a", "b"},
			body: func(f *vectorFunc) {
				a, b := f.load("a"), f.load("b")
				f.VMULPS(f.scalar["s"], a, a)
				f.VMULPS(f.scalar["t"], b, b)
				f.VADDPS(b, a, a)
				f.store(a, "dst")
			},
		},
		// The maximum takes its second source when either is NaN or both are zero, and so keeps a NaN and the sign of zero.
		{
			name: "reluAVX2", doc: "stores max(x, 0) in dst.", slices: []string{"dst", "x"}, prepare: zeroScalar,
			body: func(f *vectorFunc) {
				r := f.YMM()
				f.VMAXPS(f.at("x"), f.scalar["zero"], r)
				f.store(r, "dst")
			},
		},
		{
			name: "addReluAVX2", doc: "stores max(dst + row, 0) in dst.", slices: []string{"dst", "row"}, prepare: zeroScalar,
			body: func(f *vectorFunc) {
				r := f.load("row")
				f.VADDPS(f.at("dst"), r, r)
				f.VMAXPS(r, f.scalar["zero"], r)
				f.store(r, "dst")
			},
		},
		{
			name: "reluGradAVX2", doc: "stores dy where y > 0, else 0, in dx.", slices: []string{"dx", "dy", "y"}, prepare: zeroScalar,
			body: func(f *vectorFunc) {
				const less = 0x11 // ordered, quiet
				r := f.YMM()
				f.VCMPPS(operand.U8(less), f.at("y"), f.scalar["zero"], r)
				f.VANDPS(f.at("dy"), r, r)
				f.store(r, "dx")
			},
		},
	}
}

// decayed loads the gradient and adds decay*w to it.
func decayed(f *vectorFunc, w reg.VecVirtual) reg.VecVirtual {
	g := f.YMM()
	f.VMULPS(f.scalar["decay"], w, g)
	f.VADDPS(f.at("g"), g, g)
	return g
}

// descend stores w - rate*step in w.
func descend(f *vectorFunc, w, step reg.VecVirtual) {
	f.VMULPS(f.scalar["rate"], step, step)
	f.VSUBPS(step, w, w)
	f.store(w, "w")
}

// momentum updates the buffer with the gradient and returns it.
func momentum(f *vectorFunc, g reg.VecVirtual) reg.VecVirtual {
	m := f.load("m")
	f.VMULPS(f.scalar["momentum"], m, m)
	f.VADDPS(g, m, m)
	f.store(m, "m")
	return m
}

func optimiserKernels() []vectorKernel {
	return []vectorKernel{
		{
			name: "adamAVX2", doc: "is adamStep.", slices: []string{"w", "g", "m", "v"}, body: adamBody,
			scalars: []string{"decay", "add1", "keep2", "add2", "root2", "epsilon", "rate"},
		},
		{
			name: "sgdAVX2", doc: "is sgdPlain.", scalars: []string{"decay", "rate"}, slices: []string{"w", "g"},
			body: func(f *vectorFunc) {
				w := f.load("w")
				descend(f, w, decayed(f, w))
			},
		},
		{
			name: "sgdMomentumAVX2", doc: "is sgdMomentum.", scalars: []string{"decay", "momentum", "rate"}, slices: []string{"w", "g", "m"},
			body: func(f *vectorFunc) {
				w := f.load("w")
				descend(f, w, momentum(f, decayed(f, w)))
			},
		},
		{
			name: "sgdNesterovAVX2", doc: "is sgdNesterov.", scalars: []string{"decay", "momentum", "rate"}, slices: []string{"w", "g", "m"},
			body: func(f *vectorFunc) {
				w := f.load("w")
				g := decayed(f, w)
				m := momentum(f, g)
				f.VMULPS(f.scalar["momentum"], m, m)
				f.VADDPS(m, g, g)
				descend(f, w, g)
			},
		},
	}
}

func adamBody(f *vectorFunc) {
	w := f.load("w")
	g := decayed(f, w)
	m, change := f.load("m"), f.YMM()
	f.VSUBPS(m, g, change)
	f.VMULPS(f.scalar["add1"], change, change)
	f.VADDPS(change, m, m)
	f.store(m, "m")
	v, square := f.load("v"), f.YMM()
	f.VMULPS(f.scalar["add2"], g, square)
	f.VMULPS(g, square, square)
	f.VMULPS(f.scalar["keep2"], v, v)
	f.VADDPS(square, v, v)
	f.store(v, "v")
	f.VSQRTPS(v, v)
	f.VDIVPS(f.scalar["root2"], v, v)
	f.VADDPS(f.scalar["epsilon"], v, v)
	f.VMULPS(f.scalar["rate"], m, m)
	f.VDIVPS(v, m, m)
	f.VSUBPS(m, w, w)
	f.store(w, "w")
}

// reduction writes a sum in float64 of x, or of x*y, into partial sums: element i goes to partial sum i mod block. The product of two
// float32 is exact in float64, so that fusing it with the addition changes nothing.
func (g generator) reduction(name, x, y string) {
	slices := x
	if y != "" {
		slices += ", " + y
	}
	g.begin(name, "func(acc *[16]float64, "+slices+" []float32)",
		fmt.Sprintf("adds to the partial sums acc. The length of x is a multiple of %d.", block))
	acc := g.Load(g.Param("acc"), g.GP64())
	baseX := g.Load(g.Param(x).Base(), g.GP64())
	n := g.Load(g.Param(x).Len(), g.GP64())
	var baseY reg.Register
	if y != "" {
		baseY = g.Load(g.Param(y).Base(), g.GP64())
	}
	sums := make([]reg.VecVirtual, 4)
	for i := range sums {
		sums[i] = g.YMM()
		g.VMOVUPD(operand.Mem{Base: acc, Disp: 32 * i}, sums[i])
	}
	g.SHRQ(operand.U8(4), n)
	g.JZ(operand.LabelRef("done"))
	g.Label("loop")
	for i, sum := range sums {
		vx := g.YMM()
		g.VCVTPS2PD(operand.Mem{Base: baseX, Disp: 16 * i}, vx)
		if y == "" {
			g.VADDPD(vx, sum, sum)
			continue
		}
		vy := g.YMM()
		g.VCVTPS2PD(operand.Mem{Base: baseY, Disp: 16 * i}, vy)
		g.VFMADD231PD(vx, vy, sum)
	}
	g.ADDQ(operand.I8(block*sizeFloat), baseX)
	if y != "" {
		g.ADDQ(operand.I8(block*sizeFloat), baseY)
	}
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	g.Label("done")
	for i, sum := range sums {
		g.VMOVUPD(sum, operand.Mem{Base: acc, Disp: 32 * i})
	}
	g.end()
}
