package eval_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// samples are vectors with labels.
type samples struct {
	size, classes int
	x             []float32
	labels        []int32
}

func (s *samples) Len() int     { return len(s.labels) }
func (s *samples) Shape() []int { return []int{s.size} }
func (s *samples) Classes() int { return s.classes }

func (s *samples) Fill(indices []int, x []float32, labels []int32) {
	for row, i := range indices {
		copy(x[row*s.size:(row+1)*s.size], s.x[i*s.size:])
		labels[row] = s.labels[i]
	}
}

func randomSamples(n, size, classes int, seed uint64) *samples {
	rng := rand.New(rand.NewPCG(seed, 1))
	s := &samples{size: size, classes: classes, x: make([]float32, n*size), labels: make([]int32, n)}
	for i := range s.x {
		s.x[i] = float32(rng.NormFloat64())
	}
	for i := range s.labels {
		s.labels[i] = int32(rng.IntN(classes))
	}
	return s
}

// identity is the network whose logits are its inputs, so that a test can say what the logits are.
func identity(t testing.TB, classes int) *eval.Runner {
	t.Helper()
	b := graph.NewBuilder("identity")
	x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(classes))
	b.Output(b.Op("Identity", "y", nil, x))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return runner(t, g, 1)
}

func runner(t testing.TB, g *graph.Graph, threads int) *eval.Runner {
	t.Helper()
	r, err := eval.NewRunner(g, threads)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func mlp(t testing.TB, seed uint64) (*graph.Graph, map[string]*tensor.Tensor) {
	t.Helper()
	cfg := zoo.Config{Arch: "mlp", Input: []int{6}, Hidden: []int{9, 7}, Classes: 4}
	g, err := zoo.Build(cfg)
	if err != nil {
		t.Fatal(err)
	}
	params, err := zoo.Init(g, cfg, seed)
	if err != nil {
		t.Fatal(err)
	}
	return g, params
}

// TestMetricsEqualDefinition compares with sums written down naively, on sets that the batch does and does not divide.
func TestMetricsEqualDefinition(t *testing.T) {
	ctx := context.Background()
	r := identity(t, 6)
	for _, n := range []int{1, 7, eval.DefaultBatch - 1, eval.DefaultBatch, eval.DefaultBatch + 1, 3*eval.DefaultBatch + 17} {
		d := randomSamples(n, 6, 6, uint64(n))
		var loss, correct, top float64
		for i, label := range d.labels {
			row := d.x[i*6 : (i+1)*6]
			var sum float64
			larger := 0
			for _, z := range row {
				sum += math.Exp(float64(z))
				if z > row[label] {
					larger++
				}
			}
			loss += math.Log(sum) - float64(row[label])
			if larger == 0 {
				correct++
			}
			if larger < 3 {
				top++
			}
		}
		m, err := r.Evaluate(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		rep, err := r.Report(ctx, d, 3)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(m.Loss-loss/float64(n)) > 1e-12*loss || m.Accuracy != correct/float64(n) || m.Count != n {
			t.Errorf("%d samples: %+v, want loss %v and %v correct", n, m, loss/float64(n), correct)
		}
		if rep.Metrics != m || rep.TopK != top/float64(n) || rep.K != 3 {
			t.Errorf("%d samples: report %+v, want %+v and %v in the top 3", n, rep, m, top)
		}
	}
}

// TestTopKTies lists rows of logits; the label is always 1 of 4.
func TestTopKTies(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	r := identity(t, 4)
	for name, tt := range map[string]struct {
		row  []float32
		rank int // the smallest k that finds the label, 5 for never
	}{
		"first":                {[]float32{0, 3, 1, 2}, 1},
		"second":               {[]float32{4, 3, 1, 2}, 2},
		"last":                 {[]float32{4, 0, 1, 2}, 4},
		"a tie counts against": {[]float32{3, 3, 1, 2}, 2},
		"a tie behind too":     {[]float32{0, 3, 3, 2}, 2},
		"all equal":            {[]float32{1, 1, 1, 1}, 4},
		"infinite":             {[]float32{0, inf, 1, 2}, 1},
		"NaN elsewhere":        {[]float32{nan, 3, 1, 2}, 2},
		"NaN at the label":     {[]float32{0, nan, 1, 2}, 4},
		"all NaN":              {[]float32{nan, nan, nan, nan}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			d := &samples{size: 4, classes: 4, x: tt.row, labels: []int32{1}}
			for k := 1; k <= 4; k++ {
				rep, err := r.Report(context.Background(), d, k)
				if err != nil {
					t.Fatal(err)
				}
				if got := rep.TopK == 1; got != (k >= tt.rank) {
					t.Errorf("top %d: %v", k, rep.TopK)
				}
			}
		})
	}
}

// TestDefaultTopK cuts k to the classes there are.
func TestDefaultTopK(t *testing.T) {
	for classes, want := range map[int]int{3: 3, 8: 5} {
		rep, err := identity(t, classes).Report(context.Background(), randomSamples(10, classes, classes, 1), 0)
		if err != nil {
			t.Fatal(err)
		}
		if rep.K != want {
			t.Errorf("k is %d for %d classes, want %d", rep.K, classes, want)
		}
	}
}

// TestCalibrationByHand: two classes and logits (log p, log(1-p)), so that the confidence is p.
func TestCalibrationByHand(t *testing.T) {
	row := func(p float64) []float32 { return []float32{float32(math.Log(p)), float32(math.Log(1 - p))} }
	d := &samples{size: 2, classes: 2}
	for _, s := range []struct {
		p     float64
		label int32
	}{
		// Bin (9/15, 10/15] = (.6, .667]: confidences .61 and .65, one hit: |1 - 1.26| = .26.
		{.61, 0},
		{.65, 1},
		// Bin (12/15, 13/15] = (.8, .867]: .81, .82, .86, all hits: |3 - 2.49| = .51.
		{.81, 0},
		{.82, 0},
		{.86, 0},
		// The last bin: .99, a miss.
		{.99, 1},
	} {
		d.x, d.labels = append(d.x, row(s.p)...), append(d.labels, s.label)
	}
	rep, err := identity(t, 2).Report(context.Background(), d, 1)
	if err != nil {
		t.Fatal(err)
	}
	if want := (.26 + .51 + .99) / 6; math.Abs(rep.CalibrationError-want) > 1e-6 {
		t.Errorf("calibration error %v, want %v", rep.CalibrationError, want)
	}
}

// TestCalibrationExtremes: a network that is certain and right, one that is certain and wrong, one that says nothing.
func TestCalibrationExtremes(t *testing.T) {
	nan := float32(math.NaN())
	r := identity(t, 3)
	for name, tt := range map[string]struct {
		row  []float32
		want float64
	}{
		"right":   {[]float32{200, 0, 0}, 0},
		"wrong":   {[]float32{0, 200, 0}, 1},
		"guess":   {[]float32{0, 0, 0}, 2. / 3}, // confidence 1/3, and the first of equals is a hit
		"nothing": {[]float32{nan, 0, 0}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			rep, err := r.Report(context.Background(), &samples{size: 3, classes: 3, x: tt.row, labels: []int32{0}}, 1)
			if err != nil {
				t.Fatal(err)
			}
			if math.Abs(rep.CalibrationError-tt.want) > 1e-12 {
				t.Errorf("calibration error %v, want %v", rep.CalibrationError, tt.want)
			}
			if name == "nothing" && (!math.IsNaN(rep.Loss) || rep.Accuracy != 0) {
				t.Errorf("a NaN measures as %+v", rep)
			}
		})
	}
}

