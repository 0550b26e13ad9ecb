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
	name, normalize  string
	resize, channels int
	skipCorrupt      bool
	samples          int
}

func (d *dataFlags) register(c *cobra.Command, use string) {
	f := c.Flags()
	f.StringVar(&d.name, "data", "", "data set "+use+": "+strings.Join(dataset.Names(), ", ")+", or the `PATH` of a folder or zip of images, "+
		"train/CLASS/*.png|jpg and test/..., or of arrays: an .npz with x and y or x_train, ..., X.npy,Y.npy, or a folder of such")
	f.StringVar(&d.normalize, "normalize", "",
		"MEAN[,..]:STD[,..] that the model expects of pixels in [0, 1], or the name of a data set for its usual ones, or none; models trained here remember it")
	f.IntVar(&d.resize, "resize", 0, "bring images to this height and width; models trained here remember it")
	f.IntVar(&d.channels, "channels", 0, "3 repeats grey images, 1 makes coloured ones grey; 0 is what the data has; models trained here remember it")
	f.BoolVar(&d.skipCorrupt, "skip-corrupt", false, "leave out images of a folder or zip that cannot be read, and say how many")
	completeData(c)
}

// completeData offers the names of the data sets, and files.
func completeData(c *cobra.Command) {
	complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return dataset.Names(), cobra.ShellCompDirectiveDefault
	}
	if err := c.RegisterFlagCompletionFunc("data", complete); err != nil {
		panic(err) // the flag is registered above
	}
}

func (d *dataFlags) registerSamples(c *cobra.Command, flag string, value int, use string) {
	c.Flags().IntVar(&d.samples, flag, value, use)
}

// check finds mistakes in the flags before anything is opened.
func (d *dataFlags) check() error {
	if d.samples < 0 {
		return usagef("%d samples: the number must not be negative", d.samples)
	}
	if d.name != "" && !slices.Contains(dataset.Names(), d.name) && !dataset.IsPath(d.name) {
		return usagef("unknown data set %q; there are %s, and paths of images and arrays", d.name, strings.Join(dataset.Names(), ", "))
	}
	if err := (dataset.Options{Resize: d.resize, Channels: d.channels}).Check(); err != nil {
		return usageError{err}
	}
	_, err := d.normalization()
	return err
}

