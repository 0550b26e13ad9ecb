package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/experiment"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/landscape"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/tensor"
)

// repairFlags say how the statistics of mixtures are repaired; merge and interpolate share them.
type repairFlags struct {
	method     string // "" chooses
	samples    int
	augment    string // "" chooses
	remembered bool   // augment is what the models were trained with
}

// repairBatch is how many samples run at once: all sites of a model are in memory for so many.
const repairBatch = 250

func (r *repairFlags) register(c *cobra.Command, chosen string) {
	c.Flags().StringVar(&r.method, "repair", "", "repair the statistics of channels on training data: none, reset, rescale, repair"+chosen)
	c.Flags().IntVar(&r.samples, "repair-samples", 2000, "training samples to repair on, a fixed random part; 0 is all")
	c.Flags().StringVar(&r.augment, "repair-augment", "",
		"change the samples to repair on at random, as in training: standard, paper, none; by default as both models were trained, which those trained here remember")
	choices(c, "repair", "none", "reset", "rescale", "repair")
	choices(c, "repair-augment", dataset.Augmentations()...)
}

// check finds mistakes in the flags before anything is opened.
func (r *repairFlags) check(d *dataFlags) error {
	switch {
	case r.method != "" && !slices.Contains(merge.RepairMethods(), merge.RepairMethod(r.method)):
		return usagef("--repair %q: there are %v", r.method, merge.RepairMethods())
	case r.samples < 0:
		return usagef("--repair-samples %d: the number must not be negative", r.samples)
	case dataset.Augmentation(r.augment).Check() != nil:
		return usagef("--repair-augment %q: there are %v", r.augment, dataset.Augmentations())
	case r.active() && d.name == "":
		return usagef("--repair %s needs training data: --data NAME", r.method)
	}
	return nil
}

// active says that something is to be repaired.
func (r *repairFlags) active() bool { return r.method != "" && r.method != string(merge.RepairNone) }

// choose decides what nothing was said about: with data, running statistics are reset. Without, the network needs it, which is said. Statistics that
// an exporter has folded into weights cannot be reset.
func (r *repairFlags) choose(a *app, data string, models ...*model.Model) error {
	switch {
	case r.method == "":
		r.chooseMethod(a, data, models[0])
	case r.method == string(merge.RepairReset) && folded(models[0]):
		return fmt.Errorf("--repair reset: %q has its batch normalisations folded into the convolutions: their statistics can only be repaired "+
			"(--repair repair or rescale), not reset", models[0].Path)
	}
	if !r.active() || r.augment != "" {
		return nil
	}
	return r.chooseAugmentation(a, models)
}

func (r *repairFlags) chooseMethod(a *app, data string, net *model.Model) {
	r.method = string(merge.RepairNone)
	switch {
	case folded(net):
		a.warn("batch normalisations are folded into the convolutions, so that statistics of the merged network can only be repaired " +
			"(--repair repair --data NAME), not reset; without, it may look broken")
	case net.Graph == nil || len(graph.Statistics(net.Graph)) == 0:
	case data != "":
		r.method = string(merge.RepairReset)
	default:
		a.warn("the network has BatchNormalization, and averaged running statistics are not those of the averaged network, which will look broken: " +
			"give --repair reset --data NAME, or reset them before use")
	}
}

// folded says that a network had batch normalisations, which are part of its convolutions now.
func folded(net *model.Model) bool {
	return net.ONNX() != nil && net.ONNX().Folded() && net.Graph != nil && len(graph.Statistics(net.Graph)) == 0
}

// chooseAugmentation takes what the models were trained with: the statistics that a network was trained with are those of changed images. Models that
// were trained in different ways leave images as they are, which is said.
func (r *repairFlags) chooseAugmentation(a *app, models []*model.Model) error {
	trained := make([]string, len(models))
	for i, m := range models {
		text := m.Metadata()[augmentKey]
		if err := dataset.Augmentation(text).Check(); err != nil {
			return fmt.Errorf("%q: metadata %q: %w", m.Path, augmentKey, err)
		}
		trained[i] = cmp.Or(text, string(dataset.AugmentNone))
	}
	r.augment = string(dataset.AugmentNone)
	if slices.ContainsFunc(trained, func(s string) bool { return s != trained[0] }) {
		a.warn("the models were trained with the augmentations %s: statistics are repaired on images as they are; --repair-augment says otherwise",
			strings.Join(trained, " and "))
		return nil
	}
	r.augment = trained[0]
	r.remembered = r.augmented()
	return nil
}

// augmented says that the samples to repair on are changed at random.
func (r *repairFlags) augmented() bool { return dataset.Augmentation(r.augment).Active() }

