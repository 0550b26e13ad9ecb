package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/onnx"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/zoo"
)

// architectures and norms are the usual values of --arch and --norm.
var (
	architectures = zoo.Architectures()
	norms         = []string{"none", "layer", "batch", "group"}
)

// modelFlags say how to understand model files.
type modelFlags struct {
	arch, key, symmetry, graph string
	noVerify                   bool
}

func (m *modelFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&m.arch, "arch", "",
		"architecture of files that do not name their own: "+strings.Join(architectures, ", ")+"; sizes are read from the tensors")
	choices(c, "arch", architectures...)
	c.Flags().StringVar(&m.graph, "graph", "",
		"ONNX `FILE` with the graph of files of tensors, which are told by the names of its initializers, else by their values")
	c.Flags().StringVar(&m.key, "key", "", "where the state dict is in a file of PyTorch that holds more than one: `KEY`s with dots between them, or . for the top")
}

func (m *modelFlags) registerSymmetry(c *cobra.Command) {
	m.register(c)
	c.Flags().StringVar(&m.symmetry, "symmetry", "", "take the symmetry from this specification `FILE` (YAML, or git-re-basin's JSON) instead of inferring it")
}

// options are what the flags say of files. With --graph, one of the files tells which of their tensors the graph means.
func (m *modelFlags) options(paths ...string) (opt model.Options, closing func(), err error) {
	opt, closing = model.Options{Arch: m.arch, Key: m.key}, func() {}
	switch {
	case m.arch != "" && !zoo.Known(m.arch):
		return opt, closing, usagef("unknown architecture %q; known: %s", m.arch, strings.Join(architectures, ", "))
	case m.arch != "" && m.graph != "":
		return opt, closing, usagef("--arch and --graph exclude each other")
	case m.graph == "":
		return opt, closing, nil
	}
	names, err := model.OpenNames(m.graph)
	if err != nil {
		return opt, closing, fmt.Errorf("--graph: %w", err)
	}
	closing = func() { names.Close() }
	var first error
	for _, path := range paths {
		err := names.Bind(path, opt)
		if err == nil {
			opt.Names = names
			return opt, closing, nil
		}
		if first == nil {
			first = err
		}
	}
	return opt, closing, first
}

func (m *modelFlags) open(path string) (*model.Model, error) {
	opt, closing, err := m.options(path)
	defer closing()
	if err != nil {
		return nil, err
	}
	return model.Open(path, opt)
}

// openTensors opens a file whose graph is not needed.
func (m *modelFlags) openTensors(path string) (*model.Model, error) {
	opt, closing, err := m.options(path)
	defer closing()
	if err != nil {
		return nil, err
	}
	opt.Tensors = true
	return model.Open(path, opt)
}

// openFinite opens a model whose values are all finite.
func (m *modelFlags) openFinite(ctx context.Context, path string) (*model.Model, error) {
	opt, closing, err := m.options(path)
	defer closing()
	if err != nil {
		return nil, err
	}
	return openFinite(ctx, path, opt)
}

func openFinite(ctx context.Context, path string, opt model.Options) (*model.Model, error) {
	opened, err := model.Open(path, opt)
	if err != nil {
		return nil, err
	}
	if err := opened.CheckFinite(ctx); err != nil {
		opened.Close()
		return nil, err
	}
	return opened, nil
}

// modelSet is several models of one network.
type modelSet []*model.Model

// openAll opens models that have the same tensors, all finite, and are the same network as far as that is known.
func (m *modelFlags) openAll(ctx context.Context, paths ...string) (modelSet, error) {
	return m.openWith(ctx, openFinite, false, paths...)
}

// openUnread is openAll without reading any values: whether they are finite is left to who reads them.
func (m *modelFlags) openUnread(ctx context.Context, paths ...string) (modelSet, error) {
	return m.openWith(ctx, func(_ context.Context, path string, opt model.Options) (*model.Model, error) {
		return model.Open(path, opt)
	}, false, paths...)
}

// openApart is openAll for two models that may name things differently, if the graphs of both are known. --arch and --graph are for one of them where the
// other has a graph of its own.
func (m *modelFlags) openApart(ctx context.Context, a, b string) (modelSet, error) {
	spared := false
	set, err := m.openWith(ctx, func(ctx context.Context, path string, opt model.Options) (*model.Model, error) {
		opened, err := openFinite(ctx, path, opt)
		if errors.Is(err, model.ErrOwnGraph) && !spared {
			spared = true
			return openFinite(ctx, path, model.Options{})
		}
		return opened, err
	}, true, a, b)
	if err != nil {
		return nil, err
	}
	if set[0].Graph == nil || set[1].Graph == nil {
		if err := sameKind(set[0], set[1]); err != nil {
			set.close()
			return nil, err
		}
	}
	return set, nil
}

type opener func(ctx context.Context, path string, opt model.Options) (*model.Model, error)