// TestThreadsDoNotMatter measures a network of some size on one, two and three threads: every bit is the same.
func TestThreadsDoNotMatter(t *testing.T) {
	ctx := context.Background()
	cfg := zoo.Config{Arch: "mlp", Input: []int{40}, Hidden: []int{130, 70}, Classes: 10}
	g, err := zoo.Build(cfg)
	if err != nil {
		t.Fatal(err)
	}
	params, err := zoo.Init(g, cfg, 1)
	if err != nil {
		t.Fatal(err)
	}
	d := randomSamples(1234, 40, 10, 2)
	var want eval.Report
	for threads := 1; threads <= 3; threads++ {
		r := runner(t, g, threads)
		if err := r.SetParams(params); err != nil {
			t.Fatal(err)
		}
		got, err := r.Report(ctx, d, 5)
		if err != nil {
			t.Fatal(err)
		}
		if threads == 1 {
			want = got
		}
		if got != want {
			t.Errorf("%d threads: %+v, one: %+v", threads, got, want)
		}
	}
}

// TestRunnerIsUsedAgain for other data and other parameters: nothing of what came before is left.
func TestRunnerIsUsedAgain(t *testing.T) {
	ctx := context.Background()
	g, first := mlp(t, 1)
	_, second := mlp(t, 2)
	shared := runner(t, g, 2)
	for i, params := range []map[string]*tensor.Tensor{first, second, first} {
		for _, n := range []int{700, 3, 520} {
			d := randomSamples(n, 6, 4, uint64(n+i))
			fresh := runner(t, g, 2)
			var got, want eval.Report
			for r, into := range map[*eval.Runner]*eval.Report{shared: &got, fresh: &want} {
				if err := r.SetParams(params); err != nil {
					t.Fatal(err)
				}
				var err error
				if *into, err = r.Report(ctx, d, 2); err != nil {
					t.Fatal(err)
				}
			}
			if got != want {
				t.Errorf("%d samples: %+v, a new runner: %+v", n, got, want)
			}
		}
	}
}

