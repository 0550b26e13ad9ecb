package symmetry

import (
	"testing"

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
		{zoo.Config{Arch: "vgg16", Classes: 10}, 313, 7},
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
