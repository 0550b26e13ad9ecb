package symmetry

import (
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

// Multiplications per image as the papers count them: ResNet20 41 million (with projections of 1x1; less without), ResNet50 4.1 billion, VGG16 for
// CIFAR .31 billion.
func TestProofsAreAffordable(t *testing.T) {
	for _, c := range []struct {
		cfg     zoo.Config
		cost    float64 // millions, within 3 %
		samples int
	}{
		{zoo.Config{Arch: "mlp", Input: []int{784}, Classes: 10}, .93, defaultSamples},
		{zoo.Config{Arch: "resnet20", Shortcut: "conv1", Classes: 10}, 41, defaultSamples},
		{zoo.Config{Arch: "vgg16", Classes: 10}, 313, 6},
		{zoo.Config{Arch: "resnet50", Classes: 1000}, 4090, leastSamples},
	} {
		g, err := zoo.Build(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := multiplications(g) / 1e6; got < .97*c.cost || got > 1.03*c.cost {
			t.Errorf("%s: %g million multiplications, want %g", c.cfg.Arch, got, c.cost)
		}
		if got := affordable(g, verifyRuns, defaultSamples, leastSamples); got != c.samples {
			t.Errorf("%s: %d samples, want %d", c.cfg.Arch, got, c.samples)
		}
	}
}

// A costly network is proven on one axis of each group, and the proof says how many axes it left untried.
func TestCostlyProof(t *testing.T) {
	b := graph.NewBuilder("costly")
	x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(1), graph.Fixed(1800), graph.Fixed(1800))
	x = b.Relu("h1", b.Conv2D("c1", x, b.Param("c1.weight", 24, 1, 1, 1), b.Param("c1.bias", 24), graph.ConvOptions{Stride: 1}))
	x = b.Relu("h2", b.Conv2D("c2", x, b.Param("c2.weight", 24, 24, 1, 1), b.Param("c2.bias", 24), graph.ConvOptions{Stride: 1}))
	b.Output(b.Linear("y", b.Flatten("flat", b.GlobalAveragePool("mean", x), 1), "fc", 2, 24, true))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Infer(g)
	if err != nil {
		t.Fatal(err)
	}
	specs := map[string]nn.ParamSpec{}
	for _, p := range g.Params {
		specs[p.Name] = nn.ParamSpec{Name: p.Name}
	}
	v := &verifier{run: &verifyRun{specs: specs}, symmetry: s, seen: map[AxisRef]bool{}, proof: &Proof{}}
	v.economise(g)
	if !v.sparing || v.run.fewRows != 2 {
		t.Fatalf("sparing %v, %d inputs", v.sparing, v.run.fewRows)
	}
	for _, ref := range v.refs() {
		if ref.Tensor == "c1.weight" || ref.Tensor == "c1.bias" || ref.Tensor == "fc.weight" {
			v.seen[ref] = ref.Tensor != "c1.bias"
		}
	}
	v.conclude()
	if v.proof.Untried != 3 || len(v.proof.Inert) != 1 || len(v.proof.Unproven) > 0 {
		t.Errorf("%+v: c1 on axis 1 of c2.weight, c2 on its axis 0 and on c2.bias are untried", v.proof)
	}
}
