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

// sampleSeeds are values around a mean, the same every time.
func sampleSeeds(mean, spread float64, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = mean + spread*math.Sin(float64(3*i+1)+mean*7)
	}
	return out
}

// sampleSeedCurves are sampleCurves of three seeds.
func sampleSeedCurves() []SeedCurves {
	var out []SeedCurves
	for i, c := range sampleCurves(13) {
		s := SeedCurves{Name: c.Name}
		for seed := range 3 {
			other := landscape.Curve{Name: c.Name}
			for _, p := range c.Points {
				f := 1 + .08*math.Sin(float64(5*seed+i)+3*p.Lambda)
				p.Test.Loss *= f
				p.Train.Loss *= f
				p.Test.Accuracy -= .01 * (f - .92)
				other.Points = append(other.Points, p)
			}
			s.Seeds = append(s.Seeds, other)
		}
		out = append(out, s)
	}
	return out
}

// sampleWidths are barriers by width, of several architectures.
func sampleWidths() []SeriesPanel {
	var out []SeriesPanel
	for i, name := range []string{"MLP, MNIST", "VGG-16, CIFAR-10", "ResNet20, CIFAR-10"} {
		p := SeriesPanel{
			Title: name, XLabel: "width multiplier", YLabel: "barrier (nats)", LogX: true, Ticks: []float64{.5, 1, 2, 4, 8},
			Lines: []Line{{Y: 0}},
		}
		for k, method := range []string{"naive", "weight"} {
			s := Series{Name: method}
			for w := .5; w <= 8; w *= 2 {
				s.Samples = append(s.Samples, Sample{X: w, Y: sampleSeeds((1+float64(i))/(w+float64(k)*3*w), .1/w, 3)})
			}
			p.Series = append(p.Series, s)
		}
		out = append(out, p)
	}
	return out
}

// sampleMatchers are losses at the midpoint by method, on several pairs.
func sampleMatchers() SeriesPanel {
	p := SeriesPanel{
		XLabel: "method", YLabel: "midpoint accuracy (%)", Limit: 100,
		Categories: []string{"identity, nothing permuted", "activations", "weights", "weights, restarts", "weights from activations", "straight-through", "Frank–Wolfe", "blend", "auto"},
		Lines:      []Line{{Y: 98.1, Label: "ends"}},
	}
	for k, pair := range []string{"MLP on MNIST", "ResNet20 on CIFAR-10", "VGG-16 on CIFAR-10"} {
		s := Series{Name: pair, Unjoined: true}
		for i := range p.Categories {
			s.Samples = append(s.Samples, Sample{X: float64(i), Y: sampleSeeds(74+float64(min(i, 3))*7-float64(k), 1.5, 4)})
		}
		p.Series = append(p.Series, s)
	}
	return p
}

// sampleTimes are seconds of matching by width beside published ones.
func sampleTimes() SeriesPanel {
	s := Series{Name: "ResNet20"}
	for w := 1.; w <= 32; w *= 2 {
		s.Samples = append(s.Samples, Sample{X: w, Y: sampleSeeds(.01*w*w, .001*w*w, 3)})
	}
	return SeriesPanel{
		XLabel: "width multiplier", YLabel: "seconds", LogX: true, Ticks: []float64{1, 2, 4, 8, 16, 32}, Scale: ScaleLog,
		Series: []Series{s, {Name: "MLP", Samples: []Sample{{1, sampleSeeds(.1, .01, 3)}, {8, sampleSeeds(.7, .01, 3)}}}},
		Lines:  []Line{{Y: 33, Label: "paper, ResNet50: 33 s"}, {Y: 3, Label: "paper, MLP: 3 s"}},
		Marks:  []Mark{{X: 32, Y: 194, Label: "paper, ResNet20: 194 s"}},
	}
}

func sampleMap() Map {
	m := Map{
		RowLabel: "optimiser", ColumnLabel: "learning rate", ValueLabel: "barrier (nats)",
		Rows: []string{"SGD", "SGD with momentum", "Adam"}, Columns: []string{"1e-4", "3e-4", "1e-3", "3e-3", "1e-2", "3e-2", "1e-1"},
	}
	for r := range m.Rows {
		var row [][]float64
		var texts []string
		for k := range m.Columns {
			values := sampleSeeds(.02*math.Pow(2.3, float64((r-1)*(k-3)))+.01, .004, 3)
			text := ""
			if r == 2 && k == 6 {
				values, text = nil, "did not train"
			}
			if r == 0 && k == 0 {
				values = nil
			}
			row, texts = append(row, values), append(texts, text)
		}
		m.Values, m.Texts = append(m.Values, row), append(m.Texts, texts)
	}
	return m
}

func sampleReliability() []Reliability {
	var out []Reliability
	for i, name := range []string{"model A", "model B", "merged", "ensemble", "trained on everything"} {
		r := Reliability{Name: name}
		for b := range 15 {
			c := (float64(b) + .5) / 15
			count := 20 + b*b
			if b < 2 {
				count = 0
			}
			r.Bins = append(r.Bins, ReliabilityBin{c, min(1, max(0, c+.04*float64(i-2)*4*c*(1-c)+.02*math.Sin(float64(3*b+i)))), count})
		}
		out = append(out, r)
	}
	return out
}

