package assign_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/assign"
)

// problem is a matrix with what is asked of it.
type problem struct {
	rows, cols int
	cost       []float64
	opt        assign.Options
}

func (p problem) at(i, j int) float64 { return p.cost[i*p.cols+j] }

func (p problem) largest() float64 {
	largest := 0.0
	for _, c := range p.cost {
		if !math.IsInf(c, 0) {
			largest = max(largest, math.Abs(c))
		}
	}
	return largest
}

// tolerance is the bound on Result.Gap that its comment promises.
func (p problem) tolerance() float64 { return float64(min(p.rows, p.cols)) * 0x1p-22 * p.largest() }

// forbidden is the cost that rules a pair out.
func (p problem) forbidden() float64 {
	if p.opt.Maximize {
		return math.Inf(-1)
	}
	return math.Inf(1)
}

func (p problem) solve(t rapid.TB) *assign.Result {
	t.Helper()
	r, err := assign.Solve(context.Background(), p.rows, p.cols, p.cost, p.opt)
	if err != nil {
		t.Fatalf("Solve(%+v): %v", p, err)
	}
	p.checkCertificate(t, r)
	return r
}

// checkCertificate proves r optimal within the tolerance, from nothing but the matrix: feasible pairs, feasible duals, no gap.
func (p problem) checkCertificate(t rapid.TB, r *assign.Result) {
	t.Helper()
	p.checkPairs(t, r)
	if len(r.U) != p.rows || len(r.V) != p.cols {
		t.Fatalf("%d and %d duals for shape [%d %d]", len(r.U), len(r.V), p.rows, p.cols)
	}
	sign := 1.0
	if p.opt.Maximize {
		sign = -1
	}
	const slack = 0x1p-50 // of a sum of two duals against a cost, rounded by another formula than the package's
	largest := p.largest()
	for i := range p.rows {
		least := math.Inf(1)
		for j := range p.cols {
			reduced := sign * (p.at(i, j) - r.U[i] - r.V[j])
			if reduced < -slack*(largest+math.Abs(r.U[i])+math.Abs(r.V[j])) {
				t.Fatalf("duals %v + %v of pair %d,%d pass its cost %v", r.U[i], r.V[j], i, j, p.at(i, j))
			}
			least = min(least, sign*(p.at(i, j)-r.V[j]))
		}
		if p.rows <= p.cols && sign*r.U[i] != least {
			t.Fatalf("U[%d] = %v is not the best of c - V, %v", i, r.U[i], sign*least)
		}
	}
	var sum float64
	for i, u := range r.U {
		if p.rows > p.cols && (sign*u > 0 || r.RowToCol[i] < 0 && u != 0) {
			t.Fatalf("U[%d] = %v, column %d, in a problem of shape [%d %d]", i, u, r.RowToCol[i], p.rows, p.cols)
		}
		sum += u
	}
	for j, v := range r.V {
		if p.rows < p.cols && (sign*v > 0 || !slices.Contains(r.RowToCol, j) && v != 0) {
			t.Fatalf("V[%d] = %v in a problem of shape [%d %d]", j, v, p.rows, p.cols)
		}
		sum += v
	}
	if gap := sign * (r.Value - sum); r.Gap < 0 || r.Gap > p.tolerance() || math.Abs(gap) > p.tolerance() {
		t.Fatalf("gap %v, value less duals %v, want at most %v", r.Gap, gap, p.tolerance())
	}
}

// checkPairs checks that r uses as many pairs as there can be, each row and column once, none forbidden, and adds up to its value.
func (p problem) checkPairs(t rapid.TB, r *assign.Result) {
	t.Helper()
	if len(r.RowToCol) != p.rows {
		t.Fatalf("%d rows assigned, want %d", len(r.RowToCol), p.rows)
	}
	taken := make([]bool, p.cols)
	pairs, sum := 0, new(big.Float).SetPrec(exact)
	for i, j := range r.RowToCol {
		if j == -1 {
			continue
		}
		if j < 0 || j >= p.cols || taken[j] || math.IsInf(p.at(i, j), 0) {
			t.Fatalf("row %d on column %d in %v", i, j, r.RowToCol)
		}
		taken[j] = true
		pairs++
		sum.Add(sum, big.NewFloat(p.at(i, j)))
	}
	if want, _ := sum.Float64(); pairs != min(p.rows, p.cols) || r.Value != want {
		t.Fatalf("%d pairs and value %v, want %d and %v", pairs, r.Value, min(p.rows, p.cols), want)
	}
}

