package report

import (
	"math"

	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/landscape"
)

// sampleCurves are like those of two fully connected networks on MNIST: the naive average climbs to a test loss of 1.13, the
// aligned ones stay where the models are.
func sampleCurves(points int) []landscape.Curve {
	shapes := []struct {
		name             string
		train, test, acc float64 // what the middle adds to the chord
	}{
		{"naive", 1.15, 1.05, -.245},
		{"activation", .010, .0025, -.0012},
		{"weight", -.001, -.0125, .0010},
		{"ste", .002, -.009, .0006},
	}
	var out []landscape.Curve
	for _, s := range shapes {
		c := landscape.Curve{Name: s.name}
		for _, l := range landscape.Lambdas(points) {
			hump := math.Pow(4*l*(1-l), 1.7)
			c.Points = append(c.Points, landscape.Point{
				Lambda: l,
				Train:  eval.Metrics{Loss: .0135 + .001*l + s.train*hump, Accuracy: .9958 - .0004*l + s.acc*hump},
				Test:   eval.Metrics{Loss: .0790 + .001*l + s.test*hump, Accuracy: .9805 - .0002*l + s.acc*hump},
			})
		}
		out = append(out, c)
	}
	return out
}

// samplePlane is a plane with a broad basin around two of the models and the third behind a ridge.
func samplePlane() landscape.PlaneResult {
	p := landscape.PlaneResult{Corners: [3][2]float64{{0, 0}, {62.1, 0}, {21.7, 30.4}}}
	for i := range 25 {
		p.X = append(p.X, -12.42+86.94*float64(i)/24)
		p.Y = append(p.Y, -6.08+42.56*float64(i)/24)
	}
	for _, y := range p.Y {
		var row []landscape.PlanePoint
		for _, x := range p.X {
			// the distance from the segment between the first and the third model, and from the second one
			t := min(max((x*21.7+y*30.4)/(21.7*21.7+30.4*30.4), 0), 1)
			valley := math.Hypot(x-t*21.7, y-t*30.4) / 17
			well := math.Hypot(x-62.1, y) / 17
			loss := .067 + 1.9*(1-1/(1+math.Pow(min(valley, well), 3)))
			row = append(row, landscape.PlanePoint{Train: eval.Metrics{Loss: loss - .05}, Test: eval.Metrics{Loss: loss}})
		}
		p.Grid = append(p.Grid, row)
	}
	return p
}

func sampleHistories() []History {
	var out []History
	for i, name := range []string{"model A", "model B"} {
		h := History{Name: name}
		for e := range 11 {
			x := float64(e)
			train := eval.Metrics{Loss: 2.3*math.Exp(-2.4*math.Sqrt(x)) + .0135 + .001*float64(i), Accuracy: .9958 - .89*math.Exp(-2*math.Sqrt(x))}
			test := eval.Metrics{Loss: train.Loss + .0065*x, Accuracy: train.Accuracy - .0015*x}
			h.Epochs = append(h.Epochs, Epoch{Epoch: x, Train: &train, Test: &test})
		}
		out = append(out, h)
	}
	return out
}

func sampleTraces() []Trace {
	var out []Trace
	for i, name := range []string{"seed 0", "seed 1", "seed 2"} {
		t := Trace{Name: name}
		for s := range 15 + i {
			t.Objective = append(t.Objective, 12+340*(1-math.Exp(-float64(s)/(2.5+.4*float64(i)))))
		}
		out = append(out, t)
	}
	return out
}

// must is for figures that cannot fail.
func must(f *Figure, err error) *Figure {
	if err != nil {
		panic(err)
	}
	return f
}

// sampleFigures are one of each kind.
func sampleFigures() []*Figure {
	return []*Figure{
		must(CurveFigure(CurveOptions{}, sampleCurves(25))),
		must(PlaneFigure(PlaneOptions{}, samplePlane())),
		must(TrainingFigure(TrainingOptions{}, sampleHistories())),
		must(TraceFigure(TraceOptions{}, sampleTraces())),
	}
}

func sampleDocument() Document {
	f := sampleFigures()
	return Document{
		Title: "Two networks, one basin",
		Summary: "Two 784-512-512-512-10 networks were trained on MNIST from different seeds. Averaged as they are they " +
			"compute nothing useful; with the units of one in the order of the other their average is better than either.\n\n" +
			"Best alignment: weight matching, with a midpoint test loss of 0.067.",
		Sections: []Section{
			{
				Heading: "Between the models",
				Text:    "The loss was measured at 25 mixtures of the models. A barrier is how far it rises above the ends.",
				Tables: []Table{{
					Caption: "The average of the models, and the barrier on the way (test data)",
					Header:  []string{"method", "midpoint loss", "midpoint accuracy", "barrier", "barrier (paper)"},
					Rows: [][]string{
						{"naive", "1.130", "73.54 %", "1.050", "1.050"},
						{"activation", "0.082", "97.92 %", "0.003", "0.003"},
						{"weight", "0.067", "98.14 %", "0.000", "0.001"},
						{"ste", "0.071", "98.10 %", "0.000", "0.001"},
					},
				}},
				Figures: f[:1],
				Notes:   []string{"The ends are included, so the paper's form is at least half the distance of the ends.", "Test data: 10,000 images."},
			},
			{Heading: "The plane", Text: "A, B and π(B) span a plane of weight space.", Figures: f[1:2]},
			{Heading: "Training", Figures: f[2:3]},
			{Heading: "Alignment", Text: "Weight matching climbs in a few sweeps.", Figures: f[3:]},
		},
		Meta: []Field{
			{"version", "v0.1.0"},
			{"seed", "0"},
			{"time", "71.4 s on 2 threads"},
			{"model A", "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
			{"model B", "sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"},
		},
	}
}
