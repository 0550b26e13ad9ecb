package assign

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/rebasin/rebasin/internal/kernel"
)

// ErrInfeasible says that every assignment uses a forbidden pair.
var ErrInfeasible = errors.New("assign: infeasible: every assignment uses a forbidden pair")

// Options changes what is solved. The zero value minimises from a cold start.
type Options struct {
	// Maximize asks for the largest sum instead of the smallest.
	Maximize bool

	// Prices are column prices to start from, one a column: usually V of a similar problem solved before. They make it faster the
	// closer they are to optimal prices of this one, never wrong: the value is the same, though among several optimal assignments
	// another may be returned. Prices out of all proportion to the costs are not used. Only square problems take them, since
	// elsewhere a free column has to cost nothing. Nil is a cold start.
	Prices []float64
}

// Result is an optimal assignment with the dual solution that proves it.
//
// When minimising, U[i] + V[j] <= c[i,j] for every pair, with equality on the pairs chosen, and the sum of all of U and V is the value:
//
//	rows <= cols    U[i] = min over j of c[i,j] - V[j];   V[j] <= 0 and 0 where column j is free, if rows < cols
//	rows >  cols    V[j] = min over i of c[i,j] - U[i];   U[i] <= 0 and 0 where row i has no column
//
// When maximising every inequality is turned round, with max for min: U[i] + V[j] >= c[i,j], and V (or U) is at least 0. The duals
// always are prices in the units of the matrix as given, never those of its negative.
type Result struct {
	// RowToCol holds the column of each row, or -1 for the rows left without one where rows outnumber columns.
	RowToCol []int

	// Value is the sum of the chosen costs, rounded once.
	Value float64

	// U and V are the duals of the rows and the columns.
	U, V []float64

	// Gap is the distance between Value and the bound that the duals prove, at least 0: no assignment is better by more than Gap.
	// It is zero but for rounding, and at most n·2⁻²²·max|c| for n the smaller side.
	Gap float64
}

// Solve finds an optimal assignment of the matrix cost with the shape [rows, cols], row-major. It returns [ErrInfeasible] where every
// assignment uses a forbidden pair, an error that names row and column for a cost which is NaN, infinitely good, or so large that
// sums could overflow, and ctx.Err() if ctx ends first. A problem with no rows or no columns has the empty assignment.
//
// Callers with many problems keep a [Solver] instead.
func Solve[T float32 | float64](ctx context.Context, rows, cols int, cost []T, opt Options) (*Result, error) {
	return new(Solver[T]).Solve(ctx, rows, cols, cost, opt)
}

// Solver solves one problem after another in the same memory. The zero value is ready. It is not safe for concurrent use.
type Solver[T float32 | float64] struct {
	problem[T]
	transposed []T // the matrix, where its rows outnumber its columns

	colOf []int32   // column of each row, or none
	rowOf []int32   // row of each column, or none
	price []float64 // dual of each column
	rent  []float64 // dual of each row, known at the end

	unplaced   []int32 // rows without a column
	tied       []int32 // rows with several best columns
	free       []int32 // columns without a row, and perhaps some that have got one since
	lists      lists[T]
	search     search
	listSearch listSearch
	few        fewSearch
	alike      alike
	sum        expansion
	result     Result
	rowToCol   []int // of result
	u, v       []float64
}

// problem is the form in which everything is solved: at most as many rows as columns, and the sum of sign·cost is to be minimised.
// What is called a cost elsewhere is sign·cost.
type problem[T float32 | float64] struct {
	n, m int
	cost []T     // shape [n, m]
	sign T       // 1, or -1 to maximise
	max  float64 // the largest finite |cost|

	checked bool // the costs
}

// row is row i of the matrix, without the sign.
func (p *problem[T]) row(i int32) []T { return p.cost[int(i)*p.m : (int(i)+1)*p.m : (int(i)+1)*p.m] }

// at is the cost of row i on column j.
func (p *problem[T]) at(i, j int32) float64 { return float64(p.sign * p.cost[int(i)*p.m+int(j)]) }

// none stands for a missing row or column.
const none = -1

// Solve is [Solve] in the memory of s. The result belongs to s and is overwritten by the next call; its V may be that call's Prices.
func (s *Solver[T]) Solve(ctx context.Context, rows, cols int, cost []T, opt Options) (*Result, error) {
	if err := s.load(ctx, rows, cols, cost, opt); err != nil {
		return nil, err
	}
	defer func() { s.cost = nil }() // the caller's memory is not kept alive
	place := s.placeByLists
	if s.m <= fewColumns {
		place = s.placeFew
	}
	if err := place(ctx); err != nil {
		return nil, err
	}
	s.preferIdentity()
	s.certify(rows > cols, opt.Maximize)
	return &s.result, nil
}

