package train

import (
	"errors"
	"fmt"
	"math"

	"github.com/rebasin/rebasin/dataset"
)

// Optimizer names an update rule and its constants.
type Optimizer struct {
	// Name is "adam" (Kingma, Ba 2015, arXiv:1412.6980) or "sgd" with momentum. Empty means adam.
	Name string `json:"name"`
	// LearningRate is the peak of the schedule. 0 means 1e-3 for adam and 0.1 for sgd.
	LearningRate float64 `json:"learning_rate"`
	// Momentum of sgd. The buffer is PyTorch's: m ← momentum·m + g, w ← w - lr·m.
	Momentum float64 `json:"momentum,omitempty"`
	Nesterov bool    `json:"nesterov,omitempty"`
	// WeightDecay is the L2 penalty, added to the gradient.
	WeightDecay float64 `json:"weight_decay,omitempty"`
	// Beta1, Beta2 and Epsilon of adam. 0 means 0.9, 0.999 and 1e-8.
	Beta1   float64 `json:"beta1,omitempty"`
	Beta2   float64 `json:"beta2,omitempty"`
	Epsilon float64 `json:"epsilon,omitempty"`
}

// Schedule varies the learning rate over the run, step by step.
type Schedule struct {
	// Name is "constant" or "cosine" (Loshchilov, Hutter 2017, arXiv:1608.03983, without restarts, down to zero). Empty means constant.
	Name string `json:"name"`
	// WarmupEpochs rises linearly from zero to the peak; the rest of the run follows the schedule.
	WarmupEpochs float64 `json:"warmup_epochs,omitempty"`
}

// Config describes a run. Its zero value with Epochs set is Adam at 1e-3, batch 128.
type Config struct {
	Epochs int `json:"epochs"`
	// Batch is the number of samples in a step. 0 means 128; more than there are means all of them.
	Batch     int       `json:"batch"`
	Seed      uint64    `json:"seed"`
	Optimizer Optimizer `json:"optimizer"`
	Schedule  Schedule  `json:"schedule"`
	// Augment changes the samples at random, anew in each epoch; empty and "none" do not. The data must be an [Augmenter].
	Augment dataset.Augmentation `json:"augment,omitempty"`
}

// WithDefaults fills in what is zero, and reports what makes no sense.
func (c Config) WithDefaults() (Config, error) {
	if c.Batch == 0 {
		c.Batch = 128
	}
	o := &c.Optimizer
	if o.Name == "" {
		o.Name = "adam"
	}
	if c.Schedule.Name == "" {
		c.Schedule.Name = "constant"
	}
	if !c.Augment.Active() {
		c.Augment = ""
	}
	switch o.Name {
	case "adam":
		setDefault(&o.LearningRate, 1e-3)
		setDefault(&o.Beta1, .9)
		setDefault(&o.Beta2, .999)
		setDefault(&o.Epsilon, 1e-8)
	case "sgd":
		setDefault(&o.LearningRate, .1)
	default:
		return c, fmt.Errorf("train: unknown optimizer %q; there are adam and sgd", o.Name)
	}
	return c, c.check()
}

func setDefault(x *float64, value float64) {
	if *x == 0 {
		*x = value
	}
}

func (c *Config) check() error {
	o := c.Optimizer
	within := func(name string, x, lo, hi float64) error {
		if !(x >= lo && x < hi) {
			return fmt.Errorf("train: %s is %v, it must be at least %v and below %v", name, x, lo, hi)
		}
		return nil
	}
	if c.Schedule.Name != "constant" && c.Schedule.Name != "cosine" {
		return fmt.Errorf("train: unknown schedule %q; there are constant and cosine", c.Schedule.Name)
	}
	if c.Epochs < 0 || c.Batch < 1 {
		return fmt.Errorf("train: %d epochs of batch %d", c.Epochs, c.Batch)
	}
	if o.Name == "adam" && (o.Momentum != 0 || o.Nesterov) {
		return errors.New("train: momentum is a setting of sgd; adam has beta1")
	}
	if o.Name == "sgd" && (o.Beta1 != 0 || o.Beta2 != 0 || o.Epsilon != 0) {
		return errors.New("train: beta1, beta2 and epsilon are settings of adam; sgd has momentum")
	}
	if o.Nesterov && o.Momentum == 0 {
		return errors.New("train: Nesterov's momentum needs a momentum above 0")
	}
	for _, err := range []error{
		c.Augment.Check(),
		within("the learning rate", o.LearningRate, 0, math.Inf(1)),
		within("momentum", o.Momentum, 0, 1),
		within("weight decay", o.WeightDecay, 0, math.Inf(1)),
		within("beta1", o.Beta1, 0, 1),
		within("beta2", o.Beta2, 0, 1),
		within("epsilon", o.Epsilon, 0, math.Inf(1)),
		within("warm-up", c.Schedule.WarmupEpochs, 0, math.Inf(1)),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// Rate is the learning rate of a step, counted from 0, in a run of total steps with perEpoch steps in an epoch. In a warm-up of w steps, step s has
// the peak times (s+1)/w; then cosine has the peak times ½(1 + cos(π (s-w)/(total-w))), which begins at the peak and would be zero at step total.
func (c *Config) Rate(step, total, perEpoch int) float64 {
	peak := c.Optimizer.LearningRate
	warm := c.Schedule.WarmupEpochs * float64(perEpoch)
	at := float64(step)
	if at+1 <= warm {
		return peak * (at + 1) / warm
	}
	if c.Schedule.Name == "constant" {
		return peak
	}
	// A warm-up may end within a step, and outlast the run.
	after, length := max(at-warm, 0), max(float64(total)-warm, 1)
	return peak * .5 * (1 + math.Cos(math.Pi*after/length))
}