// exact is a precision at which sums of float64s are not rounded: their exponents span less.
const exact = 2200

// bruteForce tries everything: the best sum, whether the identity has it, and whether there is any feasible assignment.
func (p problem) bruteForce() (best *big.Float, identity, feasible bool) {
	everyAssignment(p.rows, p.cols, func(colOf []int) {
		sum, own := new(big.Float).SetPrec(exact), true
		for i, j := range colOf {
			if j < 0 {
				continue
			}
			if math.IsInf(p.at(i, j), 0) {
				return
			}
			sum.Add(sum, big.NewFloat(p.at(i, j)))
			own = own && i == j
		}
		order := 1
		if feasible {
			order = best.Cmp(sum)
			if p.opt.Maximize {
				order = -order
			}
		}
		if order > 0 {
			best, identity, feasible = sum, false, true
		}
		identity = identity || order >= 0 && own
	})
	return best, identity, feasible
}

func (p problem) isIdentity(colOf []int) bool {
	for i, j := range colOf {
		if i < p.cols && j != i || i >= p.cols && j != -1 {
			return false
		}
	}
	return true
}

// drawProblem draws a problem whose extents are at most limit and whose costs come from a generator that draw picks: ties, wide
// ranges and forbidden pairs are common.
func drawProblem(t *rapid.T, limit int) problem {
	p := problem{
		rows: rapid.IntRange(0, limit).Draw(t, "rows"),
		cols: rapid.IntRange(0, limit).Draw(t, "cols"),
	}
	p.opt.Maximize = rapid.Bool().Draw(t, "maximize")
	costs := rapid.SampledFrom([]*rapid.Generator[float64]{
		rapid.Float64Range(-1, 1),
		rapid.Map(rapid.IntRange(0, 2), func(i int) float64 { return float64(i) }),
		rapid.Map(rapid.IntRange(-1000, 1000), func(i int) float64 { return float64(i) / 8 }),
		rapid.Map(rapid.IntRange(0, 3), func(i int) float64 { return 1 + float64(i)*0x1p-52 }),
		rapid.Float64Range(-1e300, 1e300).Filter(func(x float64) bool { return math.Abs(x) <= 0x1p980 }),
	}).Draw(t, "costs")
	forbidding := rapid.SampledFrom([]float64{0, 0, .2, .6}).Draw(t, "forbidding")
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	p.cost = make([]float64, p.rows*p.cols)
	for i := range p.cost {
		p.cost[i] = costs.Draw(t, "cost")
		if rng.Float64() < forbidding {
			p.cost[i] = p.forbidden()
		}
	}
	return p
}

// Everything a small problem can be, against trying everything. The optimum may be missed by rounding only, and the identity never.
func TestSolveEqualsBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t, 5)
		best, identity, feasible := p.bruteForce()
		if !feasible {
			if _, err := assign.Solve(context.Background(), p.rows, p.cols, p.cost, p.opt); !errors.Is(err, assign.ErrInfeasible) {
				t.Fatalf("error %v, want ErrInfeasible", err)
			}
			return
		}
		r := p.solve(t)
		if want, _ := best.Float64(); math.Abs(r.Value-want) > 0x1p-48*p.largest() {
			t.Fatalf("value %v, want %v", r.Value, want)
		}
		if identity && !p.isIdentity(r.RowToCol) {
			t.Fatalf("%v where the identity is optimal", r.RowToCol)
		}
	})
}

