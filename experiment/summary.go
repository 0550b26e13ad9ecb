package experiment

import (
	"cmp"
	"fmt"
	"math"
	"slices"

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
	s, err := d.summarise(f)
	if err != nil {
		return nil, err
	}
	faults, err := f.faults()
	if err != nil {
		return nil, err
	}
	s.Notes = append(s.Notes, faults...)
	for i := range s.Tables {
		s.Tables[i].trim()
	}
	return s, nil
}

// trim leaves out columns without anything in them, as that of repairs where there are none.
func (t *Table) trim() {
	for c := len(t.Header) - 1; c >= 0 && len(t.Rows) > 0; c-- {
		if slices.ContainsFunc(t.Rows, func(row []string) bool { return row[c] != "" }) {
			continue
		}
		t.Header = slices.Delete(t.Header, c, c+1)
		for i := range t.Rows {
			t.Rows[i] = slices.Delete(t.Rows[i], c, c+1)
		}
	}
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

// above compares two means that are independent: 1 where the first is larger and -1 where it is smaller by more than two standard errors of the difference, else
// 0. A mean that is not finite is larger than any other, and two such means cannot be told apart.
func (s stat) above(o stat) int {
	switch {
	case !s.finite() && !o.finite():
		return 0
	case !s.finite():
		return 1
	case !o.finite():
		return -1
	}
	return stat{s.mean - o.mean, math.Hypot(s.se, o.se), min(s.n, o.n)}.beyond(0)
}

func (s stat) finite() bool { return finite(s.mean) }

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// order is a mean for comparisons in search of the least: what is not finite comes last.
func (s stat) order() float64 {
	if !s.finite() {
		return math.Inf(1)
	}
	return s.mean
}

// text is the mean, and its error where there is one.
func (s stat) text(digits int) string {
	switch {
	case !s.finite():
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
	case !s.finite():
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
	gap                             stat // of accuracy on test data, between the mean of the ends and the middle
	trainMiddleLoss, trainMiddleAcc stat
	seconds                         stat // of the alignment, on one thread
	product                         stat // <A, P·B>
	sweeps                          stat
	// faulty says what is wrong with an end that has learned nothing; empty where there is none.
	faulty string
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
			c, err := r.curve()
			if err != nil {
				return nil, err
			}
			w := byKey[k]
			if w == nil {
				w = &way{wayKey: k}
				byKey[k] = w
				order = append(order, w)
			}
			w.curves = append(w.curves, c)
			if faults := f.faultsOf(r, c.endMeasures()); len(faults) > 0 && w.faulty == "" {
				w.faulty = faults[0].String()
			}
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
	w.gap = over(func(c *Curve) float64 {
		e := c.Ends()
		return float64(e[0].Test.Accuracy+e[1].Test.Accuracy)/2 - float64(c.middle().Test.Accuracy)
	})
	var seconds, products, sweeps []float64
	for _, r := range matched {
		var m Matched
		if err := r.decode(&m); err != nil {
			return err
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
	return slices.MinFunc(c.Points, func(a, b CurvePoint) int { return cmp.Compare(math.Abs(a.Lambda-.5), math.Abs(b.Lambda-.5)) })
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

// What counts as no barrier: one of the loss, in nats, up to zeroBarrier, and a midpoint less accurate than its ends by up to zeroGap. Loss alone would
// not do: the barrier between networks that are too sure of themselves vanishes, since the midpoint is less sure, though it knows less.
const (
	zeroBarrier = .05
	zeroGap     = .02
)

// aligned says that a way is not that of networks as they are.
func (w *way) aligned() bool { return w.method != Naive }

// bestAligned is the way of a case with the least mean barrier on training data, so that the test data that judges has no say in the choice.
func bestAligned(ways []*way, c string) *way {
	var best *way
	for _, w := range ways {
		if w.c == c && w.aligned() && (best == nil || w.trainBarrier.order() < best.trainBarrier.order()) {
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

// unmeasured is the verdict on a case without what its rule looks at.
func unmeasured(subject, what string) CaseVerdict {
	return CaseVerdict{subject, Undecided, what + " was not measured"}
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

// untrained says why ends that are not trained well enough decide nothing; empty where they are, and for a case that is not known.
func untrained(ways []*way, c *Case) string {
	if c == nil {
		return ""
	}
	for _, w := range ways {
		if w.c == c.Name && w.faulty != "" {
			return w.faulty
		}
	}
	if least := leastEnd(ways, c.Name); !(least >= c.LeastAccuracy) {
		return fmt.Sprintf("an end has %.2f %% where %.0f %% are asked for", 100*least, 100*c.LeastAccuracy)
	}
	return ""
}

const interpolationRule = "In a case, the way of aligning and repairing with the least mean barrier on training data is looked at. The claim holds there if its barrier of " +
	"the test loss over the chord is below .05 nats and its midpoint less than 2 points less accurate on test data than the mean of its ends, both by more than two standard errors over pairs; does not hold if either is above by more " +
	"than two; and is undecided between, and where an end is not trained well enough. It holds if it holds in all cases, and does not if it does not in one."

func summariseInterpolation(f *Finished) (*Summary, error) {
	ways, err := f.ways()
	if err != nil {
		return nil, err
	}
	var cases []CaseVerdict
	for _, c := range f.cases() {
		best := bestAligned(ways, c.Name)
		if best == nil {
			cases = append(cases, unmeasured(c.Name, "any alignment"))
			continue
		}
		j := CaseVerdict{Subject: c.Name}
		j.Word, j.Why = judgeZero(best), fmt.Sprintf("%s: barrier %s, accuracy %s %% between ends of %s %%",
			best.describe(), best.testBarrier.text(3), best.middleAccuracy.percent(), best.endAccuracy.percent())
		if why := untrained(ways, c); why != "" {
			j.Word, j.Why = Undecided, why+"; "+j.Why
		}
		cases = append(cases, j)
	}
	return &Summary{
		Verdict: combine(interpolationRule, cases), Tables: []Table{waysTable("Midpoints and barriers", ways)}, Comparisons: f.besideFigure2(ways),
	}, nil
}

// judgeZero says whether a way has no barrier.
func judgeZero(w *way) string {
	loss, gap := w.testBarrier.beyond(zeroBarrier), w.gap.beyond(zeroGap)
	switch {
	case loss < 0 && gap < 0:
		return Holds
	case loss > 0 || gap > 0:
		return DoesNotHold
	}
	return Undecided
}

const onsetRule = "In a case the barrier of the test loss after weight matching is compared between the first and the last epoch measured. The claim holds if it is larger at the first " +
	"by more than two standard errors and none at the last (below .05 nats, and the midpoint less than 2 points less accurate than the mean of its ends, both by more than two), does not hold if one of these is contradicted by more " +
	"than two, and is undecided else, and where an end is not trained well enough at the last."

func summariseOnset(f *Finished) (*Summary, error) {
	ways, err := f.ways()
	if err != nil {
		return nil, err
	}
	var cases []CaseVerdict
	for _, c := range f.cases() {
		of := slices.DeleteFunc(slices.Clone(ways), func(w *way) bool { return w.c != c.Name || w.method != ByWeight || w.repair != "" })
		if len(of) == 0 || of[0].epoch == of[len(of)-1].epoch {
			cases = append(cases, unmeasured(c.Name, "weight matching at two epochs"))
			continue
		}
		slices.SortStableFunc(of, func(a, b *way) int { return cmp.Compare(a.epoch, b.epoch) })
		first, last := of[0], of[len(of)-1]
		zero, falls := judgeZero(last), first.testBarrier.above(last.testBarrier)
		j := CaseVerdict{Subject: c.Name, Word: Undecided}
		j.Why = fmt.Sprintf("barrier %s after epoch %d, %s after epoch %d, where the midpoint has %s %% between ends of %s %%",
			first.testBarrier.text(3), first.epoch, last.testBarrier.text(3), last.epoch, last.middleAccuracy.percent(), last.endAccuracy.percent())
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
	return &Summary{Verdict: combine(onsetRule, cases), Tables: []Table{waysTable("By epoch", ways)}, Comparisons: f.besideFigure3(ways)}, nil
}

const widthRule = "In a series, the barrier of the test loss of the widest network is compared with that of the narrowest, for the way of aligning and repairing that has the least mean barrier on " +
	"training data over all its widths. The claim holds if it is smaller by more than two standard errors, does not hold if it is larger by more than two, and is undecided else, " +
	"and where the ends of the widest are not trained well enough, or those of the narrowest have learned nothing."

func summariseWidth(f *Finished) (*Summary, error) {
	ways, err := f.ways()
	if err != nil {
		return nil, err
	}
	var cases []CaseVerdict
	for _, series := range seriesOf(ways) {
		of := bestSeries(ways, series)
		if len(of) < 2 {
			cases = append(cases, unmeasured(series, "an alignment at two widths"))
			continue
		}
		narrow, wide := of[0], of[len(of)-1]
		j := CaseVerdict{Subject: series, Word: Undecided}
		j.Why = fmt.Sprintf("%s: barrier %s at width %s, %s at width %s", wide.describe(), narrow.testBarrier.text(3), fraction(narrow.x), wide.testBarrier.text(3), fraction(wide.x))
		switch narrow.testBarrier.above(wide.testBarrier) {
		case 1:
			j.Word = Holds
		case -1:
			j.Word = DoesNotHold
		}
		if why := cmp.Or(untrained(ways, f.find(wide.c)), narrow.faulty); why != "" {
			j.Word, j.Why = Undecided, why+"; "+j.Why
		}
		cases = append(cases, j)
	}
	return &Summary{Verdict: combine(widthRule, cases), Tables: []Table{waysTable("By width", ways)}, Comparisons: f.besideFigure4(ways)}, nil
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
		sums[h] += w.trainBarrier.order()
	}
	if len(order) == 0 {
		return nil
	}
	best := slices.MinFunc(order, func(a, b how) int { return cmp.Compare(sums[a], sums[b]) })
	out := slices.DeleteFunc(slices.Clone(ways), func(w *way) bool { return w.series != series || w.method != best.method || w.repair != best.repair })
	slices.SortStableFunc(out, byX)
	return out
}

func byX(a, b *way) int { return cmp.Compare(a.x, b.x) }

const failuresRule = "In a series of rates of one optimiser, the barrier of the test loss after weight matching at the extreme rate (the lowest of SGD, the highest of Adam) is compared with the least over " +
	"the other rates at which all ends are trained well enough. The claim holds if it is larger by more than two standard errors, does not hold if it is smaller by more than two, and is undecided else, and where the ends at the extreme " +
	"rate are not trained well enough. In a case of no series the claim holds if the barrier is above .05 nats by more than two standard errors, does not hold if it is below by more than two, and is " +
	"undecided else, and where an end is not trained well enough. It holds if it holds in all series and cases, and does not if it does not in one."

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
			cases = append(cases, unmeasured(series, "weight matching at two rates"))
			continue
		}
		slices.SortStableFunc(of, byX)
		extreme, rest := of[0], of[1:]
		if f.optimizer(of[0].c) == "adam" {
			extreme, rest = of[len(of)-1], of[:len(of)-1]
		}
		rest = slices.DeleteFunc(rest, func(w *way) bool { return untrained(ways, f.find(w.c)) != "" })
		j := CaseVerdict{Subject: series, Word: Undecided}
		if len(rest) == 0 {
			j.Why = fmt.Sprintf("barrier %s at a rate of %g; no other rate trains all ends well enough", extreme.testBarrier.text(3), extreme.x)
			cases = append(cases, j)
			continue
		}
		best := slices.MinFunc(rest, func(a, b *way) int { return cmp.Compare(a.testBarrier.order(), b.testBarrier.order()) })
		j.Why = fmt.Sprintf("barrier %s at a rate of %g, %s at %g", extreme.testBarrier.text(3), extreme.x, best.testBarrier.text(3), best.x)
		switch extreme.testBarrier.above(best.testBarrier) {
		case 1:
			j.Word = Holds
		case -1:
			j.Word = DoesNotHold
		}
		if why := untrained(ways, f.find(extreme.c)); why != "" {
			j.Word, j.Why = Undecided, why+"; "+j.Why
		}
		cases = append(cases, j)
	}
	for _, w := range ways {
		if w.series != "" || !isWeight(w) {
			continue
		}
		j := CaseVerdict{w.c, Undecided, "barrier " + w.testBarrier.text(3)}
		switch w.testBarrier.beyond(zeroBarrier) {
		case -1:
			j.Word = DoesNotHold
		case 1:
			j.Word = Holds
		}
		if why := untrained(ways, f.find(w.c)); why != "" {
			j.Word, j.Why = Undecided, why+"; "+j.Why
		}
		cases = append(cases, j)
	}
	return &Summary{Verdict: combine(failuresRule, cases), Tables: []Table{waysTable("By rate", ways)}}, nil
}

// optimizer is that of the training of a case.
func (f *Finished) optimizer(c string) string {
	of := f.find(c)
	if of == nil {
		return ""
	}
	cfg, err := of.Training.WithDefaults()
	if err != nil {
		return ""
	}
	return cfg.Optimizer.Name
}

const matchersRule = "In each pair of each case, repaired in each way, the midpoint's test loss by auto is compared with the lowest of any single method that is finite. The claim holds if it is never higher by more than " +
	".02 nats and a twentieth of that lowest loss, does not hold else, and is undecided where an end has learned nothing."

func summariseMatchers(f *Finished) (*Summary, error) {
	ways, err := f.ways()
	if err != nil {
		return nil, err
	}
	var cases []CaseVerdict
	for _, c := range f.cases() {
		if c := c.Name; !slices.ContainsFunc(ways, func(w *way) bool { return w.c == c && w.method == ByAuto }) {
			cases = append(cases, unmeasured(c, ByAuto))
		}
	}
	for _, auto := range ways {
		if auto.method != ByAuto {
			continue
		}
		if !slices.ContainsFunc(ways, func(w *way) bool { return w.c == auto.c && w.method != ByAuto }) {
			cases = append(cases, unmeasured(auto.c, "any single method"))
			continue
		}
		j := CaseVerdict{Subject: auto.c, Word: Holds}
		if auto.repair != "" {
			j.Subject += ", " + auto.repair
		}
		if auto.faulty != "" {
			j.Word, j.Why = Undecided, auto.faulty
			cases = append(cases, j)
			continue
		}
		worst := math.Inf(-1)
		for i := range auto.curves {
			least := math.Inf(1)
			for _, w := range ways {
				if w.c == auto.c && w.repair == auto.repair && w.method != ByAuto && i < len(w.curves) {
					if loss := float64(w.curves[i].middle().Test.Loss); finite(loss) {
						least = min(least, loss)
					}
				}
			}
			loss := float64(auto.curves[i].middle().Test.Loss)
			switch {
			case !finite(loss) && finite(least):
				j.Word, worst = DoesNotHold, math.Inf(1)
			case finite(loss) && finite(least):
				worst = max(worst, loss-least)
				if loss-least > .02+least/20 {
					j.Word = DoesNotHold
				}
			}
		}
		switch {
		case math.IsInf(worst, -1):
			j.Word, j.Why = Undecided, "no single method has a finite loss"
		case math.IsInf(worst, 1):
			j.Why = "its loss is not finite where that of a single method is"
		default:
			j.Why = fmt.Sprintf("at most %.3f nats above the best single method", worst)
		}
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
	return &Summary{Verdict: combine(matchersRule, cases), Tables: []Table{t}, Comparisons: f.besideMatchers(ways)}, nil
}