func (m *modelFlags) openWith(ctx context.Context, open opener, apart bool, paths ...string) (modelSet, error) {
	opt, closing, err := m.options(paths...)
	defer closing()
	if err != nil {
		return nil, err
	}
	var set modelSet
	for _, path := range paths {
		next, err := open(ctx, path, opt)
		if err != nil {
			set.close()
			return nil, err
		}
		set = append(set, next)
		if err := sameKind(set[0], next); err != nil && !apart {
			set.close()
			return nil, err
		}
	}
	return set, nil
}

func sameKind(a, b *model.Model) error {
	if err := model.SameTensors(a, b); err != nil {
		if (a.ONNX() == nil) != (b.ONNX() == nil) {
			plain, exported := a, b
			if a.ONNX() != nil {
				plain, exported = b, a
			}
			return fmt.Errorf("%w; write the tensors into the graph first: rebasin convert %s FILE.onnx --graph %s", err, plain.Path, exported.Path)
		}
		return err
	}
	return model.SameNetwork(a, b)
}

// noteModels says once what a user should know of how files were understood.
func (a *app) noteModels(models ...*model.Model) {
	said := map[string]bool{}
	for _, m := range models {
		for _, note := range m.Notes() {
			if !said[note] {
				said[note] = true
				a.warn("%q: %s", m.Path, note)
			}
		}
	}
}

// checkApart refuses outputs that would take the place of a file that a model is read from besides its own, as a shard or the external data of ONNX.
func checkApart(output string, models ...*model.Model) error {
	outputs := []string{output}
	for _, m := range models {
		if m.ONNX() != nil {
			outputs = append(outputs, output+onnx.DataSuffix)
		}
	}
	for _, m := range models {
		for _, in := range m.Form().Spared() {
			if i := slices.IndexFunc(outputs, func(out string) bool { return sameFile(in, out) }); i >= 0 {
				return usagef("output %q is an input too; inputs are never changed", outputs[i])
			}
		}
	}
	return nil
}

func (s modelSet) close() {
	for _, m := range s {
		m.Close()
	}
}

// symmetryOf reads the specification file or infers the symmetry from the graph.
func (m *modelFlags) symmetryOf(ctx context.Context, models ...*model.Model) (*symmetry.Symmetry, error) {
	first := models[0]
	if m.symmetry == "" {
		if first.Graph == nil {
			return nil, fmt.Errorf("%q: neither metadata nor a flag says what network this is: give --arch NAME, --graph FILE or --symmetry FILE", first.Path)
		}
		return model.Symmetry(ctx, models...)
	}
	text, err := readSmall(m.symmetry)
	if err != nil {
		return nil, fmt.Errorf("--symmetry: %w", err)
	}
	s, err := symmetry.ParseSpec(text, first.Shapes())
	if err != nil {
		return nil, fmt.Errorf("--symmetry %q for %q: %w", m.symmetry, first.Path, err)
	}
	return s, nil
}

// maxSmall bounds the size of a specification or alignment file; an alignment holds a number for every unit.
const maxSmall = 1 << 30

func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", path)
	}
	if info.Size() > maxSmall {
		return nil, fmt.Errorf("%q has %d bytes, more than the %d such a file may have", path, info.Size(), maxSmall)
	}
	return os.ReadFile(path)
}

// prove runs the proof of the symmetry where the network can be run; where it cannot, the proof is nil.
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
		return nil, fmt.Errorf("%q: the proof of the symmetry failed: %w", net.Path, err)
	}
	for _, g := range proof.Unproven {
		a.warn("group %q is unproven: no axis of it changes the outputs when permuted alone", g)
	}
	return proof, nil
}

// whyUnproven says why prove gave no proof.
func (m *modelFlags) whyUnproven(net *model.Model) string {
	if net.Graph == nil {
		return "the network's graph is not known (--arch or --graph would tell), so nothing can be run; shapes and sizes were checked"
	}
	return "--no-verify was given"
}

// ownKeys begin the metadata that this program writes.
const ownKeys = "rebasin."

// outputMetadata is the metadata of an output: what a foreign program wrote into the model it is like, how the model expects
// images to be read, and how it came about: program, method, seed and the inputs' SHA-256.
func outputMetadata(like *model.Model, method string, seed uint64, hashes ...string) map[string]string {
	meta := like.Metadata()
	maps.DeleteFunc(meta, func(key, _ string) bool { return strings.HasPrefix(key, ownKeys) && !slices.Contains(dataKeys, key) })
	if meta == nil {
		meta = map[string]string{}
	}
	meta["rebasin.version"], meta["rebasin.method"], meta["rebasin.seed"] = version(), method, strconv.FormatUint(seed, 10)
	for i, hash := range hashes {
		meta["rebasin.input."+strconv.Itoa(i)] = "sha256:" + hash
	}
	return meta
}