// Integers leave no room for rounding, so the optimum is met to the bit. Every shape up to 8 by 8, few values and so many ties,
// some pairs forbidden.
func TestSolveIntegersExactly(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for rows := range 9 {
		for cols := range 9 {
			if min(rows, cols) > 6 && rows != cols {
				continue // as many assignments again, and nothing new
			}
			for _, values := range []int{1, 2, 10} {
				p := problem{rows: rows, cols: cols, cost: make([]float64, rows*cols)}
				p.opt.Maximize = rng.IntN(2) == 0
				for i := range p.cost {
					p.cost[i] = float64(rng.IntN(values) - values/2)
					if values == 10 && rng.IntN(4) == 0 {
						p.cost[i] = p.forbidden()
					}
				}
				checkIntegers(t, p)
			}
		}
	}
}

func checkIntegers(t *testing.T, p problem) {
	t.Helper()
	best, identity, feasible := math.Inf(-1), false, false
	everyAssignment(p.rows, p.cols, func(colOf []int) {
		sum := 0.0
		for i, j := range colOf {
			if j >= 0 {
				sum += p.at(i, j)
			}
		}
		if math.IsInf(sum, 0) {
			return
		}
		if !p.opt.Maximize {
			sum = -sum
		}
		if sum > best {
			best, identity, feasible = sum, false, true
		}
		identity = identity || sum == best && p.isIdentity(colOf)
	})
	if !feasible {
		if _, err := assign.Solve(context.Background(), p.rows, p.cols, p.cost, p.opt); !errors.Is(err, assign.ErrInfeasible) {
			t.Errorf("%+v: error %v, want ErrInfeasible", p, err)
		}
		return
	}
	if !p.opt.Maximize {
		best = -best
	}
	if r := p.solve(t); r.Value != best || r.Gap != 0 || identity && !p.isIdentity(r.RowToCol) {
		t.Errorf("%+v: %v of value %v and gap %v; want value %v, identity optimal: %t", p, r.RowToCol, r.Value, r.Gap, best, identity)
	}
}

// matrices are larger problems of the kinds that are hard in one way or another.
var matrices = map[string]func(rng *rand.Rand, i, j int) float64{
	"uniform":  func(rng *rand.Rand, _, _ int) float64 { return rng.Float64() },
	"gaussian": func(rng *rand.Rand, _, _ int) float64 { return rng.NormFloat64() },
	"integers": func(rng *rand.Rand, _, _ int) float64 { return float64(rng.IntN(100)) },
	"binary":   func(rng *rand.Rand, _, _ int) float64 { return float64(rng.IntN(2)) },
	"constant": func(*rand.Rand, int, int) float64 { return .1 },
	"zero":     func(*rand.Rand, int, int) float64 { return 0 },
	"rank one": func(_ *rand.Rand, i, j int) float64 { return float64(1+i) * float64(1+j) },
	"rank one falling": func(_ *rand.Rand, i, j int) float64 {
		return math.Sqrt(float64(1+i)) * -math.Sqrt(float64(1+j))
	},
	"one row repeated": func(_ *rand.Rand, _, j int) float64 { return float64(j*j%97) / 3 },
	"dead units": func(rng *rand.Rand, i, j int) float64 {
		if i%10 != 0 || j%10 != 3 {
			return 0
		}
		return rng.NormFloat64()
	},
	"wide range": func(rng *rand.Rand, _, _ int) float64 { return math.Ldexp(rng.NormFloat64(), rng.IntN(60)-30) },
	"sparse": func(rng *rand.Rand, i, j int) float64 {
		if i != j && rng.IntN(10) > 0 {
			return math.NaN() // forbidden: made infinite with the sign of the problem
		}
		return rng.Float64()
	},
	"staircase": func(rng *rand.Rand, i, j int) float64 {
		if j > i+1 {
			return math.NaN()
		}
		return float64(rng.IntN(5))
	},
}

