package train

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestOptimizersEqualReference trains softmax regression and compares every parameter with the rules of torch.optim, written down once more in
// float64 and without any of this package's code but the order of the samples.
func TestOptimizersEqualReference(t *testing.T) {
	// Some thirty steps in float32, each of at most the learning rate.
	const tolerance = 3e-5
	for name, opt := range map[string]Optimizer{
		"adam":                  {Name: "adam", LearningRate: .01},
		"adam, other constants": {Name: "adam", LearningRate: .02, Beta1: .8, Beta2: .95, Epsilon: 1e-4, WeightDecay: .1},
		"sgd":                   {Name: "sgd", LearningRate: .2},
		"sgd, weight decay":     {Name: "sgd", LearningRate: .2, WeightDecay: .05},
		"sgd, momentum":         {Name: "sgd", LearningRate: .1, Momentum: .9},
		"sgd, Nesterov":         {Name: "sgd", LearningRate: .1, Momentum: .8, Nesterov: true, WeightDecay: .02},
	} {
		for schedule, rate := range map[string]func(step, total int) float64{
			"constant": func(int, int) float64 { return 1 },
			"cosine":   func(step, total int) float64 { return (1 + math.Cos(math.Pi*float64(step)/float64(total))) / 2 },
		} {
			t.Run(name+"/"+schedule, func(t *testing.T) {
				data := newBlobs(23, 3, 1, 5)
				g, params := linear(t, 5, 3)
				cfg := Config{Epochs: 6, Batch: 5, Seed: 11, Optimizer: opt, Schedule: Schedule{Name: schedule}}
				got := mustRun(t, g, params, data, cfg, Options{Threads: 1})
				w, b := reference(data, params, cfg, rate)
				for name, want := range map[string][]float64{"fc.weight": w, "fc.bias": b} {
					for i, x := range tensor.Of[float32](got.Params[name]) {
						if math.Abs(float64(x)-want[i]) > tolerance {
							t.Fatalf("%s[%d] is %v, want %v", name, i, x, want[i])
						}
					}
				}
			})
		}
	}
}

// reference trains softmax regression as torch.optim would.
func reference(data *blobs, params map[string]*tensor.Tensor, cfg Config, rate func(step, total int) float64) (w, b []float64) {
	in, out := data.shape[0], data.classes
	theta := append(widen(params["fc.weight"]), widen(params["fc.bias"])...)
	m, v := make([]float64, len(theta)), make([]float64, len(theta))
	perEpoch := (data.Len() + cfg.Batch - 1) / cfg.Batch
	step := 0
	for epoch := range cfg.Epochs {
		for batch := range slices.Chunk(dataset.Order(data.Len(), cfg.Seed, epoch), cfg.Batch) {
			g := make([]float64, len(theta))
			for _, s := range batch {
				x := data.x[s*in : (s+1)*in]
				p := softmax(theta, x, in, out)
				p[data.labels[s]]--
				for o := range out {
					for i := range in {
						g[o*in+i] += p[o] * float64(x[i]) / float64(len(batch))
					}
					g[in*out+o] += p[o] / float64(len(batch))
				}
			}
			torchStep(cfg.Optimizer, theta, g, m, v, step, rate(step, perEpoch*cfg.Epochs))
			step++
		}
	}
	return theta[:in*out], theta[in*out:]
}

func widen(t *tensor.Tensor) []float64 {
	var out []float64
	for _, x := range tensor.Of[float32](t) {
		out = append(out, float64(x))
	}
	return out
}

func softmax(theta []float64, x []float32, in, out int) []float64 {
	p := make([]float64, out)
	var sum float64
	for o := range p {
		z := theta[in*out+o]
		for i := range in {
			z += theta[o*in+i] * float64(x[i])
		}
		p[o] = math.Exp(z)
		sum += p[o]
	}
	for o := range p {
		p[o] /= sum
	}
	return p
}

