package model_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/tensor"
)

// A checkpoint from elsewhere says nothing about its network. Told that it is an mlp, the sizes are read from the tensors.
func ExampleOpen() {
	if err := openPlain(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// graph known: false
	// graph known: true, input [4], hidden [3], 2 classes
	// fc1: 3 units
}

func openPlain() error {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "net.safetensors")
	tensors := map[string]*tensor.Tensor{
		"fc1.weight": tensor.FromSlice(tensor.Shape{3, 4}, []float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}),
		"fc2.weight": tensor.FromSlice(tensor.Shape{2, 3}, []float32{1, 2, 3, 4, 5, 6}),
	}
	if err := model.Save(ctx, path, tensors, nil, nil); err != nil {
		return err
	}

	unknown, err := model.Open(path, model.Options{})
	if err != nil {
		return err
	}
	defer unknown.Close()
	fmt.Println("graph known:", unknown.Graph != nil)

	mlp, err := model.Open(path, model.Options{Arch: "mlp"})
	if err != nil {
		return err
	}
	defer mlp.Close()
	fmt.Printf("graph known: %v, input %v, hidden %v, %d classes\n", mlp.Graph != nil, mlp.Config.Input, mlp.Config.Hidden, mlp.Config.Classes)

	sym, err := model.Symmetry(ctx, mlp)
	if err != nil {
		return err
	}
	for _, g := range sym.Groups {
		fmt.Printf("%s: %d units\n", g.Name, g.Size)
	}
	return nil
}