// shapes are those of problems solved by scans of whole rows and by lists.
var shapes = [][2]int{{60, 60}, {40, 70}, {70, 40}, {1, 50}, {50, 1}, {130, 130}, {90, 140}, {140, 90}, {3, 200}}

// eachMatrix runs test on every kind of matrix in several shapes, minimising and maximising.
func eachMatrix(t *testing.T, test func(t *testing.T, p problem)) {
	for _, kind := range slices.Sorted(maps.Keys(matrices)) {
		at := matrices[kind]
		for _, shape := range shapes {
			for _, maximize := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d by %d/maximize=%t", kind, shape[0], shape[1], maximize), func(t *testing.T) {
					p := problem{rows: shape[0], cols: shape[1], opt: assign.Options{Maximize: maximize}}
					rng := rand.New(rand.NewPCG(5, 6))
					for i := range p.rows {
						for j := range p.cols {
							c := at(rng, i, j)
							if math.IsNaN(c) {
								c = p.forbidden()
							}
							p.cost = append(p.cost, c)
						}
					}
					test(t, p)
				})
			}
		}
	}
}

// The value is that of an algorithm that shares nothing with the package's, and the duals prove it without one.
func TestSolveEqualsHungarian(t *testing.T) {
	eachMatrix(t, func(t *testing.T, p problem) {
		sign := 1.0
		if p.opt.Maximize {
			sign = -1
		}
		at := func(i, j int) float64 { return sign * p.at(i, j) }
		if p.rows > p.cols {
			at = func(i, j int) float64 { return sign * p.at(j, i) }
		}
		want := sign * hungarian(min(p.rows, p.cols), max(p.rows, p.cols), at)
		r := p.solve(t)
		// The oracle rounds once per addition to a dual, of which there are up to rows·cols.
		if tol := float64(p.rows*p.cols) * 0x1p-50 * p.largest(); math.Abs(r.Value-want) > tol {
			t.Errorf("value %v, the Hungarian method finds %v", r.Value, want)
		}
		if whole := func(c float64) bool { return c == math.Trunc(c) }; allOf(p.cost, whole) && (r.Value != want || r.Gap != 0) {
			t.Errorf("value %v and gap %v of integers, the Hungarian method finds %v", r.Value, r.Gap, want)
		}
	})
}

func allOf(x []float64, is func(float64) bool) bool {
	return !slices.ContainsFunc(x, func(c float64) bool { return !is(c) })
}

// The certificate needs no second solver, so it holds larger problems too: those of the benchmarks, made to be maximised, in every form.
func TestCertificateOfLargerProblems(t *testing.T) {
	const n = 250
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			wide := make([]float64, n*n)
			for i, c := range kind.make(rand.New(rand.NewPCG(9, 10)), n) {
				wide[i] = float64(c)
			}
			for _, rows := range []int{n, n - 40} { // checked by solve
				problem{rows: rows, cols: n, cost: wide[:rows*n], opt: assign.Options{Maximize: true}}.solve(t)
				problem{rows: n, cols: rows, cost: wide[:rows*n]}.solve(t)
			}
		})
	}
}

// The largest sum of c is minus the smallest of -c, by the same pairs and with the duals' signs turned.
func TestMaximizeIsMinimizeOfNegative(t *testing.T) {
	eachMatrix(t, func(t *testing.T, p problem) {
		q := problem{rows: p.rows, cols: p.cols, opt: assign.Options{Maximize: !p.opt.Maximize}}
		for _, c := range p.cost {
			q.cost = append(q.cost, -c)
		}
		a, b := p.solve(t), q.solve(t)
		if a.Value != -b.Value || a.Gap != b.Gap || !slices.Equal(a.RowToCol, b.RowToCol) || !negatives(a.U, b.U) || !negatives(a.V, b.V) {
			t.Errorf("%v of value %v, negated %v of value %v", a.RowToCol, a.Value, b.RowToCol, b.Value)
		}
	})
}

func negatives(a, b []float64) bool {
	return slices.EqualFunc(a, b, func(x, y float64) bool { return x == -y })
}

