package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const (
	// group is the number of elements one round of a scan handles, and scanLanes the number of lanes of package kernel.
	group, scanLanes = 64, 16

	// pathBlock is the number of elements slices of relax are multiples of.
	pathBlock = 16

	// Ordered, quiet comparisons, as an immediate operand.
	lessThan      = operand.U8(0x11)
	lessThanEqual = operand.U8(0x12)
)

// A scanFunc is a scan while it is written: for one instruction set, of costs of one size.
type scanFunc struct {
	generator
	wide  bool // AVX-512
	bytes int  // of a cost
	sign  reg.VecVirtual
	x     reg.Register
}

func writeScan(g generator) {
	for _, wide := range []bool{true, false} {
		g.laneMinima(wide)
		g.below(wide)
		g.equal(wide)
		g.leastFew(wide)
		g.searchFew(wide)
		for _, bytes := range []int{4, 8} {
			f := &scanFunc{generator: g, wide: wide, bytes: bytes}
			f.reducedLaneMinima()
			f.reducedBelow()
			f.relax()
		}
	}
}

// vec is a register of the full width.
func (f *scanFunc) vec() reg.VecVirtual { return f.register(f.wide) }

func (g generator) register(wide bool) reg.VecVirtual {
	if wide {
		return g.ZMM()
	}
	return g.YMM()
}

// lanes is the number of float64 in a register.
func (f *scanFunc) lanes() int {
	if f.wide {
		return 8
	}
	return 4
}

func suffix(wide bool) string {
	if wide {
		return "AVX512"
	}
	return "AVX2"
}

func (f *scanFunc) name(base string) string {
	return fmt.Sprintf("%s%d%s", base, 8*f.bytes, suffix(f.wide))
}

func (f *scanFunc) element() string { return fmt.Sprintf("float%d", 8*f.bytes) }

// broadcast puts a float64 argument into all lanes.
func (f *scanFunc) broadcast(param string) reg.VecVirtual {
	r := f.vec()
	f.VBROADCASTSD(f.address(param), r)
	return r
}

func (g generator) address(param string) operand.Mem {
	address, err := g.Param(param).Resolve()
	if err != nil {
		panic(err)
	}
	return address.Addr
}

// reduced computes sign·x - v at the elements first and following. The product is exact, so that the fused operation rounds as a
// subtraction does.
func (f *scanFunc) reduced(v reg.Register, first int) reg.VecVirtual {
	h := f.vec()
	x := operand.Mem{Base: f.x, Disp: first * f.bytes}
	if f.bytes == 4 {
		f.VCVTPS2PD(x, h)
	} else {
		f.VMOVUPD(x, h)
	}
	f.VFMSUB213PD(operand.Mem{Base: v, Disp: first * 8}, f.sign, h)
	return h
}

