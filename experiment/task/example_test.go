package task_test

import (
	"context"
	"fmt"
	"os"

	"github.com/rebasin/rebasin/experiment/task"
)

// A plan of three tasks is executed; the second time there is nothing to do.
func Example() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	square := &task.Kind{Name: "square", Recipe: 1, Run: func(_ context.Context, job *task.Job) error {
		var x int
		if err := job.Decode(&x); err != nil {
			return err
		}
		return job.WriteResult(x * x)
	}}
	sum := &task.Kind{Name: "sum", Recipe: 1, Run: func(_ context.Context, job *task.Job) error {
		total := 0
		for _, need := range job.Needs {
			var x int
			if err := need.Result(&x); err != nil {
				return err
			}
			total += x
		}
		return job.WriteResult(total)
	}}

	plan := task.NewPlan("any machine")
	three, err := plan.Add(square, "the square of 3", 3)
	if err != nil {
		panic(err)
	}
	four, err := plan.Add(square, "the square of 4", 4)
	if err != nil {
		panic(err)
	}
	both, err := plan.Add(sum, "their sum", nil, three, four)
	if err != nil {
		panic(err)
	}

	store, err := task.Open(dir, "v1.0.0")
	if err != nil {
		panic(err) // task.ErrLocked while another process has it
	}
	defer store.Close()
	observer := func(e task.Event) {
		if e.State == task.Finished {
			fmt.Printf("%d of %d: %s\n", e.Done, e.Total, e.Task.Label)
		}
	}
	for range 2 {
		if err := store.Execute(context.Background(), plan, []*task.Task{both}, task.ExecuteOptions{Observer: observer}); err != nil {
			panic(err)
		}
	}

	artifact, _, err := store.Lookup(both.Key)
	if err != nil {
		panic(err)
	}
	var result int
	if err := artifact.Result(&result); err != nil {
		panic(err)
	}
	fmt.Println("3² + 4² =", result)
	// Output:
	// 1 of 3: the square of 3
	// 2 of 3: the square of 4
	// 3 of 3: their sum
	// 3² + 4² = 25
}