// Rows and columns may change roles: the value stays.
func TestTransposition(t *testing.T) {
	eachMatrix(t, func(t *testing.T, p problem) {
		q := problem{rows: p.cols, cols: p.rows, opt: p.opt}
		for j := range p.cols {
			for i := range p.rows {
				q.cost = append(q.cost, p.at(i, j))
			}
		}
		a, b := p.solve(t), q.solve(t)
		if math.Abs(a.Value-b.Value) > p.tolerance() {
			t.Errorf("value %v, transposed %v", a.Value, b.Value)
		}
		if p.rows == p.cols {
			return
		}
		for i, j := range a.RowToCol { // one orientation is solved as the other
			if j >= 0 && b.RowToCol[j] != i {
				t.Fatalf("pair %d,%d is not one of the transposed problem", i, j)
			}
		}
	})
}

// A float32 matrix is the float64 matrix of the same numbers: the same in every bit of the result.
func TestFloat32EqualsFloat64(t *testing.T) {
	eachMatrix(t, func(t *testing.T, p problem) {
		narrow := make([]float32, len(p.cost))
		for i, c := range p.cost {
			narrow[i] = float32(c)
			p.cost[i] = float64(narrow[i])
		}
		want := p.solve(t)
		got, err := assign.Solve(context.Background(), p.rows, p.cols, narrow, p.opt)
		if err != nil {
			t.Fatal(err)
		}
		checkSame(t, got, want)
	})
}

func checkSame(t *testing.T, got, want *assign.Result) {
	t.Helper()
	if got.Value != want.Value || got.Gap != want.Gap || !slices.Equal(got.RowToCol, want.RowToCol) ||
		!slices.Equal(got.U, want.U) || !slices.Equal(got.V, want.V) {
		t.Errorf("got %+v, want %+v", *got, *want)
	}
}

// A solver remembers nothing: a problem has one result, whatever came before, and the memory of problems before it suffices.
func TestSolverIsReusable(t *testing.T) {
	var solver assign.Solver[float64]
	eachMatrix(t, func(t *testing.T, p problem) {
		want := p.solve(t)
		input := slices.Clone(p.cost)
		var got *assign.Result
		solve := func() {
			var err error
			if got, err = solver.Solve(context.Background(), p.rows, p.cols, p.cost, p.opt); err != nil {
				t.Fatal(err)
			}
		}
		solve()
		checkSame(t, got, want)
		if allocations := testing.AllocsPerRun(3, solve); allocations != 0 {
			t.Errorf("%v allocations once warm", allocations)
		}
		if !slices.Equal(p.cost, input) {
			t.Error("the matrix was written to")
		}
	})
}

// The identity is optimal where every reduced cost of the diagonal is zero and no other is negative; sums of random duals make
// such a matrix with ties wherever the surplus is zero. Rounded sums would not tell; integers do, exactly.
func TestIdentityWhereOptimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(1, 40), rapid.IntRange(128, 140)).Draw(t, "n")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		p := problem{rows: n, cols: n + rapid.IntRange(0, 5).Draw(t, "free")}
		u, v := make([]int, p.rows), make([]int, p.cols)
		for i := range u {
			u[i], v[i] = rng.IntN(1000)-500, -rng.IntN(1000)
		}
		for i := range p.rows {
			for j := range p.cols {
				surplus := max(0, rng.IntN(20)-10)
				if i == j {
					surplus = 0
				}
				p.cost = append(p.cost, float64(u[i]+v[j]+surplus)*0x1p-40)
			}
		}
		if r := p.solve(t); !p.isIdentity(r.RowToCol) || r.Gap != 0 {
			t.Errorf("%v and gap %v where the identity is optimal", r.RowToCol, r.Gap)
		}
	})
}