func TestLogits(t *testing.T) {
	d := randomSamples(eval.DefaultBatch+20, 3, 3, 1)
	var all []float32
	var counts []int
	err := identity(t, 3).Logits(context.Background(), d, func(logits []float32, batch int) error {
		all, counts = append(all, logits...), append(counts, batch)
		return nil
	})
	if err != nil || !slices.Equal(all, d.x) || !slices.Equal(counts, []int{eval.DefaultBatch, 20}) {
		t.Errorf("error %v, batches %v, %d logits", err, counts, len(all))
	}
	stop := errors.New("enough")
	if err := identity(t, 3).Logits(context.Background(), d, func([]float32, int) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error %v, want that of visit", err)
	}
}

func TestErrors(t *testing.T) {
	ctx := context.Background()
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	r := identity(t, 3)
	g, params := mlp(t, 1)
	for name, tt := range map[string]struct {
		ctx  context.Context
		data *samples
		want string
	}{
		"empty":     {ctx, &samples{size: 3, classes: 3}, "the data set is empty"},
		"classes":   {ctx, randomSamples(5, 3, 4, 1), "the network gives 3 outputs per sample, the data has 4 classes"},
		"shape":     {ctx, randomSamples(5, 4, 4, 1), "elements"},
		"cancelled": {cancelled, randomSamples(5, 3, 3, 1), context.Canceled.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := r.Evaluate(tt.ctx, tt.data)
			if err == nil || !strings.Contains(err.Error(), tt.want) || m != (eval.Metrics{}) {
				t.Errorf("Evaluate: %+v, error %v, want %q", m, err, tt.want)
			}
			rep, err := r.Report(tt.ctx, tt.data, 1)
			if err == nil || !strings.Contains(err.Error(), tt.want) || rep != (eval.Report{}) {
				t.Errorf("Report: %+v, error %v, want %q", rep, err, tt.want)
			}
		})
	}
	delete(params, "fc1.bias")
	if err := runner(t, g, 1).SetParams(params); err == nil || !strings.Contains(err.Error(), `"fc1.bias"`) {
		t.Errorf("error %v of a missing tensor", err)
	}
}

