package experiment

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/report"
)

// What Ainsworth, Hayase, Srinivasa ("Git Re-Basin", ICLR 2023, arXiv:2209.04836) give beside what was measured. Most of their results are curves without
// numbers: then it is what they say of them.

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// besideFigure2 compares barriers after alignment (section 5.1).
func (f *Finished) besideFigure2(ways []*way) (out []report.Comparison) {
	for _, c := range f.cases() {
		best := bestAligned(ways, c.Name)
		if best == nil {
			continue
		}
		row := report.Comparison{Quantity: "barrier of the test loss, " + c.Name, Ours: best.testBarrier.text(3) + " (" + best.describe() + ")"}
		switch {
		case c.Network.Arch == "mlp" && c.Data.Name == "mnist":
			row.Paper, row.Note = "zero by all three ways (section 5.1, figure 2)", c.epochs()
		case c.Network.Arch == "resnet20" && c.Data.Name == "cifar10":
			row.Paper, row.Note = "zero at large widths (section 5.3, figure 4)", fmt.Sprintf("width %s here, %s", fraction(cmp.Or(c.Network.Width, 1)), c.epochs())
		default:
			continue
		}
		out = append(out, row)
	}
	return out
}

// epochs of training, and the width where that is not the paper's.
func (c *Case) epochs() string {
	text := counted(c.Training.Epochs, "epoch") + " of training here"
	if w := cmp.Or(c.Network.Width, 1); c.Network.Arch == "mlp" && w != 1 {
		text = fmt.Sprintf("width %s and %s", fraction(w), text)
	}
	return text
}

// besideFigure3 compares the course of barriers in training (section 5.2), of MLPs on MNIST and CIFAR-10.
func (f *Finished) besideFigure3(ways []*way) (out []report.Comparison) {
	for _, c := range f.cases() {
		if c.Network.Arch != "mlp" || c.Data.Name != "mnist" && c.Data.Name != "cifar10" {
			continue
		}
		of := slices.DeleteFunc(slices.Clone(ways), func(w *way) bool { return w.c != c.Name || w.method != ByWeight || w.repair != "" })
		if len(of) == 0 {
			continue
		}
		slices.SortStableFunc(of, func(a, b *way) int { return cmp.Compare(a.epoch, b.epoch) })
		first, last := of[0], of[len(of)-1]
		out = append(out, report.Comparison{
			Quantity: "barrier of the test loss after weight matching, " + c.Name, Paper: "high at first, and falls gradually (section 5.2, figure 3)",
			Ours: fmt.Sprintf("%s after epoch %d, %s after epoch %d", first.testBarrier.text(3), first.epoch, last.testBarrier.text(3), last.epoch), Note: c.epochs(),
		})
	}
	return out
}

// besideFigure4 compares barriers by width (section 5.3), of VGG-16 and ResNet20 on CIFAR-10 after weight matching.
func (f *Finished) besideFigure4(ways []*way) (out []report.Comparison) {
	for _, series := range seriesOf(ways) {
		of := bestSeries(ways, series)
		if len(of) < 2 {
			continue
		}
		narrow, wide := of[0], of[len(of)-1]
		c := f.find(wide.c)
		if c == nil || c.Data.Name != "cifar10" || c.Network.Arch != "vgg16" && c.Network.Arch != "resnet20" {
			continue
		}
		note := c.epochs()
		if c.Network.Norm != "layer" {
			note = "LayerNorm there; " + note
		}
		out = append(out, report.Comparison{
			Quantity: "barrier of the test loss by width, " + series, Paper: "there is one at width 1, which falls to zero at large widths (section 5.3, figure 4)",
			Ours: fmt.Sprintf("%s at width %s, %s at width %s (%s)", narrow.testBarrier.text(3), fraction(narrow.x), wide.testBarrier.text(3), fraction(wide.x), wide.describe()), Note: note,
		})
	}
	return out
}