// laneMinima scans float32 costs at zero prices. Magnitudes are compared as integers, which puts NaN above all.
func (g generator) laneMinima(wide bool) {
	name := "laneMinima32" + suffix(wide)
	g.begin(name, "func(sign float32, x []float32, least *[16]float32) (largest uint32)",
		"lowers least to the minima of sign·x in the lanes, and returns the bits of the largest magnitude. The length of x is a multiple of 64.")
	width, registers, maxima := 8, 8, 2
	if wide {
		width, registers, maxima = 16, 4, 1
	}
	sign, magnitude := g.register(wide), g.register(wide)
	g.VBROADCASTSS(g.address("sign"), sign)
	g.VPCMPEQD(magnitude.AsY(), magnitude.AsY(), magnitude.AsY())
	g.VPSRLD(operand.U8(1), magnitude.AsY(), magnitude.AsY())
	if wide {
		g.VPBROADCASTD(magnitude.AsX(), magnitude)
	}
	x := g.Load(g.Param("x").Base(), g.GP64())
	n := g.Load(g.Param("x").Len(), g.GP64())
	least := g.Load(g.Param("least"), g.GP64())
	minima, bits := make([]reg.VecVirtual, registers), make([]reg.VecVirtual, maxima)
	for i := range minima {
		minima[i] = g.register(wide)
		g.VMOVUPS(operand.Mem{Base: least, Disp: 4 * (width * i % scanLanes)}, minima[i])
	}
	for i := range bits {
		bits[i] = g.register(wide)
		g.VPXOR(bits[i].AsX(), bits[i].AsX(), bits[i].AsX()) // clears the whole register
	}
	g.SHRQ(operand.U8(6), n)
	g.JZ(operand.LabelRef("done"))
	g.Label("loop")
	for i, m := range minima {
		v := g.register(wide)
		g.VMULPS(operand.Mem{Base: x, Disp: 4 * width * i}, sign, v)
		g.VMINPS(m, v, m)
		if wide {
			g.VPANDD(magnitude, v, v)
		} else {
			g.VPAND(magnitude, v, v)
		}
		g.VPMAXUD(bits[i%maxima], v, bits[i%maxima])
	}
	g.ADDQ(operand.U32(4*group), x)
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	g.Label("done")
	for kept := scanLanes / width; len(minima) > kept; {
		half := len(minima) / 2
		for i, m := range minima[half:] {
			g.VMINPS(m, minima[i], minima[i])
		}
		minima = minima[:half]
	}
	for i, m := range minima {
		g.VMOVUPS(m, operand.Mem{Base: least, Disp: 4 * width * i})
	}
	g.Store(g.largestOf(wide, bits), g.Return("largest"))
	g.end()
}

// largestOf is the largest of all elements of the registers, as unsigned integers.
func (g generator) largestOf(wide bool, registers []reg.VecVirtual) reg.GPVirtual {
	all, other := registers[0], g.YMM()
	for _, r := range registers[1:] {
		g.VPMAXUD(r, all, all)
	}
	if wide {
		g.VEXTRACTI64X4(operand.U8(1), all, other)
		g.VPMAXUD(other, all.AsY(), all.AsY())
	}
	g.VEXTRACTI128(operand.U8(1), all.AsY(), other.AsX())
	g.VPMAXUD(other.AsX(), all.AsX(), all.AsX())
	for _, order := range []uint8{0x4e, 0xb1} { // exchange halves, then neighbours
		g.VPSHUFD(operand.U8(order), all.AsX(), other.AsX())
		g.VPMAXUD(other.AsX(), all.AsX(), all.AsX())
	}
	largest := g.GP32()
	g.VMOVD(all.AsX(), largest)
	return largest
}

// below finds float32 costs up to a limit at zero prices.
func (g generator) below(wide bool) {
	g.begin("below32"+suffix(wide), "func(sign float32, x []float32, limit float32, at []int32, room int) (count, done int)",
		"is below for the first done elements, whole groups of 64: all of them, or as many as give room.")
	sign, limit := g.register(wide), g.register(wide)
	g.VBROADCASTSS(g.address("sign"), sign)
	g.VBROADCASTSS(g.address("limit"), limit)
	x := g.Load(g.Param("x").Base(), g.GP64())
	g.collect(x, 4, nil, func() reg.GPVirtual {
		if wide {
			return g.mask(4, func(i int) reg.OpmaskVirtual {
				v, k := g.ZMM(), g.K()
				g.VMULPS(operand.Mem{Base: x, Disp: 64 * i}, sign, v)
				g.VCMPPS(lessThanEqual, limit, v, k)
				return k
			})
		}
		return g.signs(8, func(i int, m reg.GPVirtual) {
			v := g.YMM()
			g.VMULPS(operand.Mem{Base: x, Disp: 32 * i}, sign, v)
			g.VCMPPS(lessThanEqual, limit, v, v)
			g.VMOVMSKPS(v, m.As32())
		})
	})
}

// mask joins comparisons of 64/parts elements each to one word.
func (g generator) mask(parts int, compare func(i int) reg.OpmaskVirtual) reg.GPVirtual {
	word := g.GP64()
	g.KMOVQ(g.join(0, parts, parts, compare), word)
	return word
}