// TestSplit measures both parts at a point of the arena.
func TestSplit(t *testing.T) {
	ctx := context.Background()
	g, params := mlp(t, 1)
	r := runner(t, g, 1)
	if err := r.SetParams(params); err != nil {
		t.Fatal(err)
	}
	theta := slices.Clone(r.Theta())
	train, test := randomSamples(30, 6, 4, 1), randomSamples(20, 6, 4, 2)
	wantTrain, _ := r.Evaluate(ctx, train)
	wantTest, _ := r.Evaluate(ctx, test)
	clear(r.Theta())
	split := &eval.Split{Runner: r, Train: train, Test: test}
	gotTrain, gotTest, err := split.Evaluate(ctx, theta)
	if err != nil || gotTrain != wantTrain || gotTest != wantTest || wantTrain.Count != 30 || wantTest.Count != 20 {
		t.Errorf("%+v and %+v, error %v, want %+v and %+v", gotTrain, gotTest, err, wantTrain, wantTest)
	}
	if _, _, err := split.Evaluate(ctx, theta[1:]); err == nil || !strings.Contains(err.Error(), "parameters for a network of") {
		t.Errorf("error %v of a short arena", err)
	}
	split.Test = &samples{size: 6, classes: 4}
	if _, _, err := split.Evaluate(ctx, theta); err == nil {
		t.Error("no error for an empty test set")
	}
}

