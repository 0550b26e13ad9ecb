package experiment

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/match"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

// TestPlantedTable prints the table of planted alignments of docs/results.md. It is not part of the usual run:
//
//	REBASIN_PLANTED=zoo REBASIN_DRAWS=100 go test ./experiment -run TestPlantedTable -v -timeout 2h
//
// REBASIN_PLANTED may also be a pattern of paths of models that bring their graph, as ../onnx/testdata/*.onnx; each is taken with the weights it has,
// and with random ones. REBASIN_NOISE lists levels of noise, REBASIN_NETWORKS picks rows by
// a part of their name.
func TestPlantedTable(t *testing.T) {
	which := os.Getenv("REBASIN_PLANTED")
	if which == "" {
		t.Skip("prints a table; set REBASIN_PLANTED")
	}
	draws, err := strconv.Atoi(os.Getenv("REBASIN_DRAWS"))
	if err != nil {
		draws = 20
	}
	noises := []float64{0, .3}
	if list := os.Getenv("REBASIN_NOISE"); list != "" {
		noises = nil
		for _, text := range strings.Split(list, ",") {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			noises = append(noises, v)
		}
	}
	networks := zooTable(t)
	if only := os.Getenv("REBASIN_NETWORKS"); only != "" {
		networks = slices.DeleteFunc(networks, func(n tableNetwork) bool { return !strings.Contains(n.name, only) })
	}
	if which != "zoo" {
		networks = fileTable(t, which)
	}
	for _, n := range networks {
		for _, noise := range noises {
			opt := n.PlantedOptions
			opt.Draws, opt.Noise = draws, noise
			opt.Ways = append(slices.Clone(defaultPlantedWays), PlantedWay{match.StartVaried, 2})
			r, err := Planted(t.Context(), opt)
			if err != nil {
				t.Errorf("%s: %v", n.name, err)
				break
			}
			var row strings.Builder
			fmt.Fprintf(&row, "| %s | %d | %.4g | %v |", n.name, r.Units, r.Log10, noise)
			for _, w := range r.Ways {
				seconds, above := 0., 0 // better alignments than the planted one; what is neither found nor below nor above is one as good
				for _, d := range w.Draws {
					seconds += d.Seconds / float64(len(w.Draws))
					if d.Objective > d.Planted*(1+plantedRounding) {
						above++
					}
				}
				fmt.Fprintf(&row, " %s: %d of %d, below %d, above %d, units %.1f %%, ratio %.4f, sweeps %.1f, %.3g s |",
					w, w.Exact, len(w.Draws), w.Below, above, 100*w.MeanUnits, w.MeanRatio, w.MeanSweeps, seconds)
			}
			fmt.Println(row.String())
		}
	}
}

// TestMatchTimesTable prints the times of weight matching of docs/performance.md, ResNet20 up to the width multiplier of REBASIN_MATCH_WIDTH.
func TestMatchTimesTable(t *testing.T) {
	width, err := strconv.Atoi(os.Getenv("REBASIN_MATCH_WIDTH"))
	if err != nil {
		t.Skip("prints a table; set REBASIN_MATCH_WIDTH")
	}
	r, err := MatchTimes(t.Context(), MatchTimesOptions{Networks: PaperMatchNetworks(width)})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range r.Rows {
		fmt.Printf("| %s | %.3g | %.3f | %d | %.4g | %.3g | %.0f | %v |\n", row.Name, float64(row.Parameters)/1e6, row.Seconds, row.Sweeps, row.Objective,
			row.FLOPs, float64(row.MemoryBytes)/1e6, row.PaperSeconds)
	}
}

type tableNetwork struct {
	name string
	PlantedOptions
}

// zooTable are the built-in architectures, all with the initial weights of the reference code.
func zooTable(t *testing.T) []tableNetwork {
	t.Helper()
	var out []tableNetwork
	add := func(name string, cfg zoo.Config) { out = append(out, tableNetwork{name, PlantedOptions{Config: &cfg}}) }
	for _, hidden := range [][]int{{512, 512, 512}, {64, 64, 64}, {16, 16, 16}, {4, 4, 4}, {64, 64, 64, 64, 64, 64, 64, 64}} {
		add(fmt.Sprintf("MLP 784-%dx%d-10", len(hidden), hidden[0]), zoo.Config{Arch: "mlp", Input: []int{784}, Hidden: hidden, Classes: 10})
	}
	add("VGG-16 x1/4", zoo.Config{Arch: "vgg16", Width: .25, Classes: 10})
	for _, width := range []float64{.25, .5, 1, 2} {
		add(fmt.Sprintf("ResNet20 x%v", width), zoo.Config{Arch: "resnet20", Norm: "layer", Width: width, Classes: 10})
	}
	add("ResNet56 x1", zoo.Config{Arch: "resnet56", Norm: "layer", Classes: 10})
	add("ResNet50 x1/8", zoo.Config{Arch: "resnet50", Width: .125, Classes: 10})
	for _, r := range []residual{{3, 3, 5, 1}, {3, 30, 50, 1}, {3, 30, 50, 3}, {30, 30, 50, 3}, {3, 64, 256, 3}} {
		add := func(name string, init func(*graph.Graph, uint64) (map[string]*tensor.Tensor, error)) {
			out = append(out, tableNetwork{fmt.Sprintf("residual MLP %d-%d-%d, %d blocks%s", r.ends, r.stream, r.inner, r.blocks, name), PlantedOptions{Graph: r.graph(t), Init: init}})
		}
		add("", nil)
		add(", all N(0, 1)", standardNormal)
	}
	return out
}

// residual is a network of blocks x + W₂ relu(W₁x) on a stream, as in the report of a user of the reference code (its issue 8), who found 10 of 100
// alignments for a stream of 30 and an inner width of 50, with all weights from the standard normal distribution.
type residual struct{ ends, stream, inner, blocks int }

func (r residual) graph(t *testing.T) *graph.Graph {
	t.Helper()
	b := graph.NewBuilder("residual")
	h := b.Linear("embedded", b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(r.ends)), "embed", r.stream, r.ends, false)
	for i := range r.blocks {
		name := fmt.Sprintf("block%d", i)
		inner := b.Relu(name+".h", b.Linear(name+".z", h, name+".up", r.inner, r.stream, false))
		h = b.Add(name, h, b.Linear(name+".y", inner, name+".down", r.stream, r.inner, false))
	}
	b.Output(b.Linear("out", h, "head", r.ends, r.stream, false))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func standardNormal(g *graph.Graph, seed uint64) (map[string]*tensor.Tensor, error) {
	params := map[string]*tensor.Tensor{}
	for _, p := range g.Params {
		shape, _ := p.Shape.Fixed()
		w, rng := tensor.New(tensor.F32, shape), namedRand(seed, p.Name)
		for i := range tensor.Of[float32](w) {
			tensor.Of[float32](w)[i] = float32(rng.NormFloat64())
		}
		params[p.Name] = w
	}
	return params, nil
}

// fileTable are the files of a pattern.
func fileTable(t *testing.T, pattern string) []tableNetwork {
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	var out []tableNetwork
	for _, path := range paths {
		m, err := model.Open(path, model.Options{})
		if err != nil {
			t.Fatal(err)
		}
		params, err := m.GraphParams(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, tableNetwork{filepath.Base(path), PlantedOptions{Graph: m.Graph, Params: params}})
		out = append(out, tableNetwork{filepath.Base(path) + ", random", PlantedOptions{Graph: m.Graph}})
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}
