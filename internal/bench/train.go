package bench

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"github.com/rebasin/rebasin/train"
	"github.com/rebasin/rebasin/zoo"
)

// Train is the training throughput of a network on random data.
type Train struct {
	ImagesPerSecond float64 `json:"images_per_second"`
	Median          float64 `json:"median"`
	Batch           int     `json:"batch"`
	Threads         int     `json:"threads"`
}

// Steps of a timing: the first ones plan memory and fill caches.
const (
	warmUp       = 2
	minimumSteps = 8
)

// TrainNetwork times forward, backward and update of the network on random data, the best of steps (at least 8) after two of warm-up.
func TrainNetwork(ctx context.Context, cfg zoo.Config, opt train.Optimizer, batch, steps, threads int) (Train, error) {
	g, err := zoo.Build(cfg)
	if err != nil {
		return Train{}, err
	}
	params, err := zoo.Init(g, cfg, 0)
	if err != nil {
		return Train{}, err
	}
	steps = max(steps, minimumSteps)
	data := newNoise(cfg, batch)
	best, begin := math.Inf(1), time.Now()
	times := make([]float64, 0, steps)
	_, err = train.Run(ctx, g, params, data, train.Config{Epochs: warmUp + steps, Batch: batch, Optimizer: opt}, train.Options{
		Threads: threads,
		Progress: func(e train.Event) {
			if seconds := time.Since(begin).Seconds(); e.Step > warmUp {
				times = append(times, seconds)
				best = min(best, seconds)
			}
			begin = time.Now()
		},
	})
	if err != nil {
		return Train{}, err
	}
	return Train{ImagesPerSecond: float64(batch) / best, Median: float64(batch) / median(times), Batch: batch, Threads: threads}, nil
}

// noise is one batch of random samples, filled in once: what is timed is the network.
type noise struct {
	shape   []int
	classes int
	x       []float32
	labels  []int32
}

func newNoise(cfg zoo.Config, batch int) *noise {
	size := 1
	for _, n := range cfg.Input {
		size *= n
	}
	rng := rand.New(rand.NewPCG(0, 1))
	d := &noise{shape: cfg.Input, classes: cfg.Classes, x: draw(batch*size, func() float32 { return float32(rng.NormFloat64()) }), labels: make([]int32, batch)}
	for i := range d.labels {
		d.labels[i] = int32(rng.IntN(cfg.Classes))
	}
	return d
}

func (d *noise) Len() int     { return len(d.labels) }
func (d *noise) Shape() []int { return d.shape }
func (d *noise) Classes() int { return d.classes }

// Fill copies the batch as it is, whatever its order: the labels go with the samples.
func (d *noise) Fill(_ []int, x []float32, labels []int32) {
	copy(x, d.x)
	copy(labels, d.labels)
}
