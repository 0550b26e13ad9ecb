package experiment

import (
	"fmt"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/train"
	"github.com/rebasin/rebasin/zoo"
)

// Accuracy on test data below which a network says nothing about well-trained ones.
const (
	digitsTrained  = .97 // MNIST
	fashionTrained = .86 // Fashion-MNIST
	imagesTrained  = .75 // CIFAR-10, convolutional networks
	imagesMLP      = .5  // CIFAR-10, fully connected networks
	hundredTrained = .45 // CIFAR-100
)

// trainedAt is the accuracy asked of ends on a data set.
func trainedAt(data, arch string) float64 {
	switch {
	case data == "mnist":
		return digitsTrained
	case data == "fashion-mnist":
		return fashionTrained
	case data == "cifar100":
		return hundredTrained
	case arch == "mlp":
		return imagesMLP
	}
	return imagesTrained
}

// mlpCase is the paper's fully connected network, trained as its code does (Adam at 1e-3).
func mlpCase(data string, width float64, epochs int) Case {
	return Case{
		Name:    fmt.Sprintf("MLP x%s, %s", fraction(width), setTitle(data)),
		Network: zoo.Config{Arch: "mlp", Width: width},
		// Pixels of digits stay in [0, 1], as in the paper's code.
		Data:          Data{Name: data, Normalize: data == "cifar10" || data == "cifar100"},
		Training:      train.Config{Epochs: epochs, Batch: 500, Optimizer: train.Optimizer{Name: "adam", LearningRate: 1e-3}},
		LeastAccuracy: trainedAt(data, "mlp"),
	}
}

// convCase is a convolutional network with a norm, trained with SGD on a cosine schedule, on augmented images where the data is of colour.
func convCase(data, arch, norm string, width float64, epochs int) Case {
	c := Case{
		Name:    fmt.Sprintf("%s x%s %s, %s", archTitle(arch), fraction(width), normTitle(norm), setTitle(data)),
		Network: zoo.Config{Arch: arch, Width: width, Norm: norm},
		Data:    Data{Name: data, Normalize: true},
		Training: train.Config{
			Epochs: epochs, Batch: 128,
			Optimizer: train.Optimizer{Name: "sgd", LearningRate: .1, Momentum: .9, Nesterov: true, WeightDecay: 5e-4},
			Schedule:  train.Schedule{Name: "cosine", WarmupEpochs: .5},
		},
		LeastAccuracy: trainedAt(data, arch),
	}
	if norm == "layer" {
		// Networks with LayerNorm learn slowly with SGD at the rate of the others.
		c.Training.Batch = 64
		c.Training.Optimizer = train.Optimizer{Name: "adam", LearningRate: 2e-3, WeightDecay: 1e-4}
	}
	if data == "cifar10" || data == "cifar100" {
		c.Training.Augment = dataset.AugmentStandard
	}
	c.Repairs = []string{"repair"}
	if norm == "batch" {
		c.Repairs = []string{"reset", "repair"}
	}
	return c
}

// fraction writes a multiplier as people do.
func fraction(x float64) string {
	for _, f := range []struct {
		x    float64
		text string
	}{{1. / 64, "1/64"}, {1. / 32, "1/32"}, {1. / 16, "1/16"}, {1. / 8, "1/8"}, {.25, "1/4"}, {.5, "1/2"}} {
		if x == f.x {
			return f.text
		}
	}
	return fmt.Sprint(x)
}

func setTitle(data string) string {
	switch data {
	case "mnist":
		return "MNIST"
	case "fashion-mnist":
		return "Fashion-MNIST"
	case "cifar10":
		return "CIFAR-10"
	case "cifar100":
		return "CIFAR-100"
	}
	return data
}

func normTitle(norm string) string {
	switch norm {
	case "batch":
		return "BatchNorm"
	case "layer":
		return "LayerNorm"
	case "group":
		return "GroupNorm"
	}
	return "no norm"
}

func archTitle(arch string) string {
	switch arch {
	case "mlp":
		return "MLP"
	case "vgg11", "vgg13", "vgg16", "vgg19":
		return "VGG-" + arch[3:]
	}
	if len(arch) > 6 && arch[:6] == "resnet" {
		return "ResNet" + arch[6:]
	}
	return arch
}

// along places cases in a figure: each by its network's width, in a series by its network, norm and data.
func along(cases []Case) []Case {
	for i := range cases {
		c := &cases[i]
		c.X = c.Network.Width
		c.Series = fmt.Sprintf("%s %s, %s", archTitle(c.Network.Arch), normTitle(c.Network.Norm), setTitle(c.Data.Name))
		if c.Network.Arch == "mlp" {
			c.Series = "MLP, " + setTitle(c.Data.Name)
		}
	}
	return cases
}
