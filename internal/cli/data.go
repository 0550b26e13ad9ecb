package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/model"
)

// dataFlags say which data to use and how to read it.
type dataFlags struct {
	name, normalize string
	samples         int
}

func (d *dataFlags) register(c *cobra.Command, use string) {
	c.Flags().StringVar(&d.name, "data", "", "data set "+use+": "+strings.Join(dataset.Names(), ", "))
	c.Flags().StringVar(&d.normalize, "normalize", "", "MEAN[,..]:STD[,..] that the model expects of pixels in [0, 1]; models trained here remember it")
	choices(c, "data", dataset.Names()...)
}

func (d *dataFlags) registerSamples(c *cobra.Command, flag string, value int, use string) {
	c.Flags().IntVar(&d.samples, flag, value, use)
}

// check finds mistakes in the flags before anything is opened.
func (d *dataFlags) check() error {
	if d.samples < 0 {
		return usagef("%d samples: the number must not be negative", d.samples)
	}
	if d.name != "" && !slices.Contains(dataset.Names(), d.name) {
		return usagef("unknown data set %q; there are %s", d.name, strings.Join(dataset.Names(), ", "))
	}
	_, err := d.normalization()
	return err
}

// require is check for a command that cannot do without data.
func (d *dataFlags) require() error {
	if d.name == "" {
		return usagef("data is needed: --data NAME, one of %s", strings.Join(dataset.Names(), ", "))
	}
	return d.check()
}

// normalization is what --normalize says; nil is none.
func (d *dataFlags) normalization() (*dataset.Normalization, error) {
	n, err := parseNormalization(d.normalize)
	if err != nil {
		return nil, usagef("--normalize %w", err)
	}
	return n, nil
}

// parseNormalization reads the form of --normalize; nothing is nil, no normalization.
func parseNormalization(text string) (*dataset.Normalization, error) {
	if text == "" {
		return nil, nil
	}
	mean, std, ok := strings.Cut(text, ":")
	if !ok {
		return nil, fmt.Errorf("%q: the form is MEAN[,..]:STD[,..]", text)
	}
	var n dataset.Normalization
	for _, part := range []struct {
		text string
		into *[]float32
	}{{mean, &n.Mean}, {std, &n.Std}} {
		for s := range strings.SplitSeq(part.text, ",") {
			x, err := strconv.ParseFloat(strings.TrimSpace(s), 32)
			if err != nil {
				return nil, fmt.Errorf("%q: %q is not a number", text, s)
			}
			*part.into = append(*part.into, float32(x))
		}
	}
	return &n, nil
}

// normalizeKey is where a model's metadata says, in the form of --normalize, how the pixels were normalized that it was trained on.
const normalizeKey = ownKeys + "normalize"

// normalizationFor is what --normalize says, else what the model itself does.
func (d *dataFlags) normalizationFor(net *model.Model) (*dataset.Normalization, error) {
	if d.normalize != "" {
		return d.normalization()
	}
	n, err := parseNormalization(net.Metadata()[normalizeKey])
	if err != nil {
		return nil, fmt.Errorf("%q: metadata %q: %w", net.Path, normalizeKey, err)
	}
	return n, nil
}

// load reads a split of the data.
func (d *dataFlags) load(ctx context.Context, a *app, split dataset.Split, n *dataset.Normalization) (*dataset.Set, error) {
	return dataset.Open(ctx, d.name, split, dataset.Options{DataDir: a.dataDir, Log: a.sayOnce, Normalize: n})
}

// open loads a split of the data and checks that it fits the network.
func (d *dataFlags) open(ctx context.Context, a *app, split dataset.Split, net *model.Model) (*dataset.Set, error) {
	if err := d.require(); err != nil {
		return nil, err
	}
	if net.Graph == nil {
		return nil, fmt.Errorf("%q: %w", net.Path, model.ErrNoGraph)
	}
	normalize, err := d.normalizationFor(net)
	if err != nil {
		return nil, err
	}
	set, err := d.load(ctx, a, split, normalize)
	if err != nil {
		return nil, err
	}
	return set, fits(net, set)
}

// fits checks that samples have as many values as the network reads, and the labels as many classes as it tells apart.
func fits(net *model.Model, set *dataset.Set) error {
	if product(net.Config.Input) != product(set.Shape()) || net.Config.Classes != set.Classes() {
		return fmt.Errorf("%q reads samples of shape %v and tells %d classes apart; %s has samples of shape %v in %d classes",
			net.Path, net.Config.Input, net.Config.Classes, set.Name(), set.Shape(), set.Classes())
	}
	return nil
}

func product(extents []int) int {
	n := 1
	for _, e := range extents {
		n *= e
	}
	return n
}

// subset is a fixed random part of a data set, the same for every seed; n of 0 or more than there are is all.
func subset(set *dataset.Set, n int) *dataset.Set {
	if n <= 0 || n >= set.Len() {
		return set
	}
	return set.Subset(dataset.Order(set.Len(), subsetSeed, 0)[:n])
}

// heldOut cuts the training data in two: what candidates are found on, and at most a third, n samples if there are that many, to choose between them.
func heldOut(set *dataset.Set, n int) (rest, held *dataset.Set) {
	order := dataset.Order(set.Len(), subsetSeed, 0)
	if n <= 0 || n > len(order)/3 {
		n = len(order) / 3
	}
	return set.Subset(order[n:]), set.Subset(order[:n])
}

const subsetSeed = 0x5eed