// besideMatchers compares ways of aligning MLPs on MNIST (section 5.1).
func (f *Finished) besideMatchers(ways []*way) (out []report.Comparison) {
	for _, c := range f.cases() {
		if c.Network.Arch != "mlp" || c.Data.Name != "mnist" || cmp.Or(c.Network.Width, 1) != 1 || len(c.Network.Hidden) > 0 {
			continue
		}
		ours := ""
		for _, m := range []string{ByStraight, ByWeight, ByActivation} {
			if i := slices.IndexFunc(ways, func(w *way) bool { return w.c == c.Name && w.method == m && w.repair == "" }); i >= 0 {
				ours += fmt.Sprintf("; %s %s", m, ways[i].middleLoss.text(3))
			}
		}
		if ours != "" {
			out = append(out, report.Comparison{
				Quantity: "test loss of the midpoint, " + c.Name, Paper: "least by the straight-through estimator, activations slightly behind weights (section 5.1)", Ours: ours[2:], Note: c.epochs(),
			})
		}
	}
	return out
}

// besideTable3 compares merged MLPs on MNIST (appendix A.10): five on all data, and 32 on random halves.
func (f *Finished) besideTable3(all []*evaluated) (out []report.Comparison) {
	accuracy := func(e *Evaluation) float64 { return float64(e.Test.Accuracy) }
	calibration := func(e *Evaluation) float64 { return float64(e.Test.CalibrationError) }
	for _, g := range groupsOf(all) {
		c := f.find(g[0])
		merged, inputs, ensemble := pick(all, g, roleMerged, MergeMany, ""), pick(all, g, roleInput, "", ""), pick(all, g, roleEnsemble, "", "")
		if c == nil || c.Network.Arch != "mlp" || c.Data.Name != "mnist" || merged == nil || inputs == nil {
			continue
		}
		subject := g[0] + ", " + g[1]
		switch g[1] {
		case manySeries(5, false):
			note := "trained until the training loss is 0.0000 there; " + c.epochs()
			out = append(out,
				report.Comparison{
					Quantity: "test loss, " + subject, Paper: "merged 0.0727, inputs 0.1108 to 0.1531 (table 3)",
					Ours: fmt.Sprintf("merged %s, inputs %s", merged.over(testLoss).text(4), inputs.over(testLoss).text(4)), Note: note,
				},
				report.Comparison{
					Quantity: "test accuracy %, " + subject, Paper: "merged 98.31, inputs 98.54 to 98.71 (table 3)",
					Ours: fmt.Sprintf("merged %s, inputs %s", merged.over(accuracy).percent(), inputs.over(accuracy).percent()), Note: note,
				})
		case manySeries(32, true):
			ours := fmt.Sprintf("merged %s, inputs %s", merged.over(calibration).text(4), inputs.over(calibration).text(4))
			if ensemble != nil {
				ours += ", ensemble " + ensemble.over(calibration).text(4)
			}
			out = append(out, report.Comparison{
				Quantity: "calibration error, " + subject, Paper: "far less than the inputs', about the ensemble's (figure 13)", Ours: ours, Note: c.epochs(),
			})
		}
	}
	return out
}

// besideFigure11 compares networks trained on parts of the data (section 5.4, figures 5 and 11): ResNet20 on CIFAR-100, merged by weights.
func (f *Finished) besideFigure11(all []*evaluated) (out []report.Comparison) {
	calibration := func(e *Evaluation) float64 { return float64(e.Test.CalibrationError) }
	for _, g := range groupsOf(all) {
		c := f.find(g[0])
		merged, inputs := pick(all, g, roleMerged, ByWeight, ""), pick(all, g, roleInput, "", "")
		ensemble, full := pick(all, g, roleEnsemble, "", ""), pick(all, g, roleFull, "", "")
		if c == nil || merged == nil || inputs == nil || ensemble == nil || full == nil {
			continue
		}
		note := c.epochs()
		if c.Network.Arch != "resnet20" || c.Data.Name != "cifar100" {
			note = "ResNet20 on CIFAR-100 there; " + note
		}
		out = append(out,
			report.Comparison{
				Quantity: "test loss merged by weights, " + g[0], Paper: "below both inputs', above that of the ensemble and of full training (section 5.4, figure 5)",
				Ours: fmt.Sprintf("%s; best input %s, ensemble %s, full training %s", merged.over(testLoss).text(3), inputs.least(testLoss).text(3),
					ensemble.over(testLoss).text(3), full.over(testLoss).text(3)), Note: note,
			},
			report.Comparison{
				Quantity: "calibration error merged by weights, " + g[0], Paper: "far less than the inputs', about the ensemble's (figure 11)",
				Ours: fmt.Sprintf("%s; inputs %s, ensemble %s", merged.over(calibration).text(3), inputs.over(calibration).text(3), ensemble.over(calibration).text(3)), Note: note,
			})
	}
	return out
}
