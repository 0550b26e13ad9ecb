package assign_test

import (
	"context"
	"fmt"

	"github.com/rebasin/rebasin/assign"
)

func ExampleSolve() {
	// What each of three workers (rows) asks for each of three jobs (columns).
	cost := []float64{
		4, 1, 3,
		2, 0, 5,
		3, 2, 2,
	}
	r, err := assign.Solve(context.Background(), 3, 3, cost, assign.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("jobs:", r.RowToCol, "cost:", r.Value, "gap:", r.Gap)
	// Output: jobs: [1 0 2] cost: 5 gap: 0
}

// More units than places: the similarities of three units (rows) with two others (columns), the best two pairs.
func ExampleSolve_rectangular() {
	similarity := []float32{
		.1, .9,
		.2, .3,
		.8, .7,
	}
	r, err := assign.Solve(context.Background(), 3, 2, similarity, assign.Options{Maximize: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("pairs: %v value: %.1f\n", r.RowToCol, r.Value)
	// Output: pairs: [1 -1 0] value: 1.7
}

// A sequence of problems that change little: one solver, and each starts from the prices of the one before.
func ExampleSolver() {
	var solver assign.Solver[float32]
	opt := assign.Options{Maximize: true}
	similarity := []float32{
		.2, .9,
		.8, .7,
	}
	for range 3 {
		r, err := solver.Solve(context.Background(), 2, 2, similarity, opt)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(r.RowToCol)
		opt.Prices = r.V
		similarity[0] += .5
	}
	// Output:
	// [1 0]
	// [1 0]
	// [0 1]
}
