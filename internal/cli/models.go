package cli

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/symmetry"
)

// modelFlags say how to understand model files.
type modelFlags struct {
	arch, symmetry string
	noVerify       bool
}

func (m *modelFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&m.arch, "arch", "", "architecture of files that do not name their own (mlp); sizes are read from the tensors")
}

func (m *modelFlags) registerSymmetry(c *cobra.Command) {
	m.register(c)
	c.Flags().StringVar(&m.symmetry, "symmetry", "", "take the symmetry from this specification file (YAML, or git-re-basin's JSON) instead of inferring it")
	c.Flags().BoolVar(&m.noVerify, "no-verify", false, "do not prove the symmetry and the result by running the network")
}

func (m *modelFlags) open(path string) (*model.Model, error) {
	return model.Open(path, model.Options{Arch: m.arch})
}

// openPair opens two models that have the same tensors, all finite.
func (m *modelFlags) openPair(ctx context.Context, pathA, pathB string) (a, b *model.Model, err error) {
	if a, err = m.open(pathA); err != nil {
		return nil, nil, err
	}
	if b, err = m.open(pathB); err != nil {
		a.Close()
		return nil, nil, err
	}
	check := func() error {
		if err := model.SameTensors(a, b); err != nil {
			return err
		}
		if err := model.SameNetwork(a, b); err != nil {
			return err
		}
		if err := a.CheckFinite(ctx); err != nil {
			return err
		}
		return b.CheckFinite(ctx)
	}
	if err := check(); err != nil {
		a.Close()
		b.Close()
		return nil, nil, err
	}
	return a, b, nil
}

// symmetryOf reads the specification file or infers the symmetry from the graph.
func (m *modelFlags) symmetryOf(ctx context.Context, models ...*model.Model) (*symmetry.Symmetry, error) {
	if m.symmetry == "" {
		if models[0].Graph == nil {
			return nil, fmt.Errorf("%q: neither metadata nor a flag says what network this is: give --arch NAME or --symmetry FILE", models[0].Path)
		}
		return model.Symmetry(ctx, models...)
	}
	text, err := readSmall(m.symmetry)
	if err != nil {
		return nil, err
	}
	s, err := symmetry.ParseSpec(text, models[0].Shapes())
	if err != nil {
		return nil, fmt.Errorf("%q for %q: %w", m.symmetry, models[0].Path, err)
	}
	return s, nil
}

// maxSpec bounds the size of a specification or alignment file; an alignment holds a number for every unit.
const maxSpec = 1 << 30

func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", path)
	}
	if info.Size() > maxSpec {
		return nil, fmt.Errorf("%q has %d bytes, more than the %d such a file may have", path, info.Size(), maxSpec)
	}
	return os.ReadFile(path)
}

// prove runs the proof of the symmetry where the network can be run.
func (m *modelFlags) prove(ctx context.Context, a *app, sym *symmetry.Symmetry, net *model.Model, seed uint64) (*symmetry.Proof, error) {
	if m.noVerify || net.Graph == nil {
		return nil, nil
	}
	params, err := net.GraphParams(ctx)
	if err != nil {
		return nil, err
	}
	proof, err := symmetry.Verify(ctx, net.Graph, sym, params, symmetry.VerifyOptions{Seed: seed, Threads: a.threads})
	if err != nil {
		return nil, fmt.Errorf("the symmetry of %q does not hold: %w", net.Path, err)
	}
	for _, g := range proof.Unproven {
		a.warn("group %q is unproven: no axis of it changes the outputs when permuted alone", g)
	}
	return proof, nil
}

// dataFlags say which data to use and how to read it.
type dataFlags struct {
	name, normalize string
	samples         int
}

func (d *dataFlags) register(c *cobra.Command, use string) {
	c.Flags().StringVar(&d.name, "data", "", "data set "+use+": "+strings.Join(dataset.Names(), ", "))
	c.Flags().StringVar(&d.normalize, "normalize", "", "MEAN[,..]:STD[,..] that the model expects of pixels in [0, 1]")
}

func (d *dataFlags) options(a *app) (dataset.Options, error) {
	opt := dataset.Options{DataDir: a.dataDir, Log: func(s string) { a.say("%s", s) }}
	if d.normalize == "" {
		return opt, nil
	}
	mean, std, ok := strings.Cut(d.normalize, ":")
	if !ok {
		return opt, usagef("--normalize %q: the form is MEAN[,..]:STD[,..]", d.normalize)
	}
	var n dataset.Normalization
	for _, part := range []struct {
		text string
		into *[]float32
	}{{mean, &n.Mean}, {std, &n.Std}} {
		for _, s := range strings.Split(part.text, ",") {
			x, err := strconv.ParseFloat(strings.TrimSpace(s), 32)
			if err != nil {
				return opt, usagef("--normalize %q: %q is not a number", d.normalize, s)
			}
			*part.into = append(*part.into, float32(x))
		}
	}
	opt.Normalize = &n
	return opt, nil
}

// open loads a split of the data and checks that it fits the network.
func (d *dataFlags) open(ctx context.Context, a *app, split dataset.Split, net *model.Model) (*dataset.Set, error) {
	if d.name == "" {
		return nil, usagef("data is needed: --data NAME, one of %s", strings.Join(dataset.Names(), ", "))
	}
	if net.Graph == nil {
		return nil, fmt.Errorf("model %q: %w", net.Path, model.ErrNoGraph)
	}
	opt, err := d.options(a)
	if err != nil {
		return nil, err
	}
	set, err := dataset.Open(ctx, d.name, split, opt)
	if err != nil {
		return nil, err
	}
	return set, fits(net, set)
}

// fits checks that samples have as many values as the network reads, and the labels as many classes as it tells apart.
func fits(net *model.Model, set *dataset.Set) error {
	want, got := 1, 1
	for _, n := range net.Config.Input {
		want *= n
	}
	for _, n := range set.Shape() {
		got *= n
	}
	if want != got || net.Config.Classes != set.Classes() {
		return fmt.Errorf("model %q reads samples of shape %v and tells %d classes apart; %s has samples of shape %v in %d classes",
			net.Path, net.Config.Input, net.Config.Classes, set.Name(), set.Shape(), set.Classes())
	}
	return nil
}

// subset is a fixed random part of a data set, the same for every seed; n of 0 or more than there are is all.
func subset(set *dataset.Set, n int) *dataset.Set {
	if n <= 0 || n >= set.Len() {
		return set
	}
	return set.Subset(dataset.Order(set.Len(), subsetSeed, 0)[:n])
}

const subsetSeed = 0x5eed

// provenance is the metadata every output carries.
func provenance(method string, seed uint64, inputs ...string) (map[string]string, error) {
	meta := map[string]string{"rebasin.version": version(), "rebasin.method": method, "rebasin.seed": strconv.FormatUint(seed, 10)}
	for i, path := range inputs {
		hash, err := checkpoint.Hash(path)
		if err != nil {
			return nil, err
		}
		meta["rebasin.input."+strconv.Itoa(i)] = "sha256:" + hash
	}
	return meta, nil
}
