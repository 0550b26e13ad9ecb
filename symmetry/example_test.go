package symmetry_test

import (
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// A specification file says which axes move together; applying an alignment permutes them.
func Example() {
	shapes := map[string]tensor.Shape{"fc1.weight": {3, 2}, "fc1.bias": {3}, "fc2.weight": {1, 3}}
	sym, err := symmetry.ParseSpec([]byte("layouts:\n  fc1.weight: h1 _\n  fc1.bias: h1\n  fc2.weight: _ h1\n"), shapes)
	if err != nil {
		fmt.Println(err)
		return
	}
	tensors := map[string]*tensor.Tensor{
		"fc1.weight": tensor.FromSlice(shapes["fc1.weight"], []float32{1, 2, 3, 4, 5, 6}),
		"fc1.bias":   tensor.FromSlice(shapes["fc1.bias"], []float32{10, 20, 30}),
		"fc2.weight": tensor.FromSlice(shapes["fc2.weight"], []float32{100, 200, 300}),
	}
	// Unit i of the result is unit p[i] of the source.
	a := &symmetry.Alignment{Perms: map[string][]int32{"h1": {2, 0, 1}}}
	out, err := sym.Apply(a, tensors)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, name := range []string{"fc1.weight", "fc1.bias", "fc2.weight"} {
		fmt.Println(name, tensor.Of[float32](out[name]))
	}
	// Output:
	// fc1.weight [5 6 1 2 3 4]
	// fc1.bias [30 10 20]
	// fc2.weight [300 100 200]
}

// Attention: heads change places, and the dimensions inside each head do so on their own.
func ExampleParseSpec() {
	sym, err := symmetry.ParseSpec([]byte(`
layouts:
  qkv.weight: ((heads dk[heads]) + (heads dk[heads]) + (heads dv[heads])) d
  out.weight: d (heads dv[heads])
sizes: {heads: 12}
`), map[string]tensor.Shape{"qkv.weight": {2304, 768}, "out.weight": {768, 768}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, g := range sym.Groups {
		fmt.Println(g.Name, g.Size, g.Parents)
	}
	// Output:
	// heads 12 []
	// dk 64 [heads]
	// dv 64 [heads]
	// d 768 []
}

func ExampleSymmetry_Log10() {
	sym, err := symmetry.ParseSpec([]byte("layouts: {fc1.weight: h1 _, fc2.weight: h2 h1, fc3.weight: h3 h2, fc4.weight: _ h3}"),
		map[string]tensor.Shape{"fc1.weight": {512, 784}, "fc2.weight": {512, 512}, "fc3.weight": {512, 512}, "fc4.weight": {10, 512}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("10^%.2f\n", sym.Log10())
	// Output: 10^3499.62
}

func ExampleSymmetry_Compose() {
	sym, err := symmetry.ParseSpec([]byte("layouts: {w: h}"), map[string]tensor.Shape{"w": {4}})
	if err != nil {
		fmt.Println(err)
		return
	}
	a := sym.Random(rand.New(rand.NewPCG(1, 2)))
	fmt.Println(sym.IsIdentity(a), sym.IsIdentity(sym.Compose(a, sym.Invert(a))))
	// Output: false true
}

func ExampleSymmetry_PythonAxes() {
	sym, err := symmetry.ParseSpec([]byte("layouts: {fc1.weight: h1 _, fc1.bias: h1}"),
		map[string]tensor.Shape{"fc1.weight": {512, 784}, "fc1.bias": {512}})
	if err != nil {
		fmt.Println(err)
		return
	}
	axes, err := sym.PythonAxes()
	fmt.Print(string(axes), err)
	// Output:
	// {
	//   "fc1.bias": ["h1"],
	//   "fc1.weight": ["h1",null]
	// }
	// <nil>
}

func ExampleWriteAlignment() {
	sym, err := symmetry.ParseSpec([]byte("layouts: {w: h}"), map[string]tensor.Shape{"w": {3}})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = symmetry.WriteAlignment(os.Stdout, sym, &symmetry.Alignment{Perms: map[string][]int32{"h": {2, 0, 1}}})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// {
	// "format": "rebasin alignment",
	// "version": 1,
	// "groups": [
	// {"name": "h", "size": 3, "parents": [], "perm": [2,0,1]}
	// ]
	// }
}
