package symmetry_test

import (
	"fmt"

	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/zoo"
)

func ExampleInfer() {
	g, err := zoo.Build(zoo.Config{Arch: "mlp", Input: []int{1, 28, 28}, Hidden: []int{512, 256}, Classes: 10, NoBias: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	sym, err := symmetry.Infer(g)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range g.Params {
		fmt.Printf("%s: %s\n", p.Name, sym.Format(sym.Layouts[p.Name]))
	}
	for _, pin := range sym.Pinned {
		fmt.Printf("axis %d of %s is pinned: %s\n", pin.Axis, pin.Tensor, pin.Why)
	}
	// Output:
	// fc1.weight: fc1 784
	// fc2.weight: fc2 fc1
	// fc3.weight: 10 fc2
	// axis 1 of fc1.weight is pinned: network input "input"
	// axis 0 of fc3.weight is pinned: network output "logits"
}