// load checks the arguments, turns the problem into the form of problem and makes the workspace ready.
func (s *Solver[T]) load(ctx context.Context, rows, cols int, cost []T, opt Options) error {
	if err := checkShape(rows, cols, len(cost)); err != nil {
		return err
	}
	if err := checkPrices(rows, cols, opt.Prices); err != nil {
		return err
	}
	s.problem = problem[T]{n: min(rows, cols), m: max(rows, cols), cost: cost, sign: 1}
	if opt.Maximize {
		s.sign = -1
	}
	s.checked = rows > cols || len(opt.Prices) > 0 // others are checked in the pass that looks at them first
	if s.checked {
		if err := s.checkCosts(ctx, cols); err != nil {
			return err
		}
	}
	if rows > cols {
		s.transposed = resize(s.transposed, len(cost))
		kernel.Transpose(s.transposed, cost, rows, cols)
		s.cost = s.transposed
	}
	s.colOf = resize(s.colOf, s.n)
	s.rowOf = resize(s.rowOf, s.m)
	s.price = resize(s.price, s.m)
	fill(s.colOf, none)
	fill(s.rowOf, none)
	s.alike.known = false
	s.setPrices(opt)
	return nil
}

// setPrices starts at zero prices or at those given. Adding a constant to all prices changes nothing, so the largest becomes zero:
// otherwise they would drift downwards from one problem of a sequence to the next.
func (s *Solver[T]) setPrices(opt Options) {
	fill(s.price, 0)
	if len(opt.Prices) == 0 {
		return
	}
	copy(s.price, opt.Prices)
	if opt.Maximize {
		for j, p := range s.price {
			s.price[j] = -p
		}
	}
	top, bottom := s.price[0], s.price[0]
	for _, p := range s.price {
		top, bottom = max(top, p), min(bottom, p)
	}
	// Prices of a wide range would cost the digits that tell costs apart. Optimal ones range over at most 2·n·max|c|, and far less
	// in practice.
	if !(top-bottom <= float64(s.n)*s.max) {
		fill(s.price, 0)
		return
	}
	for j, p := range s.price {
		s.price[j] = p - top
	}
}

// preferIdentity puts row i on column i for every i where that costs no more than the assignment found.
func (s *Solver[T]) preferIdentity() {
	s.sum.reset()
	for i := range int32(s.n) {
		j := s.colOf[i]
		if i == j {
			continue
		}
		own := s.at(i, i)
		if own > s.max { // +Inf: forbidden
			return
		}
		s.sum.add(own)
		s.sum.add(-s.at(i, j))
	}
	if s.sum.sign() > 0 {
		return
	}
	fill(s.rowOf, none)
	for i := range int32(s.n) {
		s.colOf[i], s.rowOf[i] = i, i
	}
}

// certify computes the duals of the rows and fills in the result, in the terms of the matrix as given.
func (s *Solver[T]) certify(transposed, negated bool) {
	s.rent = resize(s.rent, s.n)
	s.sum.reset()
	gap := 0.0
	for i := range int32(s.n) {
		j, least := s.colOf[i], s.least(i)
		s.rent[i] = least
		s.sum.add(s.at(i, j))
		gap += s.at(i, j) - s.price[j] - least
	}
	if s.n < s.m { // a free column still at a price would lower the bound
		for j, i := range s.rowOf {
			if i == none {
				gap -= s.price[j]
			}
		}
	}
	value, u, v, rowToCol := s.sum.round(), s.rent, s.price, s.colOf
	if transposed {
		u, v, rowToCol = v, u, s.rowOf
	}
	s.u, s.v = append(s.u[:0], u...), append(s.v[:0], v...)
	if negated {
		value = 0 - value
		negate(s.u)
		negate(s.v)
	}
	s.rowToCol = resize(s.rowToCol, len(rowToCol))
	for i, j := range rowToCol {
		s.rowToCol[i] = int(j)
	}
	s.result = Result{RowToCol: s.rowToCol, Value: value, U: s.u, V: s.v, Gap: gap}
}

// negate changes the signs of x, keeping zeros positive.
func negate(x []float64) {
	for i, v := range x {
		x[i] = 0 - v
	}
}

// checkShape says whether length elements make a matrix of rows by cols. The product is not formed: it could overflow.
func checkShape(rows, cols, length int) error {
	switch {
	case rows < 0 || cols < 0:
		return fmt.Errorf("assign: shape [%d %d] has a negative extent", rows, cols)
	case rows == 0 || cols == 0:
		if length != 0 {
			return fmt.Errorf("assign: shape [%d %d] needs no costs, got %d", rows, cols, length)
		}
	case length%cols == 0 && length/cols == rows && max(rows, cols) > math.MaxInt32:
		return fmt.Errorf("assign: shape [%d %d] has more than %d rows or columns", rows, cols, math.MaxInt32)
	case length%cols != 0 || length/cols != rows:
		return fmt.Errorf("assign: shape [%d %d] does not fit %d costs", rows, cols, length)
	}
	return nil
}
