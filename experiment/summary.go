package experiment

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/rebasin/rebasin/report"
)

// The words of a verdict.
const (
	Holds       = "holds"
	DoesNotHold = "does not hold"
	Undecided   = "undecided"
)

// Verdict says whether a claim holds, computed from records by a rule that is stated.
type Verdict struct {
	Word string `json:"word"`
	Why  string `json:"why"`
	Rule string `json:"rule"`
	// Cases are the verdicts that it is made of.
	Cases []CaseVerdict `json:"cases,omitempty"`
}

// CaseVerdict is the verdict on one case of several.
type CaseVerdict struct {
	Subject string `json:"subject"`
	Word    string `json:"word"`
	Why     string `json:"why"`
}

// Table is numbers for people.
type Table struct {
	Title  string
	Header []string
	Rows   [][]string
}

// Summary is what a finished run says.
type Summary struct {
	Verdict Verdict
	Tables  []Table
	// Comparisons are the paper's values beside ours.
	Comparisons []report.Comparison
	// Notes are facts that the numbers do not show.
	Notes []string
}

// Summary computes tables and the verdict of a run from its records.
func (f *Finished) Summary() (*Summary, error) {
	d := find(f.Spec.Experiment)
	if d == nil {
		return nil, fmt.Errorf("experiment: there is no experiment %q", f.Spec.Experiment)
	}
	return d.summarise(f)
}

// stat is a mean over pairs with its standard error.
type stat struct {
	mean, se float64
	n        int
}

// newStat is that of some values; a value that is not finite makes all of it not finite. The error of one value alone is infinite.
func newStat(values []float64) stat {
	s := stat{n: len(values)}
	if s.n == 0 {
		return stat{mean: math.NaN(), se: math.NaN()}
	}
	for _, v := range values {
		s.mean += v / float64(s.n)
	}
	if s.n == 1 {
		s.se = math.Inf(1)
		return s
	}
	sum := 0.0
	for _, v := range values {
		sum += (v - s.mean) * (v - s.mean)
	}
	s.se = math.Sqrt(sum / float64(s.n-1) / float64(s.n))
	return s
}

// minus is the difference of two means that are independent.
func (s stat) minus(o stat) stat {
	return stat{s.mean - o.mean, math.Hypot(s.se, o.se), min(s.n, o.n)}
}

// text is the mean, and its error where there is one.
func (s stat) text(digits int) string {
	switch {
	case math.IsNaN(s.mean) || math.IsInf(s.mean, 0):
		return "not finite"
	case math.IsInf(s.se, 0):
		return fmt.Sprintf("%.*f", digits, s.mean)
	}
	return fmt.Sprintf("%.*f ± %.*f", digits, s.mean, digits, s.se)
}

// percent is text of a fraction.
func (s stat) percent() string { return stat{100 * s.mean, 100 * s.se, s.n}.text(2) }

// beyond compares a mean with a bound: 1 where it is above and -1 where it is below by more than two standard errors, else 0. Values that are not finite are above.
func (s stat) beyond(bound float64) int {
	switch {
	case math.IsNaN(s.mean) || math.IsInf(s.mean, 0):
		return 1
	case s.mean-2*s.se > bound:
		return 1
	case s.mean+2*s.se < bound:
		return -1
	}
	return 0
}

// wayKey names the curves of all pairs that are measured in one way.
type wayKey struct {
	c, series string
	x         float64
	method    string
	repair    string
	epoch     int
}

// way is what came out of one way over all pairs.
type way struct {
	wayKey
	curves []Curve
	// Of the loss: barriers over the chord. Of the middle, and of the ends as they are (of the way without repair): loss and accuracy.
	trainBarrier, testBarrier       stat
	trainPaper, testPaper           stat
	middleLoss, middleAccuracy      stat
	endLoss, endAccuracy            stat
	trainMiddleLoss, trainMiddleAcc stat
	seconds                         stat // of the alignment, on one thread
	product                         stat // <A, P·B>
	sweeps                          stat
}