// torchStep is the pseudocode of torch.optim.Adam and torch.optim.SGD (without amsgrad, maximize and dampening).
func torchStep(opt Optimizer, theta, g, m, v []float64, step int, factor float64) {
	beta1, beta2, epsilon := .9, .999, 1e-8
	if opt.Beta1 != 0 {
		beta1, beta2, epsilon = opt.Beta1, opt.Beta2, opt.Epsilon
	}
	lr, t := opt.LearningRate*factor, float64(step+1)
	for i := range theta {
		grad := g[i] + opt.WeightDecay*theta[i]
		if opt.Name == "adam" {
			m[i] = beta1*m[i] + (1-beta1)*grad
			v[i] = beta2*v[i] + (1-beta2)*grad*grad
			theta[i] -= lr * (m[i] / (1 - math.Pow(beta1, t))) / (math.Sqrt(v[i]/(1-math.Pow(beta2, t))) + epsilon)
			continue
		}
		if opt.Momentum != 0 {
			if step == 0 {
				m[i] = grad
			} else {
				m[i] = opt.Momentum*m[i] + grad
			}
			if opt.Nesterov {
				grad += opt.Momentum * m[i]
			} else {
				grad = m[i]
			}
		}
		theta[i] -= lr * grad
	}
}

// TestThreadsDoNotMatter needs an arena of several pieces, and dropout.
func TestThreadsDoNotMatter(t *testing.T) {
	data := newBlobs(70, 4, 2, 256)
	g, params := network(t, zoo.Config{Input: []int{256}, Hidden: []int{300, 300}, Classes: 4, Dropout: .3})
	for name, opt := range map[string]Optimizer{"adam": {}, "sgd": {Name: "sgd", LearningRate: .05, Momentum: .9, WeightDecay: 1e-3}} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Epochs: 2, Batch: 32, Seed: 5, Optimizer: opt}
			want := mustRun(t, g, params, data, cfg, Options{Threads: 1})
			for _, threads := range []int{2, 3} {
				sameResult(t, mustRun(t, g, params, data, cfg, Options{Threads: threads}), want)
			}
		})
	}
}

// TestSeed says what the seed decides: the order of the samples and the masks of dropout.
func TestSeed(t *testing.T) {
	data := newBlobs(40, 4, 2, 6)
	run := func(dropout float64, batch int, seed uint64) map[string]*tensor.Tensor {
		g, params := network(t, zoo.Config{Input: []int{6}, Hidden: []int{8}, Classes: 4, Dropout: dropout})
		return mustRun(t, g, params, data, Config{Epochs: 1, Batch: batch, Seed: seed}, Options{Threads: 1}).Params
	}
	if run(0, 8, 1)["fc1.weight"].Equal(run(0, 8, 2)["fc1.weight"]) {
		t.Error("two seeds, one order of the samples")
	}
	if !run(0, 8, 1)["fc1.weight"].Equal(run(0, 8, 1)["fc1.weight"]) {
		t.Error("one seed, two results")
	}
	if run(.5, 40, 1)["fc1.weight"].Equal(run(0, 40, 1)["fc1.weight"]) {
		t.Error("dropout does nothing")
	}
}

// TestEpochVisitsEverySampleOnce counts what the network is trained on.
func TestEpochVisitsEverySampleOnce(t *testing.T) {
	data := newBlobs(23, 3, 1, 5)
	g, params := linear(t, 5, 3)
	var steps []int
	mustRun(t, g, params, data, Config{Epochs: 3, Batch: 5}, Options{Threads: 1, Progress: func(e Event) { steps = append(steps, e.Step) }})
	if len(data.asked) != 3*23 {
		t.Fatalf("%d samples in 3 epochs of 23", len(data.asked))
	}
	var orders [][]int
	for epoch := range slices.Chunk(data.asked, 23) {
		sorted := slices.Sorted(slices.Values(epoch))
		for i, s := range sorted {
			if s != i {
				t.Fatalf("samples of an epoch: %v", sorted)
			}
		}
		for _, before := range orders {
			if slices.Equal(before, epoch) {
				t.Error("two epochs in one order")
			}
		}
		orders = append(orders, epoch)
	}
	if len(steps) != 15 || steps[0] != 1 || steps[14] != 15 {
		t.Errorf("progress after steps %v, want 1 to 15", steps)
	}
}

