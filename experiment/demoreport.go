package experiment

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/landscape"
	"github.com/rebasin/rebasin/report"
	"github.com/rebasin/rebasin/train"
)

// Table is the demonstration's table, for the report and for a terminal of 80 columns.
func (r *DemoResult) Table() (header []string, rows [][]string) {
	header = []string{"model or midpoint", "test acc.", "test loss", "train loss", "test barrier", "train barrier"}
	for i, e := range r.Endpoints {
		rows = append(rows, []string{"model " + string(rune('A'+i)), percent(e.Test.Accuracy), loss(e.Test.Loss), loss(e.Train.Loss), "", ""})
	}
	for _, name := range DemoMethods {
		m := r.Methods[name]
		rows = append(rows, []string{
			methodTitles[name], percent(m.Midpoint.Test.Accuracy), loss(m.Midpoint.Test.Loss), loss(m.Midpoint.Train.Loss),
			loss(m.Barrier.Test.Chord), loss(m.Barrier.Train.Chord),
		})
	}
	return header, rows
}

var methodTitles = map[string]string{"naive": "not aligned", "activation": "activations", "weight": "weights", "ste": "straight-through"}

func percent(x float64) string { return fmt.Sprintf("%.2f %%", 100*x) }

func loss(x float64) string { return fmt.Sprintf("%.4f", x) }

// writeReport writes the figures and the page that holds them. They say nothing of time, which is another in every run: the same seed gives the same
// page.
func (d *demo) writeReport() error {
	var curves []landscape.Curve
	for _, name := range DemoMethods {
		curves = append(curves, d.curves[name])
	}
	curve, err := report.CurveFigure(report.CurveOptions{}, curves)
	if err != nil {
		return err
	}
	training, err := report.TrainingFigure(report.TrainingOptions{Caption: "Means over the training samples of each epoch, as they were trained on."},
		[]report.History{history("model A", d.histories[0]), history("model B", d.histories[1])})
	if err != nil {
		return err
	}
	trace, err := report.TraceFigure(report.TraceOptions{Title: "Weight matching", YLabel: "⟨A, P·B⟩"},
		[]report.Trace{{Name: "weight", Objective: d.traces["weight"]}})
	if err != nil {
		return err
	}
	svg, err := curve.SVG()
	if err != nil {
		return err
	}
	png, err := curve.PNG()
	if err != nil {
		return err
	}
	for _, f := range []struct {
		path string
		data []byte
	}{{d.result.Files.Curve, svg}, {strings.TrimSuffix(d.result.Files.Curve, ".svg") + ".png", png}} {
		if err := checkpoint.WriteFile(f.path, func(w io.Writer) error { _, err := w.Write(f.data); return err }); err != nil {
			return err
		}
	}
	doc, err := d.document(curve, training, trace)
	if err != nil {
		return err
	}
	return checkpoint.WriteFile(d.result.Files.Report, doc.WriteHTML)
}

func history(name string, epochs []train.Epoch) report.History {
	h := report.History{Name: name}
	for _, e := range epochs {
		h.Epochs = append(h.Epochs, report.Epoch{Epoch: float64(e.Epoch), Train: &eval.Metrics{Loss: e.Loss, Accuracy: e.Accuracy}})
	}
	return h
}

func (d *demo) document(curve, training, trace *report.Figure) (report.Document, error) {
	r := d.result
	header, rows := r.Table()
	w, n := r.Methods["weight"], r.Methods["naive"]
	doc := report.Document{
		Title: "Two networks, one basin",
		Summary: fmt.Sprintf("Two networks with hidden layers of %s units were trained on %s from different seeds. Averaging their weights as they are gives a "+
			"test loss of %.3f. After the units of one are put in the order of the other, which changes nothing about what it computes, the average has a test loss of %.3f "+
			"(weight matching), against %.3f and %.3f of the two networks.",
			strings.Trim(strings.ReplaceAll(fmt.Sprint(d.opt.Hidden), " ", ", "), "[]"), d.dataName(),
			n.Midpoint.Test.Loss, w.Midpoint.Test.Loss, r.Endpoints[0].Test.Loss, r.Endpoints[1].Test.Loss),
		Sections: []report.Section{
			{
				Heading: "The way between the models",
				Text: "Each point is a network whose weights are a mixture of the two. A barrier is how far the loss rises above the straight line between " +
					"the ends.",
				Tables: []report.Table{{
					Caption: "Ends and midpoints. Barriers are those of the loss, over the chord between the ends.", Header: header, Rows: rows,
				}},
				Figures: []*report.Figure{curve},
			},
			{
				Heading: "The alignments",
				Text: fmt.Sprintf("The network has 10^%.2f symmetries: orders of its hidden units that compute the same function. Each aligned model was compared with the "+
					"original on all %d test images in float32, and on %d of them in float64.", r.Log10, d.test.Len(), min(exactSamples, d.test.Len())),
				Tables: []report.Table{d.methodTable()}, Figures: []*report.Figure{trace},
			},
			{Heading: "The training", Figures: []*report.Figure{training}},
		},
	}
	doc.Meta = []report.Field{
		{Name: "rebasin", Value: d.opt.Version},
		{Name: "seed", Value: fmt.Sprint(r.Seed)},
		{Name: "training images measured on", Value: fmt.Sprint(d.subset.Len())},
		{Name: "test images", Value: fmt.Sprint(d.test.Len())},
	}
	for _, path := range append(append([]string{}, r.Files.Models...), r.Files.Aligned, r.Files.Merged) {
		hash, err := checkpoint.Hash(path)
		if err != nil {
			return doc, err
		}
		doc.Meta = append(doc.Meta, report.Field{Name: filepath.Base(path), Value: "SHA-256 " + hash})
	}
	return doc, nil
}

// dataName is the name of the data set as people write it.
func (d *demo) dataName() string {
	if name := d.full.Name(); name != "mnist" {
		return name
	}
	return "MNIST"
}

func (d *demo) methodTable() report.Table {
	t := report.Table{
		Caption: "What each algorithm did. The deviation of the outputs is relative to the largest.",
		Header:  []string{"algorithm", "sweeps or steps", "ended", "deviation in float32", "in float64"},
	}
	for _, name := range DemoMethods[1:] {
		m := d.result.Methods[name]
		t.Rows = append(t.Rows, []string{
			methodTitles[name], fmt.Sprint(m.Sweeps), m.Status, fmt.Sprintf("%.1e", m.Rounding), fmt.Sprintf("%.1e", m.MaxDeviation),
		})
	}
	return t
}