// join is mask for count comparisons from first on. Halves are joined as soon as they are there, since mask registers are few.
func (g generator) join(first, count, parts int, compare func(i int) reg.OpmaskVirtual) reg.OpmaskVirtual {
	if count == 1 {
		return compare(first)
	}
	low := g.join(first, count/2, parts, compare)
	high := g.join(first+count/2, count/2, parts, compare)
	switch count * group / parts {
	case 16:
		g.KUNPCKBW(low, high, low)
	case 32:
		g.KUNPCKWD(low, high, low)
	default:
		g.KUNPCKDQ(low, high, low)
	}
	return low
}

// signs joins the signs of comparisons of 64/parts elements each to one word.
func (g generator) signs(parts int, compare func(i int, m reg.GPVirtual)) reg.GPVirtual {
	word := g.GP64()
	g.XORQ(word, word)
	for i := parts - 1; i >= 0; i-- {
		m := g.GP64()
		compare(i, m)
		g.SHLQ(operand.U8(group/parts), word)
		g.ORQ(m, word)
	}
	return word
}

// collect is the loop of below and reducedBelow: found gives a word with a bit for each element of a group that is below the
// limit. It ends the function.
func (g generator) collect(x reg.Register, bytes int, v reg.Register, found func() reg.GPVirtual) {
	n := g.Load(g.Param("x").Len(), g.GP64())
	at := g.Load(g.Param("at").Base(), g.GP64())
	room := g.Load(g.Param("room"), g.GP64())
	count, first := g.GP64(), g.GP64()
	g.XORQ(count, count)
	g.XORQ(first, first)
	g.SHRQ(operand.U8(6), n)
	g.JZ(operand.LabelRef("done"))
	g.Label("loop")
	word := found()
	g.TESTQ(word, word)
	g.JZ(operand.LabelRef("next"))
	g.Label("bit")
	j := g.GP64()
	g.TZCNTQ(word, j)
	g.ADDQ(first, j)
	g.MOVL(j.As32(), operand.Mem{Base: at, Index: count, Scale: 4})
	g.INCQ(count)
	g.BLSRQ(word, word)
	g.JNZ(operand.LabelRef("bit"))
	g.Label("next")
	g.ADDQ(operand.U8(group), first)
	g.CMPQ(count, room)
	g.JGE(operand.LabelRef("done"))
	g.ADDQ(operand.U32(bytes*group), x)
	if v != nil {
		g.ADDQ(operand.U32(8*group), v)
	}
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	g.Label("done")
	g.Store(count, g.Return("count"))
	g.Store(first, g.Return("done"))
	g.end()
}

func (f *scanFunc) reducedLaneMinima() {
	f.begin(f.name("reducedLaneMinima"), "func(sign float64, x []"+f.element()+", v []float64, least *[16]float64)",
		"lowers least to the minima of sign·x - v in the lanes. The length of x is a multiple of 64.")
	f.sign = f.broadcast("sign")
	f.x = f.Load(f.Param("x").Base(), f.GP64())
	n := f.Load(f.Param("x").Len(), f.GP64())
	v := f.Load(f.Param("v").Base(), f.GP64())
	least := f.Load(f.Param("least"), f.GP64())
	lane := func(i int) operand.Mem { return operand.Mem{Base: least, Disp: 8 * f.lanes() * i} }
	minima := make([]reg.VecVirtual, 8)
	for i := range minima {
		minima[i] = f.vec()
		f.VMOVUPD(lane(i%(scanLanes/f.lanes())), minima[i])
	}
	f.SHRQ(operand.U8(6), n)
	f.JZ(operand.LabelRef("done"))
	f.Label("loop")
	for i := range group / f.lanes() {
		m := minima[i%len(minima)]
		f.VMINPD(m, f.reduced(v, i*f.lanes()), m)
	}
	f.ADDQ(operand.U32(f.bytes*group), f.x)
	f.ADDQ(operand.U32(8*group), v)
	f.DECQ(n)
	f.JNZ(operand.LabelRef("loop"))
	f.Label("done")
	for kept := scanLanes / f.lanes(); len(minima) > kept; {
		half := len(minima) / 2
		for i, m := range minima[half:] {
			f.VMINPD(m, minima[i], minima[i])
		}
		minima = minima[:half]
	}
	for i, m := range minima {
		f.VMOVUPD(m, lane(i))
	}
	f.end()
}