func TestBatchLargerThanData(t *testing.T) {
	data := newBlobs(7, 3, 1, 5)
	g, params := linear(t, 5, 3)
	want := mustRun(t, g, params, data, Config{Epochs: 2, Batch: 7}, Options{Threads: 1})
	got := mustRun(t, g, params, data, Config{Epochs: 2, Batch: math.MaxInt}, Options{Threads: 1})
	sameResult(t, got, want)
}

func TestCheckpoints(t *testing.T) {
	data := newBlobs(23, 3, 1, 5)
	g, params := linear(t, 5, 3)
	at := map[int]map[string]*tensor.Tensor{}
	var epochs []int
	opt := Options{Threads: 1, CheckpointEpochs: []int{3, 0, 2, 9}, Checkpoint: func(epoch int, p map[string]*tensor.Tensor) error {
		epochs = append(epochs, epoch)
		at[epoch] = p
		return nil
	}}
	cfg := Config{Epochs: 3, Batch: 5}
	r := mustRun(t, g, params, data, cfg, opt)
	if !slices.Equal(epochs, []int{0, 2, 3}) {
		t.Fatalf("checkpoints after epochs %v", epochs)
	}
	cfg.Epochs = 2
	two := mustRun(t, g, params, data, cfg, Options{Threads: 1})
	for name := range params {
		// Copies, which later steps do not change.
		if !at[0][name].Equal(params[name]) || !at[2][name].Equal(two.Params[name]) || !at[3][name].Equal(r.Params[name]) {
			t.Errorf("tensor %q of a checkpoint is not the network's at that time", name)
		}
	}
	full := errors.New("disk full")
	opt.Checkpoint = func(int, map[string]*tensor.Tensor) error { return full }
	if _, err := Run(context.Background(), g, params, data, cfg, opt); !errors.Is(err, full) {
		t.Errorf("error %v of a failing checkpoint", err)
	}
}

// TestHistory compares what an epoch reports with the losses of its steps: at learning rate almost 0 they are those of the initial parameters.
func TestHistory(t *testing.T) {
	data := newBlobs(23, 3, 1, 5)
	g, params := linear(t, 5, 3)
	var last Event
	r := mustRun(t, g, params, data, Config{Epochs: 2, Batch: 5, Optimizer: Optimizer{Name: "sgd", LearningRate: 1e-30}},
		Options{Threads: 1, Progress: func(e Event) { last = e }})
	runner, err := eval.NewRunner(g, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer runner.Close()
	if err := runner.SetParams(params); err != nil {
		t.Fatal(err)
	}
	want, err := runner.Evaluate(context.Background(), data)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.History) != 2 {
		t.Fatalf("history %v", r.History)
	}
	for i, e := range r.History {
		if e.Epoch != i+1 || math.Abs(e.Loss-want.Loss) > 1e-6 || e.Accuracy != want.Accuracy {
			t.Errorf("epoch %+v, want the loss and accuracy of %+v", e, want)
		}
	}
	if end := (Event{Step: 10, Steps: 10, Epoch: 2, Loss: r.History[1].Loss, Accuracy: r.History[1].Accuracy}); last != end {
		t.Errorf("last event %+v, want %+v", last, end)
	}
}

