package merge_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/tensor"
)

// A merge is planned from the headers of two models, can be looked at, and is then written tensor by tensor.
func ExampleNewPlan() {
	if err := planAndExecute(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// fc1.weight F32 [2 2] combine
	// λ 0.25, 16 bytes of output, at most 48 bytes of tensors at once
	// F32[2 2] [1 1 1.5 4]
}

func planAndExecute() error {
	model := func(name string, weights ...float32) merge.Source {
		w := tensor.FromSlice(tensor.Shape{2, 2}, weights)
		return merge.Source{
			Name:  name,
			Infos: []checkpoint.Info{{Name: "fc1.weight", DType: w.DType(), Shape: w.Shape()}},
			Load:  func(string) (*tensor.Tensor, error) { return w, nil },
		}
	}
	plan, err := merge.NewPlan([]merge.Source{model("a", 1, 0, 1, 4), model("b", 1, 4, 3, 4)}, merge.Lerp, []float64{3, 1})
	if err != nil {
		return err
	}
	for _, s := range plan.Tensors {
		fmt.Println(s.Name, s.DType, s.Shape, s.Action)
	}

	folder, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "merged.safetensors")
	memory, err := plan.Memory(path)
	if err != nil {
		return err
	}
	fmt.Printf("λ %v, %d bytes of output, at most %d bytes of tensors at once\n", plan.Weights[1], plan.Bytes, memory)
	if err := plan.Execute(context.Background(), path, checkpoint.Metadata{}, nil); err != nil {
		return err
	}
	merged, err := checkpoint.OpenSafetensors(path)
	if err != nil {
		return err
	}
	defer merged.Close()
	w, err := merged.Read("fc1.weight")
	if err != nil {
		return err
	}
	fmt.Println(w, tensor.Of[float32](w))
	return nil
}

// Half way on the great circle between two orthogonal vectors of length 5 the length is still 5; on the straight line it is 3.5.
func ExampleCombine() {
	a, b := tensor.FromSlice(tensor.Shape{2}, []float64{5, 0}), tensor.FromSlice(tensor.Shape{2}, []float64{0, 5})
	for _, method := range merge.Methods() {
		c, err := merge.Combine(method, "w", a, b, .5)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s %.3f\n", method, tensor.Of[float64](c))
	}
	// Output:
	// lerp [2.500 2.500]
	// slerp [3.536 3.536]
}

// The loss between two models is lowest somewhere on the way, not always in the middle.
func ExampleSearchLambda() {
	loss := func(lambda float64) (float64, error) { return .08 + (lambda-.4)*(lambda-.4), nil }
	lambda, best, err := merge.SearchLambda(loss)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("λ %.2f, loss %.3f\n", lambda, best)
	// Output: λ 0.40, loss 0.080
}