func (f *scanFunc) reducedBelow() {
	f.begin(f.name("reducedBelow"),
		"func(sign float64, x []"+f.element()+", v []float64, limit float64, at []int32, room int) (count, done int)",
		"is reducedBelow for the first done elements, whole groups of 64: all of them, or as many as give room.")
	f.sign = f.broadcast("sign")
	limit := f.broadcast("limit")
	f.x = f.Load(f.Param("x").Base(), f.GP64())
	v := f.Load(f.Param("v").Base(), f.GP64())
	f.collect(f.x, f.bytes, v, func() reg.GPVirtual {
		if f.wide {
			return f.mask(8, func(i int) reg.OpmaskVirtual {
				k := f.K()
				f.VCMPPD(lessThanEqual, limit, f.reduced(v, 8*i), k)
				return k
			})
		}
		return f.signs(16, func(i int, m reg.GPVirtual) {
			h := f.reduced(v, 4*i)
			f.VCMPPD(lessThanEqual, limit, h, h)
			f.VMOVMSKPD(h, m.As32())
		})
	})
}

func (f *scanFunc) relax() {
	f.begin(f.name("relax"),
		"func(sign float64, x []"+f.element()+", price, dist []float64, pred []int32, row int32, rent, floor float64) (least float64)",
		"is relax. The length of x is a multiple of 16.")
	f.sign = f.broadcast("sign")
	rent, floor := f.broadcast("rent"), f.broadcast("floor")
	f.x = f.Load(f.Param("x").Base(), f.GP64())
	n := f.Load(f.Param("x").Len(), f.GP64())
	price := f.Load(f.Param("price").Base(), f.GP64())
	dist := f.Load(f.Param("dist").Base(), f.GP64())
	pred := f.Load(f.Param("pred").Base(), f.GP64())
	row := f.YMM()
	f.VBROADCASTSS(f.address("row"), row)
	infinity := f.GP64()
	f.MOVQ(operand.U64(0x7ff<<52), infinity)
	minima := make([]reg.VecVirtual, 2)
	for i := range minima {
		minima[i] = f.vec()
		f.VMOVQ(infinity, minima[i].AsX())
		f.VBROADCASTSD(minima[i].AsX(), minima[i])
	}
	f.SHRQ(operand.U8(4), n)
	f.JZ(operand.LabelRef("done"))
	f.Label("loop")
	for first := 0; first < pathBlock; first += f.lanes() {
		h, d := f.reduced(price, first), f.vec()
		f.VSUBPD(rent, h, h)
		at := operand.Mem{Base: dist, Disp: 8 * first}
		f.VMOVUPD(at, d)
		f.shorten(h, d, floor, row, operand.Mem{Base: pred, Disp: 4 * first})
		f.VMOVUPD(d, at)
		m := minima[first/f.lanes()%2]
		f.VMINPD(m, d, m)
	}
	f.ADDQ(operand.U32(f.bytes*pathBlock), f.x)
	f.ADDQ(operand.U32(8*pathBlock), price)
	f.ADDQ(operand.U32(8*pathBlock), dist)
	f.ADDQ(operand.U32(4*pathBlock), pred)
	f.DECQ(n)
	f.JNZ(operand.LabelRef("loop"))
	f.Label("done")
	f.VMINPD(minima[1], minima[0], minima[0])
	f.Store(f.leastOf(minima[0]), f.Return("least"))
	f.end()
}