// onImages says behind a method what images it was done on.
func (r *repairFlags) onImages() string {
	switch {
	case !r.augmented():
		return ""
	case r.remembered:
		return fmt.Sprintf(", images augmented (%s) as the models were trained", r.augment)
	}
	return fmt.Sprintf(", images augmented (%s)", r.augment)
}

// forward runs networks on the samples to repair on.
func (r *repairFlags) forward(a *app, data *dataset.Set) (merge.Forward, error) {
	part := data.Sample(r.samples)
	var samples eval.Data = part
	switch {
	case !r.augmented():
	case !part.Images() && !r.remembered:
		return nil, usagef("--repair-augment %s: %s has arrays that are no images", r.augment, data.Name())
	case !part.Images():
		a.sayOnce(fmt.Sprintf("%s: its values are taken as they are; the models were trained on images that %s augmented", data.Name(), r.augment))
		r.augment = string(dataset.AugmentNone)
	default:
		samples = part.Augmented(dataset.Augmentation(r.augment), dataset.SampleSeed, 0)
	}
	return &eval.Values{Data: samples, Threads: a.threads, Batch: repairBatch}, nil
}

// repairJSON is what --json prints of a repair.
type repairJSON struct {
	Method  string   `json:"method"`
	Augment string   `json:"augment"`
	Sites   int      `json:"sites"`
	Passes  int      `json:"passes"`
	Notes   []string `json:"notes,omitempty"`
}

func newRepairJSON(f *repairFlags, r *merge.Repaired) *repairJSON {
	if r == nil {
		return nil
	}
	return &repairJSON{f.method, f.augment, r.Sites, r.Passes, r.Notes}
}

// newRepairer measures the models that are merged; nil where nothing is to be repaired.
func (f *mergeFlags) newRepairer(ctx context.Context, a *app, r *matching) (*merge.Repairer, error) {
	if !f.repair.active() {
		return nil, nil
	}
	if r.data == nil { // reset was chosen when A was known
		var err error
		if r.data, err = f.data.open(ctx, a, dataset.Train, r.a); err != nil {
			return nil, err
		}
	}
	ends, err := f.ends(ctx, r)
	if err != nil {
		return nil, err
	}
	forward, err := f.repair.forward(a, r.data)
	if err != nil {
		return nil, err
	}
	return merge.NewRepairer(ctx, merge.RepairMethod(f.repair.method), r.a.Graph, ends, forward)
}

// repairMerge repairs the network that the plan makes, and puts it in the plan.
func (a *app) repairMerge(ctx context.Context, f *mergeFlags, plan *merge.Plan, r *matching, repairer *merge.Repairer) (*merge.Repaired, error) {
	if repairer == nil {
		return nil, nil
	}
	mix, err := f.mixer(ctx, r)
	if err != nil {
		return nil, err
	}
	mixture, err := mix(plan.Weights)
	if err != nil {
		return nil, err
	}
	out, err := repairer.Apply(ctx, mixture, plan.Weights, func(done, total int) { a.report("repairing", done, total, "") })
	if err != nil {
		return nil, err
	}
	r.a.Tie(out.Params)
	plan.Repaired = out.Params
	return out, nil
}

// foresee is what a repair of a merge takes: the number of runs of the samples.
func (r *repairFlags) foresee(net *model.Model, models int) (passes int, err error) {
	if !r.active() || net.Graph == nil {
		return 0, nil
	}
	_, passes, err = merge.RepairCost(net.Graph, merge.RepairMethod(r.method))
	if r.method != string(merge.RepairReset) {
		passes += models
	}
	return passes, err
}

// repairedMix repairs each mixture of two models that lie in arenas like the runner's.
func (a *app) repairedMix(ctx context.Context, f *interpolateFlags, split *eval.Split, net *model.Model, thetas [][]float32) (landscape.Mix, error) {
	var ends []map[string]*tensor.Tensor
	for _, theta := range thetas {
		copy(split.Runner.Theta(), theta)
		ends = append(ends, split.Runner.ParamTensors())
	}
	forward, err := f.repair.forward(a, split.Train.(*dataset.Set))
	if err != nil {
		return nil, err
	}
	repairer, err := merge.NewRepairer(ctx, merge.RepairMethod(f.repair.method), net.Graph, ends, forward)
	if err != nil {
		return nil, err
	}
	return experiment.RepairedMix(ctx, split.Runner, repairer), nil
}

// printRepair says what a repair did.
func (a *app) printRepair(f *repairFlags, r *merge.Repaired) {
	if r == nil {
		return
	}
	a.printf("repaired: %s at %s, in %s over the samples%s\n", f.method, counted(r.Sites, "site"), counted(r.Passes, "run"), f.onImages())
	for _, n := range r.Notes {
		a.printf("note: %s\n", n)
	}
}