// sampleRegions are classifiers between one that is right and one that is wrong in places.
func sampleRegions() (RegionsOptions, []Region) {
	var out []Region
	for _, l := range []float64{0, .25, .5, .75, 1} {
		out = append(out, Region{
			Label: []string{"model A", "λ = 0.25", "λ = 0.5", "λ = 0.75", "π(model B)"}[int(4*l)], Detail: "error 0.25",
			Predict: func(x1, x2 float64) bool { return x1 < 2*l*(1-l) && x2 > -l*(1-l)*(1+x1) },
		})
	}
	return RegionsOptions{Truth: func(x1, x2 float64) bool { return x1 < 0 && x2 > 0 }}, out
}

// sampleSeedFigures are one of each kind that shows several seeds, or several models.
func sampleSeedFigures() []*Figure {
	opt, regions := sampleRegions()
	return []*Figure{
		must(SeedCurveFigure(CurveOptions{}, sampleSeedCurves())),
		must(SeriesFigure(SeriesOptions{Title: "Barrier by width"}, sampleWidths()...)),
		must(SeriesFigure(SeriesOptions{Title: "Methods"}, sampleMatchers())),
		must(SeriesFigure(SeriesOptions{Title: "Time of weight matching"}, sampleTimes())),
		must(MapFigure(MapOptions{Title: "Barrier by optimiser"}, sampleMap())),
		must(CalibrationFigure(CalibrationOptions{}, sampleReliability())),
		must(RegionsFigure(opt, regions)),
	}
}

// sampleResults is a page of several experiments.
func sampleResults() Document {
	f := sampleSeedFigures()
	widths := Claim{
		Text: "The barrier between two networks falls as they get wider.", Source: "section 5.3, figure 4", Outcome: Holds,
		Verdict: "After weight matching the barrier falls from 0.43 ± 0.12 at half the width to 0.03 ± 0.01 at eight times, in all 3 seeds.",
		Rule:    "holds if the widest barrier is below the narrowest by more than two standard errors; does not hold if it is above by as much.",
	}
	fails := Claim{
		Text: "Weight matching finds the optimum in a single pass.", Source: "appendix A.7.2", Outcome: DoesNotHold,
		Verdict: "One pass leaves an objective of 12.1, coordinate descent reaches 14.9.", Rule: "holds if no later pass gains.",
	}
	open := Claim{
		Text: "A ResNet20 merges without a barrier at 32 times the width.", Source: "figure 2",
		Verdict: "The ends reach 61 %, 75 % are needed.",
	}
	return Document{
		Title:   "The experiments of Git Re-Basin",
		Summary: "Preset laptop, three seeds each, two cores.",
		Sections: []Section{
			{
				ID: "interpolation", Heading: "Interpolation", Text: "Two models of each kind, the way between them, all methods.",
				Claims: []Claim{open}, Command: "rebasin experiment run interpolation --preset laptop --seeds 0,1,2 --data-dir /srv/data --out results/interpolation",
				Figures: f[:1], NotRun: []NotRun{{"CIFAR-100", "its files are not there: cifar-100-binary.tar.gz was looked for in 5 places"}},
			},
			{
				ID: "width", Heading: "Width", Claims: []Claim{widths}, Command: "rebasin experiment run width", Figures: f[1:2],
				Comparisons: []Comparison{
					{"barrier of the ResNet20, width 32, test", "≈ 0", "0.31 ± 0.04 (width 2)", "narrower, 20 epochs instead of 250"},
					{"accuracy of the ResNet20, width 32", "94.7 %", "81.2 ± 0.3 %", ""},
				},
				Files: []File{{"width.csv", "text/csv", []byte("a,b\r\n1,2\r\n")}},
				Meta:  []Field{{"seeds", "0, 1, 2"}, {"instruction set", "AVX-512"}},
			},
			{ID: "matchers", Heading: "Methods", Claims: []Claim{open, widths}, Figures: f[2:3], Tables: []Table{{
				Caption: "Objective, barrier and time by method",
				Header:  []string{"method", "objective", "barrier (train)", "barrier (test)", "midpoint accuracy", "seconds", "sweeps"},
				Rows: [][]string{
					{"identity", "101.3 ± 1.1", "1.150 ± 0.020", "1.050 ± 0.018", "73.54 ± 0.9 %", "0", "0"},
					{"weights from activations", "298.0 ± 2.0", "0.001 ± 0.001", "0.000 ± 0.001", "98.14 ± 0.03 %", "0.41 ± 0.02", "12"},
				},
			}}},
			{ID: "planted", Heading: "Planted permutations, and the time of weight matching", Claims: []Claim{fails}, Figures: f[3:4]},
			{ID: "failures", Heading: "Failures", Figures: f[4:5]},
			{ID: "merge-many", Heading: "Merging many", Figures: f[5:6]},
			{ID: "counterexample", Heading: "A counterexample", Figures: f[6:]},
			{ID: "split-data", Heading: "Split data", NotRun: []NotRun{{"everything", "CIFAR-10 and Fashion-MNIST are not there"}}},
		},
		Meta: []Field{{"version", "v0.1.0"}, {"instruction set", "AVX-512"}},
	}
}