// shorten replaces the distances d by max(h, floor) and their rows in memory where h < d. The rows are blended rather than stored
// under a mask, which some processors do slowly.
func (f *scanFunc) shorten(h, d, floor, row reg.VecVirtual, pred operand.Mem) {
	if f.wide {
		shorter, rows := f.K(), f.YMM()
		f.VCMPPD(lessThan, d, h, shorter)
		f.VMAXPD(floor, h, shorter, d)
		f.VMOVDQU(pred, rows)
		f.VMOVDQA32(row, shorter, rows)
		f.VMOVDQU(rows, pred)
		return
	}
	shorter, high, rows := f.YMM(), f.XMM(), f.XMM()
	f.VCMPPD(lessThan, d, h, shorter)
	f.VMAXPD(floor, h, h)
	f.VBLENDVPD(shorter, h, d, d)
	f.VEXTRACTF128(operand.U8(1), shorter, high)
	f.VSHUFPS(operand.U8(0x88), high, shorter.AsX(), high)
	f.VMOVUPS(pred, rows)
	f.VBLENDVPS(high, row.AsX(), rows, rows)
	f.VMOVUPS(rows, pred)
}

// leastOf is the least lane of a register.
func (f *scanFunc) leastOf(all reg.VecVirtual) reg.Register {
	other := f.YMM()
	if f.wide {
		f.VEXTRACTF64X4(operand.U8(1), all, other)
		f.VMINPD(other, all.AsY(), all.AsY())
	}
	f.VEXTRACTF128(operand.U8(1), all.AsY(), other.AsX())
	f.VMINPD(other.AsX(), all.AsX(), all.AsX())
	f.VPERMILPD(operand.U8(1), all.AsX(), other.AsX())
	f.VMINSD(other.AsX(), all.AsX(), all.AsX())
	return all.AsX()
}

// equal finds the elements that equal a value.
func (g generator) equal(wide bool) {
	const equal = operand.U8(0)
	g.begin("equal64"+suffix(wide), "func(x []float64, value float64, at []int32, room int) (count, done int)",
		"is equal for the first done elements, whole groups of 64: all of them, or as many as give room.")
	value := g.register(wide)
	g.VBROADCASTSD(g.address("value"), value)
	x := g.Load(g.Param("x").Base(), g.GP64())
	g.collect(x, 8, nil, func() reg.GPVirtual {
		if wide {
			return g.mask(8, func(i int) reg.OpmaskVirtual {
				k := g.K()
				g.VCMPPD(equal, operand.Mem{Base: x, Disp: 64 * i}, value, k)
				return k
			})
		}
		return g.signs(16, func(i int, m reg.GPVirtual) {
			v := g.YMM()
			g.VCMPPD(equal, operand.Mem{Base: x, Disp: 32 * i}, value, v)
			g.VMOVMSKPD(v, m.As32())
		})
	})
}

// leastFew is the least reduced cost of a row of few columns.
func (g generator) leastFew(wide bool) {
	f := &scanFunc{generator: g, wide: wide, bytes: 8}
	g.begin("leastFew64"+suffix(wide), "func(x, price []float64) (least float64)", "is leastFew. The length of x is a multiple of 8, and at least 8.")
	x := g.Load(g.Param("x").Base(), g.GP64())
	n := g.Load(g.Param("x").Len(), g.GP64())
	price := g.Load(g.Param("price").Base(), g.GP64())
	least, j := f.infinity(), g.GP64()
	g.XORQ(j, j)
	g.Label("loop")
	h := f.vec()
	g.VMOVUPD(operand.Mem{Base: x, Index: j, Scale: 8}, h)
	g.VSUBPD(operand.Mem{Base: price, Index: j, Scale: 8}, h, h)
	g.VMINPD(least, h, least)
	g.ADDQ(operand.U8(f.lanes()), j)
	g.CMPQ(j, n)
	g.JLT(operand.LabelRef("loop"))
	g.Store(f.leastOf(least), g.Return("least"))
	g.end()
}

// infinity is a register of +Inf.
func (f *scanFunc) infinity() reg.VecVirtual {
	bits, v := f.GP64(), f.vec()
	f.MOVQ(operand.U64(0x7ff<<52), bits)
	f.VMOVQ(bits, v.AsX())
	f.VBROADCASTSD(v.AsX(), v)
	return v
}