// require is check for a command that cannot do without data.
func (d *dataFlags) require() error {
	if d.name == "" {
		return usagef("data is needed: --data NAME, one of %s, or --data PATH of a folder or zip of images, or of arrays", strings.Join(dataset.Names(), ", "))
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
	if text == "" || text == "none" {
		return nil, nil
	}
	if n := dataset.UsualNormalization(text); n != nil {
		return n, nil
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

// formatNormalization is the form that parseNormalization reads, without names.
func formatNormalization(n *dataset.Normalization) string {
	list := func(values []float32) string {
		var parts []string
		for _, v := range values {
			parts = append(parts, strconv.FormatFloat(float64(v), 'g', -1, 32))
		}
		return strings.Join(parts, ",")
	}
	return list(n.Mean) + ":" + list(n.Std)
}

// Where a model's metadata says, in the form of the flags, how the images were read that it was trained on.
const (
	normalizeKey = ownKeys + "normalize"
	resizeKey    = ownKeys + "resize"
	channelsKey  = ownKeys + "channels"
	augmentKey   = ownKeys + "augment"
)

// dataKeys are carried from a model to those made of it.
var dataKeys = []string{normalizeKey, resizeKey, channelsKey, augmentKey}

// describe notes in the metadata how the images are read.
func (d *dataFlags) describe(meta map[string]string) {
	if d.normalize != "" {
		meta[normalizeKey] = d.normalize
	}
	if d.resize != 0 {
		meta[resizeKey] = strconv.Itoa(d.resize)
	}
	if d.channels != 0 {
		meta[channelsKey] = strconv.Itoa(d.channels)
	}
}

// chooseNormalization decides, for a network that is about to be trained, what nothing was said about: the usual normalization of the data set, where
// its images are coloured. A name becomes the numbers that it stands for, which the model will remember.
func (d *dataFlags) chooseNormalization() error {
	if d.normalize == "" && d.channels != 1 && strings.HasPrefix(d.name, "cifar") {
		d.normalize = d.name
	}
	if n := dataset.UsualNormalization(d.normalize); n != nil {
		d.normalize = formatNormalization(n)
	}
	_, err := d.normalization()
	return err
}

// options are what the flags say of how images are read.
func (d *dataFlags) options(a *app) (dataset.Options, error) {
	n, err := d.normalization()
	return dataset.Options{
		DataDir: a.dataDir, Log: a.sayOnce, Normalize: n, Resize: d.resize, Channels: d.channels, SkipCorrupt: d.skipCorrupt,
	}, err
}

// forModel is the flags with what they leave open taken from what the model remembers.
func (d *dataFlags) forModel(net *model.Model) (*dataFlags, error) {
	own, meta := *d, net.Metadata()
	if own.normalize == "" {
		own.normalize = meta[normalizeKey]
		if _, err := parseNormalization(own.normalize); err != nil {
			return nil, fmt.Errorf("%q: metadata %q: %w", net.Path, normalizeKey, err)
		}
	}
	for _, number := range []struct {
		key  string
		into *int
	}{{resizeKey, &own.resize}, {channelsKey, &own.channels}} {
		text, ok := meta[number.key]
		if !ok || *number.into != 0 {
			continue
		}
		var err error
		if *number.into, err = strconv.Atoi(text); err != nil {
			return nil, fmt.Errorf("%q: metadata %q: %q is not a number", net.Path, number.key, text)
		}
	}
	return &own, nil
}

// load reads a split of the data.
func (d *dataFlags) load(ctx context.Context, a *app, split dataset.Split) (*dataset.Set, error) {
	opt, err := d.options(a)
	if err != nil {
		return nil, err
	}
	return dataset.Open(ctx, d.name, split, opt)
}

// open loads a split of the data and checks that it fits the network.
func (d *dataFlags) open(ctx context.Context, a *app, split dataset.Split, net *model.Model) (*dataset.Set, error) {
	if err := d.require(); err != nil {
		return nil, err
	}
	if net.Graph == nil {
		return nil, fmt.Errorf("%q: %w", net.Path, model.ErrNoGraph)
	}
	own, err := d.forModel(net)
	if err != nil {
		return nil, err
	}
	opt, err := own.options(a)
	if err != nil {
		return nil, err
	}
	for _, in := range net.Graph.Inputs {
		opt.Inputs = append(opt.Inputs, dataset.Input{Name: in.Name, Integer: !in.DType.IsFloat()})
	}
	_, opt.Classes, _ = net.Input()
	// A set that does not fit should not be refused for a normalization that does not fit it either.
	normalize := opt.Normalize
	opt.Normalize = nil
	set, err := dataset.Open(ctx, own.name, split, opt)
	if err != nil {
		return nil, err
	}
	if err := d.checkKind(a, set, normalize); err != nil {
		return nil, err
	}
	if err := fits(net, set); err != nil {
		return nil, err
	}
	if !set.Images() {
		return set, nil
	}
	return set.Normalized(normalize)
}

// openLabelled is open for what cannot be done without labels.
func (d *dataFlags) openLabelled(ctx context.Context, a *app, split dataset.Split, net *model.Model) (*dataset.Set, error) {
	set, err := d.open(ctx, a, split, net)
	if err == nil {
		err = labelled(set)
	}
	return set, err
}

// labelled is an error where a set has no labels.
func labelled(set *dataset.Set) error {
	if set.Labelled() {
		return nil
	}
	return fmt.Errorf("%s has no labels, without which losses and accuracies cannot be measured: give them as an array y or labels, of whole numbers", set.Name())
}

// checkKind refuses what is said of images where samples are none. What the model remembers of images does not count then, which is said.
func (d *dataFlags) checkKind(a *app, set *dataset.Set, normalize *dataset.Normalization) error {
	switch {
	case set.Images():
	case d.normalize != "" && d.normalize != "none", d.resize != 0, d.channels != 0, d.skipCorrupt:
		return usagef("%s has arrays, whose values are taken as they are: --normalize, --resize, --channels and --skip-corrupt are for images, "+
			"which are arrays of uint8 of shape [n, height, width] or with one or three channels", set.Name())
	case normalize != nil:
		a.sayOnce(fmt.Sprintf("%s: its values are taken as they are; the model was trained on images normalised by %s", set.Name(), formatNormalization(normalize)))
	}
	return nil
}

// fits checks that samples have the shape that the network reads, or as many values where that is a plain vector, and the labels as many classes as it
// tells apart.
func fits(net *model.Model, set *dataset.Set) error {
	input, classes, known := net.Input()
	if !known || classes == 0 && set.Labelled() {
		return fmt.Errorf("%q: what it reads and computes for one sample cannot be told from its graph", net.Path)
	}
	shape := set.Shape()
	// Extents of 1 may be there or not.
	same := slices.Equal(wide(input), wide(shape)) || len(input) < len(shape) && product(input) == product(shape)
	if !set.Labelled() {
		if !same {
			return fmt.Errorf("%q reads samples of shape %v; %s has samples of shape %v", net.Path, input, set.Name(), shape)
		}
		return nil
	}
	if !same || classes != set.Classes() {
		return fmt.Errorf("%q reads samples of shape %v and tells %d classes apart; %s has samples of shape %v in %d classes",
			net.Path, input, classes, set.Name(), shape, set.Classes())
	}
	return nil
}

// wide are the extents above 1.
func wide(extents []int) []int {
	return slices.DeleteFunc(slices.Clone(extents), func(e int) bool { return e == 1 })
}

func product(extents []int) int {
	n := 1
	for _, e := range extents {
		n *= e
	}
	return n
}