// TestActivationsEqualEngines compares every value of every batch with what engines give that run the whole data at once.
func TestActivationsEqualEngines(t *testing.T) {
	g, a := mlp(t, 1)
	_, b := mlp(t, 2)
	d := randomSamples(23, 6, 4, 3)
	sites := []string{"h2", "z1"}
	whole := map[string][2][]float32{}
	for k, params := range []map[string]*tensor.Tensor{a, b} {
		e, err := nn.New[float32](g, nn.Options{Threads: 1, Keep: sites})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		if err := e.SetParams(params); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Forward(d.x, d.Len()); err != nil {
			t.Fatal(err)
		}
		for _, site := range sites {
			v, _ := e.Value(site)
			pair := whole[site]
			pair[k] = slices.Clone(v)
			whole[site] = pair
		}
	}
	b["counter"] = tensor.New(tensor.I64, nil) // files hold tensors that the graph does not know
	rapid.Check(t, func(t *rapid.T) {
		batch := rapid.IntRange(1, 30).Draw(t, "batch")
		src := &eval.Activations{Graph: g, A: a, B: b, Data: d, Threads: rapid.IntRange(1, 3).Draw(t, "threads"), Batch: batch}
		var got [2][2][]float32
		calls := 0
		err := src.Each(context.Background(), sites, func(shapes []tensor.Shape, va, vb [][]float32) error {
			n := min(batch, d.Len()-calls*batch)
			calls++
			for i, width := range []int{7, 9} {
				if !shapes[i].Equal(tensor.Shape{n, width}) || len(va[i]) != n*width || len(vb[i]) != n*width {
					t.Fatalf("site %q has shape %v, %d and %d values in a batch of %d", sites[i], shapes[i], len(va[i]), len(vb[i]), n)
				}
				got[i][0], got[i][1] = append(got[i][0], va[i]...), append(got[i][1], vb[i]...)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if calls != src.Batches() || calls != (d.Len()+batch-1)/batch {
			t.Errorf("%d batches of %d, announced were %d", calls, batch, src.Batches())
		}
		for i, site := range sites {
			for k := range 2 {
				for j, x := range got[i][k] {
					// Rows of a product may be computed in another order in another batch.
					if math.Abs(float64(x-whole[site][k][j])) > 1e-6 {
						t.Fatalf("site %q of network %d: value %d is %v, want %v", site, k, j, x, whole[site][k][j])
					}
				}
			}
		}
	})
}

func TestActivationsErrors(t *testing.T) {
	ctx := context.Background()
	g, a := mlp(t, 1)
	_, b := mlp(t, 2)
	d := randomSamples(9, 6, 4, 3)
	nothing := func([]tensor.Shape, [][]float32, [][]float32) error { return nil }
	stop := errors.New("enough")
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	broken := map[string]*tensor.Tensor{}
	for name, src := range map[string]struct {
		source *eval.Activations
		ctx    context.Context
		site   string
		visit  func([]tensor.Shape, [][]float32, [][]float32) error
		want   string
	}{
		"empty":     {&eval.Activations{Graph: g, A: a, B: b, Data: &samples{size: 6, classes: 4}}, ctx, "h1", nothing, "the data set is empty"},
		"site":      {&eval.Activations{Graph: g, A: a, B: b, Data: d}, ctx, "h9", nothing, `"h9"`},
		"A":         {&eval.Activations{Graph: g, A: broken, B: b, Data: d}, ctx, "h1", nothing, "is missing"},
		"B":         {&eval.Activations{Graph: g, A: a, B: broken, Data: d}, ctx, "h1", nothing, "is missing"},
		"cancelled": {&eval.Activations{Graph: g, A: a, B: b, Data: d}, cancelled, "h1", nothing, context.Canceled.Error()},
		"visit": {
			&eval.Activations{Graph: g, A: a, B: b, Data: d}, ctx, "h1",
			func([]tensor.Shape, [][]float32, [][]float32) error { return stop }, "enough",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := src.source.Each(src.ctx, []string{src.site}, src.visit); err == nil || !strings.Contains(err.Error(), src.want) {
				t.Errorf("error %v, want %q", err, src.want)
			}
		})
	}
}

// TestEnsemble compares with probabilities that are averaged by hand, and with one network alone.
func TestEnsemble(t *testing.T) {
	const classes = 3
	r := identity(t, classes)
	data := &samples{size: classes, classes: classes, x: []float32{2, 0, 0, 0, 1, 0, 0, 0, 3}, labels: []int32{0, 2, 2}}
	alone, err := r.Report(t.Context(), data, 2)
	if err != nil {
		t.Fatal(err)
	}
	same, err := r.Ensemble(t.Context(), data, 2, 3, func(int) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(same.Loss-alone.Loss) > 1e-6 || same.Accuracy != alone.Accuracy || same.TopK != alone.TopK || same.Bins[0].Count != alone.Bins[0].Count {
		t.Errorf("three times the same network: %+v, alone %+v", same, alone)
	}

	// Two networks: W turns the first class's logit around.
	b := graph.NewBuilder("scale")
	x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(classes))
	b.Output(b.Mul("y", x, b.Param("w", classes)))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	two := runner(t, g, 1)
	weights := [][]float32{{1, 1, 1}, {-1, 2, 1}}
	got, err := two.Ensemble(t.Context(), data, 2, 2, func(i int) error { copy(two.Theta(), weights[i]); return nil })
	if err != nil {
		t.Fatal(err)
	}
	loss := 0.0
	for i, label := range data.labels {
		p := 0.0
		for _, w := range weights {
			sum := 0.0
			for c := range classes {
				sum += math.Exp(float64(w[c] * data.x[i*classes+c]))
			}
			p += math.Exp(float64(w[label]*data.x[i*classes+int(label)])) / sum / 2
		}
		loss -= math.Log(p) / 3
	}
	if math.Abs(got.Loss-loss) > 1e-6 {
		t.Errorf("loss %v, by hand %v", got.Loss, loss)
	}
	if _, err := two.Ensemble(t.Context(), data, 2, 0, nil); err == nil {
		t.Error("an ensemble of none was measured")
	}
}

// TestBins checks that bins hold all samples and make up the calibration error.
func TestBins(t *testing.T) {
	const classes = 4
	r := identity(t, classes)
	data := randomSamples(333, classes, classes, 5)
	data.x[0] = float32(math.NaN())
	rep, err := r.Report(t.Context(), data, 1)
	if err != nil {
		t.Fatal(err)
	}
	count, ece := 0, 0.0
	for i, b := range rep.Bins {
		count += b.Count
		ece += float64(b.Count) / 333 * math.Abs(b.Accuracy-b.Confidence)
		if b.Count > 0 && i > 0 && (b.Confidence < float64(i)/eval.CalibrationBins-1e-6 || b.Confidence > float64(i+1)/eval.CalibrationBins+1e-6) {
			t.Errorf("bin %d has mean confidence %v", i, b.Confidence)
		}
	}
	if count != 333 || math.Abs(ece-rep.CalibrationError) > 1e-9 {
		t.Errorf("%d samples, error %v of the bins, %v reported", count, ece, rep.CalibrationError)
	}
}