// searchFew is a whole search, since with few columns a scan is as short as the way to it and back. The distance of a settled column is NaN, which is
// neither lowered nor least. It is written by the next scan as it passes, in a whole register: one element written on its own would hold up
// the load of the register around it until it is in the cache.
func (g generator) searchFew(wide bool) {
	f := &scanFunc{generator: g, wide: wide, bytes: 8}
	lanes := f.lanes()
	numbers := g.StaticGlobal("numbers" + suffix(wide))
	g.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := range lanes {
		g.AddDatum(8*i, operand.U64(i))
	}
	g.begin("searchFew64"+suffix(wide),
		"func(cost *float64, n int, price, dist *float64, pred, rowOf *int32, free *[4]uint64, start int, col *int32, length *float64) (least float64, at, settled int)",
		"is searchFew. n is the number of columns.")
	cost := g.Load(g.Param("cost"), g.GP64())
	n := g.Load(g.Param("n"), g.GP64())
	price := g.Load(g.Param("price"), g.GP64())
	dist := g.Load(g.Param("dist"), g.GP64())
	pred := g.Load(g.Param("pred"), g.GP64())
	row := g.GP64()
	g.Load(g.Param("start"), row)
	count, j, x := g.GP64(), g.GP64(), g.GP64()
	rows, least, floor, rent, number, settled := g.YMM(), f.vec(), f.vec(), f.vec(), f.vec(), f.vec()
	last, step, nan := f.vec(), f.vec(), f.vec()
	infinity := f.infinity()
	element := func(base reg.Register) operand.Mem { return operand.Mem{Base: base, Index: j, Scale: 8} }
	// begin makes the scan of row ready, and scan ends its loop.
	begin := func() {
		g.VMOVD(row.As32(), rows.AsX())
		g.VPBROADCASTD(rows.AsX(), rows)
		g.MOVQ(row, x)
		g.IMULQ(n, x)
		g.LEAQ(operand.Mem{Base: cost, Index: x, Scale: 8}, x)
	}
	next := func(label string) {
		g.ADDQ(operand.U8(lanes), j)
		g.CMPQ(j, n)
		g.JLT(operand.LabelRef(label))
	}

	g.VPCMPEQD(nan.AsY(), nan.AsY(), nan.AsY())
	g.MOVQ(operand.U32(lanes), j)
	g.VMOVQ(j, step.AsX())
	g.VPBROADCASTQ(step.AsX(), step)
	if wide {
		g.VBROADCASTSD(nan.AsX(), nan)
	}
	g.VMOVUPD(numbers, number)
	g.XORQ(count, count)
	begin()
	g.XORQ(j, j)
	f.copy(infinity, least)
	g.Label("first")
	h := f.vec()
	g.VMOVUPD(element(x), h)
	g.VSUBPD(element(price), h, h)
	g.VMOVUPD(h, element(dist))
	if wide {
		g.VMOVDQU(rows, operand.Mem{Base: pred, Index: j, Scale: 4})
	} else {
		g.VMOVDQU(rows.AsX(), operand.Mem{Base: pred, Index: j, Scale: 4})
	}
	g.VMINPD(least, h, least)
	next("first")

	g.Label("scanned")
	f.leastOf(least)
	g.VBROADCASTSD(least.AsX(), floor)
	// Words of 64 columns from the last to the first, so that what is kept is of the first word that has any.
	free := g.Load(g.Param("free"), g.GP64())
	word, found, offered := g.GP64(), g.GP64(), g.GP64()
	nearest, nearestFirst, nearestFree, freeFirst := g.GP64(), g.GP64(), g.GP64(), g.GP64()
	for _, r := range []reg.GPVirtual{word, nearest, nearestFirst, nearestFree, freeFirst} {
		g.XORQ(r, r)
	}
	g.Label("near")
	g.SUBQ(operand.U8(lanes), j)
	f.equalTo(floor, element(dist), found)
	g.SHLQ(operand.U8(lanes), word)
	g.ORQ(found, word)
	g.TESTQ(operand.U32(group-1), j)
	g.JNZ(operand.LabelRef("near"))
	g.MOVQ(j, offered)
	g.SHRQ(operand.U8(3), offered)
	g.MOVQ(operand.Mem{Base: free, Index: offered, Scale: 1}, offered)
	g.ANDQ(word, offered)
	g.CMOVQNE(offered, nearestFree)
	g.CMOVQNE(j, freeFirst)
	g.TESTQ(word, word)
	g.CMOVQNE(word, nearest)
	g.CMOVQNE(j, nearestFirst)
	g.XORQ(word, word)
	g.TESTQ(j, j)
	g.JNZ(operand.LabelRef("near"))

	bits := g.GP64()
	g.VMOVQ(least.AsX(), bits)
	g.TESTQ(nearestFree, nearestFree)
	g.JNZ(operand.LabelRef("free"))
	g.MOVQ(operand.U64(0x7ff<<52), found)
	g.MOVQ(operand.I32(-1), j)
	g.CMPQ(bits, found)
	g.JE(operand.LabelRef("end"))
	g.TZCNTQ(nearest, j)
	g.ADDQ(nearestFirst, j)
	list := g.Load(g.Param("col"), g.GP64())
	g.MOVL(j.As32(), operand.Mem{Base: list, Index: count, Scale: 4})
	list = g.Load(g.Param("length"), g.GP64())
	g.MOVQ(bits, operand.Mem{Base: list, Index: count, Scale: 8})
	g.INCQ(count)
	list = g.Load(g.Param("rowOf"), g.GP64())
	g.MOVLQSX(operand.Mem{Base: list, Index: j, Scale: 4}, row)
	begin()
	g.VMOVSD(element(x), rent.AsX())
	g.VSUBSD(element(price), rent.AsX(), rent.AsX())
	g.VSUBSD(least.AsX(), rent.AsX(), rent.AsX())
	g.VBROADCASTSD(rent.AsX(), rent)
	g.VMOVQ(j, settled.AsX())
	g.VPBROADCASTQ(settled.AsX(), settled)
	f.copy(infinity, least)
	f.copy(number, last)
	g.XORQ(j, j)
	g.Label("scan")
	h, d := f.vec(), f.vec()
	g.VMOVUPD(element(x), h)
	g.VSUBPD(element(price), h, h)
	g.VSUBPD(rent, h, h)
	g.VMOVUPD(element(dist), d)
	if wide {
		is := g.K()
		g.VPCMPEQQ(last, settled, is)
		g.VMOVAPD(nan, is, d)
	} else {
		is := f.vec()
		g.VPCMPEQQ(last, settled, is)
		g.VORPD(is, d, d) // all bits set is a NaN
	}
	f.shorten(h, d, floor, rows, operand.Mem{Base: pred, Index: j, Scale: 4})
	g.VMOVUPD(d, element(dist))
	g.VMINPD(least, d, least)
	g.VPADDQ(step, last, last)
	next("scan")
	g.JMP(operand.LabelRef("scanned"))

	g.Label("free")
	g.TZCNTQ(nearestFree, j)
	g.ADDQ(freeFirst, j)
	g.Label("end")
	g.Store(least.AsX(), g.Return("least"))
	g.Store(j, g.Return("at"))
	g.Store(count, g.Return("settled"))
	g.end()
}

// copy moves one register to another.
func (f *scanFunc) copy(from, to reg.VecVirtual) {
	f.VMOVAPD(from, to)
}

// equalTo sets the bits of found where elements in memory equal the value.
func (f *scanFunc) equalTo(value reg.VecVirtual, at operand.Mem, found reg.GPVirtual) {
	const equal = operand.U8(0)
	if f.wide {
		k := f.K()
		f.VCMPPD(equal, at, value, k)
		f.KMOVB(k, found.As32())
		return
	}
	v := f.YMM()
	f.VCMPPD(equal, at, value, v)
	f.VMOVMSKPD(v, found.As32())
}
