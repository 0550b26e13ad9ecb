package checkpoint_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/tensor"
)

// Write a file of one tensor and read it again.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "model.safetensors")

	bias := tensor.FromSlice(tensor.Shape{3}, []float32{1, 2, 3})
	entry := checkpoint.Entry{
		Info: checkpoint.Info{Name: "fc1.bias", DType: tensor.F32, Shape: tensor.Shape{3}},
		Load: func() (*tensor.Tensor, error) { return bias, nil },
	}
	err = checkpoint.WriteSafetensors(context.Background(), path, []checkpoint.Entry{entry}, map[string]string{"architecture": "mlp"})
	if err != nil {
		fmt.Println(err)
		return
	}

	file, err := checkpoint.OpenSafetensors(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()
	for _, info := range file.Infos() {
		x, err := file.Read(info.Name)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(info.Name, x, tensor.Of[float32](x), file.Metadata()["architecture"])
	}
	// Output: fc1.bias F32[3] [1 2 3] mlp
}