func TestDivergence(t *testing.T) {
	data := newBlobs(40, 4, 2, 6)
	g, params := network(t, zoo.Config{Input: []int{6}, Hidden: []int{8, 8}, Classes: 4})
	for name, tt := range map[string]struct {
		steps int
		want  string
	}{
		"between":   {20, "epoch 1, step"},
		"last step": {1, `of tensor "fc`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Epochs: 1, Batch: 40 / tt.steps, Optimizer: Optimizer{Name: "sgd", LearningRate: 1e39}}
			_, err := Run(context.Background(), g, params, data, cfg, Options{Threads: 1})
			if !errors.Is(err, ErrDiverged) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestRunErrors(t *testing.T) {
	data := newBlobs(12, 3, 1, 5)
	g, params := linear(t, 5, 3)
	other, _ := linear(t, 5, 4)
	incomplete := map[string]*tensor.Tensor{"fc.weight": params["fc.weight"]}
	for name, tt := range map[string]struct {
		run  func() error
		want string
	}{
		"no data": {func() error {
			_, err := Run(context.Background(), g, params, &blobs{shape: []int{5}, classes: 3}, Config{Epochs: 1}, Options{})
			return err
		}, "the data set is empty"},
		"missing parameter": {func() error {
			_, err := Run(context.Background(), g, incomplete, data, Config{Epochs: 1}, Options{})
			return err
		}, `tensor "fc.bias" is missing`},
		"classes": {func() error {
			_, p := linear(t, 5, 4)
			_, err := Run(context.Background(), other, p, data, Config{Epochs: 1}, Options{})
			return err
		}, "the network gives 4 outputs per sample, the data has 3 classes"},
		"shape of the samples": {func() error {
			_, err := Run(context.Background(), g, params, newBlobs(12, 3, 1, 6), Config{Epochs: 1}, Options{})
			return err
		}, "elements"},
		"too many steps": {func() error {
			_, err := Run(context.Background(), g, params, data, Config{Epochs: math.MaxInt, Batch: 1}, Options{})
			return err
		}, "more steps"},
		"configuration": {func() error {
			_, err := Run(context.Background(), g, params, data, Config{Epochs: -1}, Options{})
			return err
		}, "-1 epochs"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tt.run(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// TestStepAllocatesNothing holds for whole and for smaller batches, once each has been planned.
func TestStepAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	data := digits(t, dataset.Train, 70)
	for _, opt := range []Optimizer{{Name: "adam"}, {Name: "sgd", Momentum: .9}} {
		g, params := network(t, zoo.Config{Input: []int{1, 28, 28}, Hidden: []int{96, 96}, Classes: 10, Dropout: .1})
		cfg, err := Config{Epochs: 1, Batch: 50, Optimizer: opt}.WithDefaults()
		if err != nil {
			t.Fatal(err)
		}
		tr, err := newTrainer(g, data, cfg, Options{Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.begin(params); err != nil {
			t.Fatal(err)
		}
		tr.feed = newFeeder(data, cfg, 0, 2)
		batches := []*batch{tr.feed.take(), tr.feed.take()}
		step := func() {
			for _, b := range batches {
				if err := tr.trainOn(b); err != nil {
					t.Fatal(err)
				}
			}
		}
		step()
		if n := testing.AllocsPerRun(20, step); n != 0 {
			t.Errorf("%s: %v allocations in two steps", opt.Name, n)
		}
		tr.close()
	}
}

// TestLearnsDigits trains a small network on a part of MNIST: the loss falls from epoch to epoch, and digits it has not seen are recognised.
func TestLearnsDigits(t *testing.T) {
	data, test := digits(t, dataset.Train, 3000), digits(t, dataset.Test, 1000)
	for name, opt := range map[string]Optimizer{"adam": {LearningRate: 2e-3}, "sgd": {Name: "sgd", LearningRate: .1, Momentum: .9}} {
		t.Run(name, func(t *testing.T) {
			g, params := network(t, zoo.Config{Input: []int{1, 28, 28}, Hidden: []int{32}, Classes: 10})
			r, err := Run(context.Background(), g, params, data,
				Config{Epochs: 4, Batch: 50, Optimizer: opt, Schedule: Schedule{Name: "cosine", WarmupEpochs: .5}}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range r.History[1:] {
				if e.Loss >= r.History[i].Loss {
					t.Errorf("the loss rises: %v", r.History)
				}
			}
			runner, err := eval.NewRunner(g, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer runner.Close()
			if err := runner.SetParams(r.Params); err != nil {
				t.Fatal(err)
			}
			m, err := runner.Evaluate(context.Background(), test)
			if err != nil {
				t.Fatal(err)
			}
			if m.Accuracy < .85 {
				t.Errorf("test accuracy %v after %v", m.Accuracy, r.History)
			}
		})
	}
}