// Sums that differ by less than a float64 of their size can hold still decide for the identity, and against it.
func TestIdentityBelowRounding(t *testing.T) {
	const tiny = 0x1p-70
	p := problem{rows: 2, cols: 2, cost: []float64{1, tiny, tiny, -1}} // identity 0, the other 2·tiny
	if r := p.solve(t); !p.isIdentity(r.RowToCol) || r.Value != 0 {
		t.Errorf("%v of value %v, want the identity of value 0", r.RowToCol, r.Value)
	}
	p = problem{rows: 3, cols: 3, cost: []float64{
		1, 0, 9,
		0, tiny, 9,
		9, 9, -1,
	}} // identity tiny, the other -1
	if r := p.solve(t); p.isIdentity(r.RowToCol) || r.Value != -1 {
		t.Errorf("%v of value %v, want the swap of value -1", r.RowToCol, r.Value)
	}
}

// Whatever prices a search starts from, it finds an optimum; from the right ones the same one at once.
func TestStartingPrices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(1, 30), rapid.IntRange(128, 140)).Draw(t, "n")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		cold := problem{rows: n, cols: n, opt: assign.Options{Maximize: rapid.Bool().Draw(t, "maximize")}}
		for range n * n {
			cold.cost = append(cold.cost, rng.NormFloat64())
		}
		want := cold.solve(t)
		warm := cold
		warm.opt.Prices = slices.Clone(want.V)
		scale := rapid.SampledFrom([]float64{0, 1e-3, 1, 1e12}).Draw(t, "scale")
		for j := range warm.opt.Prices {
			warm.opt.Prices[j] += 1e3 + scale*rng.NormFloat64() // a common shift is no change
		}
		if got := warm.solve(t); !slices.Equal(got.RowToCol, want.RowToCol) || got.Value != want.Value {
			t.Errorf("%v of value %v from prices, %v of value %v without", got.RowToCol, got.Value, want.RowToCol, want.Value)
		}
	})
}

// A solver's own V is a legitimate start for its next problem though it lies in the memory that the problem overwrites.
func TestStartingPricesOfTheSameSolver(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	p := problem{rows: 40, cols: 40, cost: make([]float64, 1600), opt: assign.Options{Maximize: true}}
	for i := range p.cost {
		p.cost[i] = rng.NormFloat64()
	}
	var solver assign.Solver[float64]
	for range 5 {
		r, err := solver.Solve(context.Background(), p.rows, p.cols, p.cost, p.opt)
		if err != nil {
			t.Fatal(err)
		}
		p.checkCertificate(t, r)
		fresh := p
		fresh.opt.Prices = nil
		if want := fresh.solve(t); !slices.Equal(r.RowToCol, want.RowToCol) {
			t.Errorf("%v, want %v", r.RowToCol, want.RowToCol)
		}
		p.opt.Prices = r.V
		for i := range p.cost {
			p.cost[i] += .05 * rng.NormFloat64()
		}
	}
}

func TestEmpty(t *testing.T) {
	for _, shape := range [][2]int{{0, 0}, {0, 3}, {3, 0}} {
		p := problem{rows: shape[0], cols: shape[1]}
		r := p.solve(t)
		if r.Value != 0 || r.Gap != 0 || slices.Max(append(r.RowToCol, -1)) != -1 {
			t.Errorf("shape %v: %+v", shape, *r)
		}
	}
}

