package tensor_test

import (
	"fmt"

	"github.com/rebasin/rebasin/tensor"
)

// Swap the two units of a layer in half precision, then look at the values.
func Example() {
	weight, err := tensor.FromSlice(tensor.Shape{2, 3}, []float32{1, 2, 3, 4, 5, 6}).Convert(tensor.F16)
	if err != nil {
		fmt.Println(err)
		return
	}
	swapped, err := weight.Take(0, []int32{1, 0})
	if err != nil {
		fmt.Println(err)
		return
	}
	values, err := swapped.Convert(tensor.F32)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(swapped, tensor.Of[float32](values))
	// Output: F16[2 3] [4 5 6 1 2 3]
}
