package symmetry

import "github.com/rebasin/rebasin/graph"

// proofCost is how many multiplications each of the two parts of a proof may take before it makes do with fewer inputs: less than a second of float64
// in assembly, some seconds without. What is no symmetry shows on nearly every input.
const proofCost = 8e9

// leastSamples is below what no cost pushes the number of inputs.
const leastSamples = 2

// affordable is how many inputs, at most usual and at least least, may run so many times.
func affordable(g *graph.Graph, runs, usual, least int) int {
	cost := multiplications(g) * float64(max(runs, 1))
	if cost*float64(usual) <= proofCost {
		return usual
	}
	return max(least, int(proofCost/cost))
}

// multiplications estimates those of convolutions and products with parameters, for one input.
func multiplications(g *graph.Graph) float64 {
	shapes, err := g.PartialShapes()
	if err != nil {
		return 0
	}
	sum := 0.0
	for i := range g.Nodes {
		n := &g.Nodes[i]
		w, ok := g.Param(n.Input(1))
		if !ok || n.Op != "Conv" && n.Op != "Gemm" && n.Op != "MatMul" {
			continue
		}
		product := 1.0
		for _, d := range w.Shape {
			product *= float64(d.Size)
		}
		if out := shapes[n.Outputs[0]].Shape; n.Op == "Conv" && len(out) > 2 {
			for _, d := range out[2:] {
				product *= float64(d.Size)
			}
		}
		sum += product
	}
	return sum
}
