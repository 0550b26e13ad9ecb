package train

import (
	"math"
	"strings"
	"testing"
)

func TestRate(t *testing.T) {
	const peak = .4
	half := math.Sqrt(.5)
	for name, tt := range map[string]struct {
		schedule        Schedule
		total, perEpoch int
		want            map[int]float64 // by step
	}{
		"constant": {Schedule{Name: "constant"}, 100, 10, map[int]float64{0: peak, 1: peak, 99: peak}},
		"cosine": {
			Schedule{Name: "cosine"},
			100, 10,
			map[int]float64{0: peak, 25: peak * (1 + half) / 2, 50: peak / 2, 75: peak * (1 - half) / 2, 100: 0},
		},
		"constant, warm-up": {
			Schedule{Name: "constant", WarmupEpochs: 2},
			100, 10,
			map[int]float64{0: peak / 20, 9: peak / 2, 19: peak, 20: peak, 99: peak},
		},
		"cosine, warm-up": {
			Schedule{Name: "cosine", WarmupEpochs: 2},
			100, 10,
			map[int]float64{0: peak / 20, 19: peak, 20: peak, 40: peak * (1 + half) / 2, 60: peak / 2, 100: 0},
		},
		"warm-up of part of an epoch": {Schedule{Name: "constant", WarmupEpochs: .25}, 20, 10, map[int]float64{0: peak / 2.5, 1: peak * 2 / 2.5, 2: peak}},
		"all warm-up":                 {Schedule{Name: "cosine", WarmupEpochs: 4}, 20, 10, map[int]float64{0: peak / 40, 19: peak / 2}},
		"warm-up into the last step":  {Schedule{Name: "cosine", WarmupEpochs: 1.95}, 20, 10, map[int]float64{18: peak * 19 / 19.5, 19: peak}},
	} {
		t.Run(name, func(t *testing.T) {
			c := Config{Optimizer: Optimizer{LearningRate: peak}, Schedule: tt.schedule}
			for step, want := range tt.want {
				if got := c.Rate(step, tt.total, tt.perEpoch); math.Abs(got-want) > 1e-15 {
					t.Errorf("rate %v at step %d, want %v", got, step, want)
				}
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	adam := Optimizer{Name: "adam", LearningRate: 1e-3, Beta1: .9, Beta2: .999, Epsilon: 1e-8}
	for _, tt := range []struct{ given, want Config }{
		{Config{Epochs: 3}, Config{Epochs: 3, Batch: 128, Optimizer: adam, Schedule: Schedule{Name: "constant"}}},
		{
			Config{Batch: 5, Seed: 9, Optimizer: Optimizer{Name: "sgd", Momentum: .9, Nesterov: true}, Schedule: Schedule{Name: "cosine", WarmupEpochs: 1}},
			Config{
				Batch: 5, Seed: 9, Optimizer: Optimizer{Name: "sgd", LearningRate: .1, Momentum: .9, Nesterov: true},
				Schedule: Schedule{Name: "cosine", WarmupEpochs: 1},
			},
		},
	} {
		got, err := tt.given.WithDefaults()
		if err != nil || got != tt.want {
			t.Errorf("%+v, %v; want %+v", got, err, tt.want)
		}
		if again, err := got.WithDefaults(); err != nil || again != got {
			t.Errorf("defaults of defaults: %+v, %v", again, err)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for want, c := range map[string]Config{
		`unknown optimizer "adamw"`:                  {Optimizer: Optimizer{Name: "adamw"}},
		`unknown schedule "linear"`:                  {Schedule: Schedule{Name: "linear"}},
		"-1 epochs of batch 128":                     {Epochs: -1},
		"0 epochs of batch -5":                       {Batch: -5},
		"the learning rate is -1":                    {Optimizer: Optimizer{LearningRate: -1}},
		"the learning rate is NaN":                   {Optimizer: Optimizer{LearningRate: nan}},
		"the learning rate is +Inf":                  {Optimizer: Optimizer{LearningRate: inf}},
		"momentum is 1, it must be":                  {Optimizer: Optimizer{Name: "sgd", Momentum: 1}},
		"weight decay is -0.1":                       {Optimizer: Optimizer{WeightDecay: -.1}},
		"beta1 is 1, it must be":                     {Optimizer: Optimizer{Beta1: 1}},
		"beta2 is NaN":                               {Optimizer: Optimizer{Beta2: nan}},
		"epsilon is -1":                              {Optimizer: Optimizer{Epsilon: -1}},
		"warm-up is +Inf":                            {Schedule: Schedule{WarmupEpochs: inf}},
		"momentum is a setting of sgd":               {Optimizer: Optimizer{Momentum: .9}},
		"are settings of adam":                       {Optimizer: Optimizer{Name: "sgd", Beta1: .9}},
		"Nesterov's momentum needs a momentum above": {Optimizer: Optimizer{Name: "sgd", Nesterov: true}},
	} {
		if _, err := c.WithDefaults(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
