package experiment

import (
	"context"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/zoo"
)

// cost is how many floating-point operations a network takes for one sample, and how many samples it is trained on: for estimates, 0 where it is not known.
func (l *Lab) cost(cfg zoo.Config, d Data) (flops float64, samples int) {
	ctx := context.Background()
	_, g, err := l.network(ctx, cfg, d)
	if err != nil {
		return 0, 0
	}
	set, err := l.open(ctx, d, dataset.Train)
	if err != nil {
		return 0, 0
	}
	samples = set.Len()
	if d.Limit > 0 {
		samples = min(samples, d.Limit)
	}
	return forwardFLOPs(g), samples
}

// forwardFLOPs counts multiplications and additions of products and convolutions on one sample, which take nearly all of the time.
func forwardFLOPs(g *graph.Graph) float64 {
	shapes, err := g.InferShapes()
	if err != nil {
		return 0
	}
	size := func(name string, skip int) float64 {
		n := 1.0
		for _, d := range shapes[name].Shape[skip:] {
			n *= float64(max(1, d.Size))
		}
		return n
	}
	total := 0.0
	for _, n := range g.Nodes {
		if n.Op != "Conv" && n.Op != "Gemm" && n.Op != "MatMul" {
			continue
		}
		w := shapes[n.Inputs[1]].Shape
		if len(w) < 2 {
			continue
		}
		// Each element of the output, the batch left out, is a product over all axes of the weight but that of the outputs.
		total += 2 * size(n.Outputs[0], 1) * size(n.Inputs[1], 1)
	}
	return total
}