// ways gathers all curves of a run, in the order of the records.
func (f *Finished) ways() ([]*way, error) {
	var order []*way
	byKey := map[wayKey]*way{}
	matched := map[wayKey][]*Record{}
	for i := range f.Records {
		r := &f.Records[i]
		k := wayKey{c: r.Case, series: r.Series, method: r.Method, repair: r.Repair, epoch: r.Epoch}
		if r.X != nil {
			k.x = *r.X
		}
		switch r.Kind {
		case "match":
			matched[k] = append(matched[k], r)
		case "curve":
			var c Curve
			if err := r.decode(&c); err != nil {
				return nil, fmt.Errorf("experiment: record %s: %w", r.Key, err)
			}
			if err := c.check(); err != nil {
				return nil, fmt.Errorf("record %s: %w", r.Key, err)
			}
			w := byKey[k]
			if w == nil {
				w = &way{wayKey: k}
				byKey[k] = w
				order = append(order, w)
			}
			w.curves = append(w.curves, c)
		}
	}
	for _, w := range order {
		if err := w.gather(f, matched[wayKey{w.c, w.series, w.x, w.method, "", w.epoch}]); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// gather computes the means.
func (w *way) gather(f *Finished, matched []*Record) error {
	over := func(value func(c *Curve) float64) stat {
		values := make([]float64, len(w.curves))
		for i := range w.curves {
			values[i] = value(&w.curves[i])
		}
		return newStat(values)
	}
	w.trainBarrier = over(func(c *Curve) float64 { return c.Barriers().Train.Chord })
	w.testBarrier = over(func(c *Curve) float64 { return c.Barriers().Test.Chord })
	w.trainPaper = over(func(c *Curve) float64 { return c.Barriers().Train.Paper })
	w.testPaper = over(func(c *Curve) float64 { return c.Barriers().Test.Paper })
	w.middleLoss = over(func(c *Curve) float64 { return float64(c.middle().Test.Loss) })
	w.middleAccuracy = over(func(c *Curve) float64 { return float64(c.middle().Test.Accuracy) })
	w.trainMiddleLoss = over(func(c *Curve) float64 { return float64(c.middle().Train.Loss) })
	w.trainMiddleAcc = over(func(c *Curve) float64 { return float64(c.middle().Train.Accuracy) })
	w.endLoss = over(func(c *Curve) float64 { e := c.Ends(); return float64(e[0].Test.Loss+e[1].Test.Loss) / 2 })
	w.endAccuracy = over(func(c *Curve) float64 { e := c.Ends(); return float64(e[0].Test.Accuracy+e[1].Test.Accuracy) / 2 })
	var seconds, products, sweeps []float64
	for _, r := range matched {
		var m Matched
		if err := r.decode(&m); err != nil {
			return fmt.Errorf("experiment: record %s: %w", r.Key, err)
		}
		products, sweeps = append(products, float64(m.Product[1])), append(sweeps, float64(m.Sweeps))
		if t, ok := f.Times[r.Key]; ok {
			seconds = append(seconds, t.Seconds*float64(t.Threads))
		}
	}
	w.seconds, w.product, w.sweeps = newStat(seconds), newStat(products), newStat(sweeps)
	return nil
}

// middle is the point nearest to λ = ½.
func (c *Curve) middle() CurvePoint {
	return slices.MinFunc(c.Points, func(a, b CurvePoint) int {
		x, y := math.Abs(a.Lambda-.5), math.Abs(b.Lambda-.5)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
}

// leastEnd is the lowest accuracy on test data of any end of a case, at an epoch.
func leastEnd(ways []*way, c string) float64 {
	least := math.Inf(1)
	for _, w := range ways {
		if w.c != c || w.repair != "" {
			continue
		}
		for i := range w.curves {
			e := w.curves[i].Ends()
			least = min(least, float64(e[0].Test.Accuracy), float64(e[1].Test.Accuracy))
		}
	}
	return least
}

// zeroBarrier is the barrier of the loss, in nats, up to which it counts as none.
const zeroBarrier = .05

// aligned says that a way is not that of networks as they are.
func (w *way) aligned() bool { return w.method != Naive }

// bestAligned is the way of a case with the least mean barrier on training data, so that the test data that judges has no say in the choice.
func bestAligned(ways []*way, c string) *way {
	var best *way
	for _, w := range ways {
		if w.c == c && w.aligned() && (best == nil || w.trainBarrier.mean < best.trainBarrier.mean) {
			best = w
		}
	}
	return best
}

// describe names a way.
func (w *way) describe() string {
	if w.repair == "" {
		return w.method
	}
	return w.method + ", " + w.repair
}

// waysTable has one row for each way.
func waysTable(title string, ways []*way) Table {
	t := Table{Title: title, Header: []string{"case", "method", "repair", "accuracy %", "ends %", "loss", "barrier, test", "barrier, train", "paper's, test"}}
	for _, w := range ways {
		name := w.c
		if w.epoch > 0 {
			name += fmt.Sprintf(", epoch %d", w.epoch)
		}
		t.Rows = append(t.Rows, []string{
			name, w.method, w.repair, w.middleAccuracy.percent(), w.endAccuracy.percent(), w.middleLoss.text(3),
			w.testBarrier.text(3), w.trainBarrier.text(3), w.testPaper.text(3),
		})
	}
	return t
}

// combine makes one verdict of several: it holds where all hold, and does not where one does not.
func combine(rule string, cases []CaseVerdict) Verdict {
	counts := map[string]int{}
	for _, c := range cases {
		counts[c.Word]++
	}
	v := Verdict{Word: Undecided, Rule: rule, Cases: cases}
	switch {
	case len(cases) == 0:
		v.Why = "Nothing was measured."
		return v
	case len(cases) == 1:
		v.Word, v.Why = cases[0].Word, fmt.Sprintf("%s: %s.", cases[0].Subject, cases[0].Why)
		return v
	case counts[DoesNotHold] > 0:
		v.Word = DoesNotHold
	case counts[Undecided] == 0:
		v.Word = Holds
	}
	v.Why = fmt.Sprintf("Of %d cases it holds in %d, does not hold in %d, and is undecided in %d.", len(cases), counts[Holds], counts[DoesNotHold], counts[Undecided])
	return v
}

// untrained says why ends that are not trained well enough decide nothing; empty where they are.
func untrained(ways []*way, c *Case) string {
	if least := leastEnd(ways, c.Name); least < c.LeastAccuracy {
		return fmt.Sprintf("an end has %.2f %% where %.0f %% are asked for", 100*least, 100*c.LeastAccuracy)
	}
	return ""
}

const interpolationRule = "In a case, the way of aligning and repairing with the least mean barrier on training data is looked at. The claim holds there if its barrier of " +
	"the test loss over the chord is below .05 nats by more than two standard errors over pairs, does not hold if it is above by more than two, and is undecided " +
	"between, and where an end is not trained well enough. It holds if it holds in all cases, and does not if it does not in one."

func summariseInterpolation(f *Finished) (*Summary, error) {
	ways, err := f.ways()
	if err != nil {
		return nil, err
	}
	var cases []CaseVerdict
	for i := range f.Spec.Cases {
		c := &f.Spec.Cases[i]
		best := bestAligned(ways, c.Name)
		if best == nil {
			continue
		}
		j := CaseVerdict{Subject: c.Name}
		j.Word, j.Why = judgeZero(best.testBarrier), fmt.Sprintf("%s: barrier %s, accuracy %s %% between ends of %s %%",
			best.describe(), best.testBarrier.text(3), best.middleAccuracy.percent(), best.endAccuracy.percent())
		if why := untrained(ways, c); why != "" {
			j.Word, j.Why = Undecided, why+"; "+j.Why
		}
		cases = append(cases, j)
	}
	return &Summary{
		Verdict: combine(interpolationRule, cases), Tables: []Table{waysTable("Midpoints and barriers", ways)}, Comparisons: comparePaper(f, ways),
	}, nil
}

// comparePaper sets barriers beside those of the paper, which has no numbers but curves: those of the MLP on MNIST, and of the ResNet20 on CIFAR, are flat.
func comparePaper(f *Finished, ways []*way) (out []report.Comparison) {
	for i := range f.Spec.Cases {
		c := &f.Spec.Cases[i]
		best := bestAligned(ways, c.Name)
		if best == nil {
			continue
		}
		row := report.Comparison{Quantity: "barrier of the test loss, " + c.Name, Ours: best.testBarrier.text(3) + " (" + best.describe() + ")"}
		switch {
		case c.Network.Arch == "mlp" && c.Data.Name == "mnist":
			row.Paper, row.Note = "none to be seen (figure 2)", "trained longer there"
		case c.Network.Arch == "resnet20" && (c.Data.Name == "cifar10" || c.Data.Name == "cifar100"):
			row.Paper, row.Note = "none to be seen at width 32 (figure 2)", fmt.Sprintf("width %s here, with far fewer epochs", fraction(cmp.Or(c.Network.Width, 1)))
		default:
			continue
		}
		out = append(out, row)
	}
	return out
}

// judgeZero says whether a barrier is none.
func judgeZero(barrier stat) string {
	switch barrier.beyond(zeroBarrier) {
	case -1:
		return Holds
	case 1:
		return DoesNotHold
	}
	return Undecided
}

const onsetRule = "In a case the barrier of the test loss after weight matching is compared between the first and the last epoch measured. The claim holds if it is larger at the first " +
	"by more than two standard errors and none at the last (below .05 nats by more than two), does not hold if either is contradicted by more than two, and is undecided else, " +
	"and where an end is not trained well enough at the last."

func summariseOnset(f *Finished) (*Summary, error) {
	ways, err := f.ways()
	if err != nil {
		return nil, err
	}
	var cases []CaseVerdict
	for i := range f.Spec.Cases {
		c := &f.Spec.Cases[i]
		of := slices.DeleteFunc(slices.Clone(ways), func(w *way) bool { return w.c != c.Name || w.method != ByWeight || w.repair != "" })
		if len(of) == 0 {
			continue
		}
		first, last := of[0], of[len(of)-1]
		fall := first.testBarrier.minus(last.testBarrier)
		zero, falls := judgeZero(last.testBarrier), fall.beyond(0)
		j := CaseVerdict{Subject: c.Name, Word: Undecided}
		j.Why = fmt.Sprintf("barrier %s after epoch %d, %s after epoch %d", first.testBarrier.text(3), first.epoch, last.testBarrier.text(3), last.epoch)
		switch {
		case zero == Holds && falls > 0:
			j.Word = Holds
		case zero == DoesNotHold || falls < 0:
			j.Word = DoesNotHold
		}
		final := slices.DeleteFunc(slices.Clone(ways), func(w *way) bool { return w.epoch != last.epoch })
		if why := untrained(final, c); why != "" {
			j.Word, j.Why = Undecided, why+"; "+j.Why
		}
		cases = append(cases, j)
	}
	return &Summary{Verdict: combine(onsetRule, cases), Tables: []Table{waysTable("By epoch", ways)}}, nil
}

const widthRule = "In a series, the barrier of the test loss of the widest network is compared with that of the narrowest, for the way of aligning and repairing that has the least mean barrier on " +
	"training data over all its widths. The claim holds if it is smaller by more than two standard errors, does not hold if it is larger by more than two, and is undecided else, " +
	"and where the ends of the widest are not trained well enough."

func summariseWidth(f *Finished) (*Summary, error) {
	ways, err := f.ways()
	if err != nil {
		return nil, err
	}
	var cases []CaseVerdict
	for _, series := range seriesOf(ways) {
		of := bestSeries(ways, series)
		if len(of) < 2 {
			continue
		}
		narrow, wide := of[0], of[len(of)-1]
		j := CaseVerdict{Subject: series, Word: Undecided}
		j.Why = fmt.Sprintf("%s: barrier %s at width %s, %s at width %s", wide.describe(), narrow.testBarrier.text(3), fraction(narrow.x), wide.testBarrier.text(3), fraction(wide.x))
		switch narrow.testBarrier.minus(wide.testBarrier).beyond(0) {
		case 1:
			j.Word = Holds
		case -1:
			j.Word = DoesNotHold
		}
		if i := slices.IndexFunc(f.Spec.Cases, func(c Case) bool { return c.Name == wide.c }); i >= 0 {
			if why := untrained(ways, &f.Spec.Cases[i]); why != "" {
				j.Word, j.Why = Undecided, why+"; "+j.Why
			}
		}
		cases = append(cases, j)
	}
	return &Summary{Verdict: combine(widthRule, cases), Tables: []Table{waysTable("By width", ways)}}, nil
}

// seriesOf are the series in order.
func seriesOf(ways []*way) []string {
	var out []string
	for _, w := range ways {
		if w.series != "" && !slices.Contains(out, w.series) {
			out = append(out, w.series)
		}
	}
	return out
}

// bestSeries are the ways of a series by x, for the method and repair with the least mean barrier on training data.
func bestSeries(ways []*way, series string) []*way {
	type how struct{ method, repair string }
	var order []how
	sums := map[how]float64{}
	for _, w := range ways {
		if w.series != series || !w.aligned() {
			continue
		}
		h := how{w.method, w.repair}
		if !slices.Contains(order, h) {
			order = append(order, h)
		}
		sums[h] += w.trainBarrier.mean
	}
	if len(order) == 0 {
		return nil
	}
	best := slices.MinFunc(order, func(a, b how) int {
		switch {
		case sums[a] < sums[b]:
			return -1
		case sums[a] > sums[b]:
			return 1
		}
		return 0
	})
	out := slices.DeleteFunc(slices.Clone(ways), func(w *way) bool { return w.series != series || w.method != best.method || w.repair != best.repair })
	slices.SortStableFunc(out, func(a, b *way) int {
		switch {
		case a.x < b.x:
			return -1
		case a.x > b.x:
			return 1
		}
		return 0
	})
	return out
}

const failuresRule = "In a series of rates of one optimiser, the barrier of the test loss after weight matching at the extreme rate (the lowest of SGD, the highest of Adam) is compared with the least over " +
	"the other rates. The claim holds if it is larger by more than two standard errors, does not hold if it is smaller by more than two, and is undecided else, and where the ends at the extreme " +
	"rate are not trained well enough. A case in no series holds if its barrier is above .05 nats by more than two standard errors."

func summariseFailures(f *Finished) (*Summary, error) {
	ways, err := f.ways()
	if err != nil {
		return nil, err
	}
	var cases []CaseVerdict
	isWeight := func(w *way) bool { return w.method == ByWeight && w.repair == "" }
	for _, series := range seriesOf(ways) {
		of := slices.DeleteFunc(slices.Clone(ways), func(w *way) bool { return w.series != series || !isWeight(w) })
		if len(of) < 2 {
			continue
		}
		extreme, rest := of[0], of[1:]
		if strings.HasSuffix(series, "adam") {
			extreme, rest = of[len(of)-1], of[:len(of)-1]
		}
		best := slices.MinFunc(rest, func(a, b *way) int {
			if a.testBarrier.mean < b.testBarrier.mean {
				return -1
			}
			return 1
		})
		j := CaseVerdict{Subject: series, Word: Undecided}
		j.Why = fmt.Sprintf("barrier %s at a rate of %g, %s at %g", extreme.testBarrier.text(3), extreme.x, best.testBarrier.text(3), best.x)
		switch extreme.testBarrier.minus(best.testBarrier).beyond(0) {
		case 1:
			j.Word = Holds
		case -1:
			j.Word = DoesNotHold
		}
		if i := slices.IndexFunc(f.Spec.Cases, func(c Case) bool { return c.Name == extreme.c }); i >= 0 {
			if why := untrained(ways, &f.Spec.Cases[i]); why != "" {
				j.Word, j.Why = Undecided, why+"; "+j.Why
			}
		}
		cases = append(cases, j)
	}
	for _, w := range ways {
		if w.series != "" || !isWeight(w) {
			continue
		}
		word := map[int]string{-1: DoesNotHold, 0: Undecided, 1: Holds}[w.testBarrier.beyond(zeroBarrier)]
		cases = append(cases, CaseVerdict{w.c, word, "barrier " + w.testBarrier.text(3)})
	}
	return &Summary{Verdict: combine(failuresRule, cases), Tables: []Table{waysTable("By rate", ways)}}, nil
}

const matchersRule = "In each pair of each case, repaired in each way, the midpoint's test loss by auto is compared with the lowest of any single method. The claim holds if it is never higher by more than .02 nats and a " +
	"twentieth of that lowest loss, and does not hold else."

func summariseMatchers(f *Finished) (*Summary, error) {
	ways, err := f.ways()
	if err != nil {
		return nil, err
	}
	var cases []CaseVerdict
	for _, auto := range ways {
		if auto.method != ByAuto {
			continue
		}
		j := CaseVerdict{Subject: auto.c, Word: Holds}
		if auto.repair != "" {
			j.Subject += ", " + auto.repair
		}
		worst := math.Inf(-1)
		for i := range auto.curves {
			least := math.Inf(1)
			for _, w := range ways {
				if w.c == auto.c && w.repair == auto.repair && w.method != ByAuto && i < len(w.curves) {
					least = min(least, float64(w.curves[i].middle().Test.Loss))
				}
			}
			excess := float64(auto.curves[i].middle().Test.Loss) - least
			worst = max(worst, excess)
			if !(excess <= .02+least/20) {
				j.Word = DoesNotHold
			}
		}
		j.Why = fmt.Sprintf("at most %.3f nats above the best single method", worst)
		cases = append(cases, j)
	}
	t := Table{Title: "Ways of aligning", Header: []string{"case", "method", "repair", "accuracy %", "loss", "barrier, test", "<A, P·B>", "seconds on a thread"}}
	for _, w := range ways {
		product, seconds := w.product.text(1), w.seconds.text(1)
		if w.method == Naive {
			product, seconds = "", ""
		}
		if w.seconds.n == 0 {
			seconds = ""
		}
		t.Rows = append(t.Rows, []string{w.c, w.method, w.repair, w.middleAccuracy.percent(), w.middleLoss.text(3), w.testBarrier.text(3), product, seconds})
	}
	return &Summary{Verdict: combine(matchersRule, cases), Tables: []Table{t}}, nil
}