func TestErrors(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		name       string
		rows, cols int
		cost       []float64
		opt        assign.Options
		want       string
	}{
		{"NaN", 2, 2, []float64{0, 1, 2, nan}, assign.Options{}, "cost[1,1] is NaN"},
		{"NaN beside a forbidden pair", 2, 2, []float64{inf, nan, 2, 3}, assign.Options{}, "cost[0,1] is NaN"},
		{"infinitely good", 1, 3, []float64{0, 1, -inf}, assign.Options{}, "cost[0,2] is -Inf"},
		{"infinitely good to maximise", 3, 1, []float64{-inf, 1, inf}, assign.Options{Maximize: true}, "cost[2,0] is +Inf"},
		{"too large", 2, 2, []float64{0, 1, -1e300, 2}, assign.Options{}, "cost[1,0] is -1e+300"},
		{"too large beside a forbidden pair", 1, 2, []float64{inf, 1e300}, assign.Options{}, "cost[0,1] is 1e+300"},
		{"negative extent", -1, 2, nil, assign.Options{}, "shape [-1 2]"},
		{"short", 2, 3, make([]float64, 5), assign.Options{}, "shape [2 3] does not fit 5 costs"},
		{"long", 2, 3, make([]float64, 9), assign.Options{}, "shape [2 3] does not fit 9 costs"},
		{"costs of an empty problem", 2, 0, make([]float64, 1), assign.Options{}, "needs no costs"},
		{"overflowing shape", math.MaxInt, math.MaxInt, make([]float64, 1), assign.Options{}, "does not fit 1 costs"},
		{"prices of a rectangle", 1, 2, []float64{1, 2}, assign.Options{Prices: []float64{0, 0}}, "need a square problem"},
		{"too few prices", 2, 2, make([]float64, 4), assign.Options{Prices: []float64{0}}, "1 starting prices for 2"},
		{"no price", 1, 1, []float64{1}, assign.Options{Prices: []float64{nan}}, "price of column 0 is NaN"},
		{"NaN in a large matrix", 2, 300, append(make([]float64, 599), nan), assign.Options{}, "cost[1,299] is NaN"},
		{"NaN in a large, tall matrix", 300, 2, append(make([]float64, 599), nan), assign.Options{}, "cost[299,1] is NaN"},
		{"too large in a large matrix", 2, 300, append(make([]float64, 599), 1e300), assign.Options{}, "cost[1,299] is 1e+300"},
		{"infeasible large matrix", 2, 300, slices.Repeat([]float64{inf}, 600), assign.Options{}, assign.ErrInfeasible.Error()},
		{
			"infeasible pair of rows in a large matrix", 3, 300,
			slices.Concat([]float64{1}, slices.Repeat([]float64{inf}, 299), []float64{2}, slices.Repeat([]float64{inf}, 299), make([]float64, 300)),
			assign.Options{},
			assign.ErrInfeasible.Error(),
		},
		{"infeasible row", 2, 2, []float64{inf, inf, 1, 2}, assign.Options{}, assign.ErrInfeasible.Error()},
		{"infeasible pair of rows", 2, 3, []float64{1, inf, inf, 2, inf, inf}, assign.Options{}, assign.ErrInfeasible.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := assign.Solve(context.Background(), c.rows, c.cols, c.cost, c.opt)
			if r != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %v; want an error with %q", r, err, c.want)
			}
		})
	}
}

// A row without any allowed column is no obstacle where rows outnumber columns.
func TestForbiddenRowLeftOver(t *testing.T) {
	inf := math.Inf(1)
	p := problem{rows: 3, cols: 2, cost: []float64{5, 1, inf, inf, 1, 5}}
	if r := p.solve(t); !slices.Equal(r.RowToCol, []int{1, -1, 0}) {
		t.Errorf("%v, want [1 -1 0]", r.RowToCol)
	}
}

// countdown is a context that ends after it has been asked a number of times, so that every place which asks is tried.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestCancel(t *testing.T) {
	for _, n := range []int{30, 140} {
		t.Run(fmt.Sprint(n), func(t *testing.T) { testCancel(t, n) })
	}
}

func testCancel(t *testing.T, n int) {
	cost := make([]float64, n*n)
	for i := range cost {
		cost[i] = float64(1+i/n) * float64(1+i%n) // rank one: reduction does not finish it
	}
	var solver assign.Solver[float64]
	for left := 0; ; left++ {
		ctx := &countdown{context.Background(), left}
		r, err := solver.Solve(ctx, n, n, cost, assign.Options{})
		if err == nil {
			if left < 2*n {
				t.Errorf("done after %d checks, want one for each row and stage", left)
			}
			break
		}
		if r != nil || !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled at check %d: %v, %v", left, r, err)
		}
	}
}
