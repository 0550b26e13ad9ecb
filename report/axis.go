package report

import (
	"math"
	"strconv"

	"gonum.org/v1/plot"
)

// Scale is the scale of an axis of losses.
type Scale int

// Scales.
const (
	ScaleAuto   Scale = iota // logarithmic when the largest value is over 8 times the smallest and all are positive
	ScaleLinear              // linear
	ScaleLog                 // logarithmic, or linear where a value is 0 or negative
)

// autoLog is the ratio of values above which a linear axis presses the small ones flat.
const autoLog = 8

// bounds are the smallest and the largest of some finite values.
type bounds struct{ low, high float64 }

func noBounds() bounds { return bounds{math.Inf(1), math.Inf(-1)} }

// include widens b to v, unless v is not finite.
func (b *bounds) include(v float64) {
	if !finite(v) {
		return
	}
	b.low, b.high = min(b.low, v), max(b.high, v)
}

func (b bounds) empty() bool { return b.low > b.high }

// huge is the size from which values are treated as infinite, and whose inverse is treated as 0 on logarithmic axes: the
// ratio of two values that are drawn, and the room that an axis leaves around them, do not overflow.
const huge = 1e150

// finite tells whether v can be drawn.
func finite(v float64) bool { return math.Abs(v) < huge }

// logarithmic tells whether the axis over b is to be logarithmic.
func (s Scale) logarithmic(b bounds) bool {
	if b.empty() || b.low < 1/huge {
		return false
	}
	return s == ScaleLog || s == ScaleAuto && b.high > autoLog*b.low
}

// setRange gives the axis room for b and ticks for it. Beyond a limit that values cannot cross, as 100 %, there is no room.
func setRange(a *plot.Axis, b bounds, log bool, limit float64) {
	const room = .05
	if b.empty() {
		b = bounds{0, 1}
	}
	if log {
		a.Scale = plot.LogScale{}
		a.Tick.Marker = plot.TickerFunc(logTicks)
		span := math.Log(b.high / b.low)
		if span == 0 {
			span = 1
		}
		a.Min, a.Max = b.low*math.Exp(-room*span), b.high*math.Exp(room*span)
		return
	}
	a.Tick.Marker = plot.TickerFunc(linearTicks)
	span, most := b.high-b.low, max(limit, b.high)
	if span < 1e-9*max(math.Abs(b.low), math.Abs(b.high), 1e-9) {
		span = max(math.Abs(b.high), 1e-9) / 5 // all values are equal: show them in the middle of something
		b.low, b.high = b.low-span/2, b.high+span/2
	}
	a.Min, a.Max = b.low-room*span, min(b.high+room*span, most)
	if b.low >= 0 {
		a.Min = max(a.Min, 0)
	}
}

// linearTicks labels four to twelve multiples of 1, 2 or 5 times a power of ten.
func linearTicks(low, high float64) []plot.Tick {
	step := niceStep((high - low) / 7)
	digits := max(0, -int(math.Floor(math.Log10(step)+1e-9)))
	var out []plot.Tick
	for i := math.Ceil(low/step - 1e-9); i*step <= high+step*1e-9; i++ {
		out = append(out, plot.Tick{Value: min(max(i*step, low), high), Label: number(i*step, digits)})
	}
	return out
}

// integerTicks labels whole numbers, at most about eight.
func integerTicks(low, high float64) []plot.Tick {
	step := max(1, niceStep((high-low)/8))
	var out []plot.Tick
	for i := math.Ceil(low / step); i*step <= high; i++ {
		out = append(out, plot.Tick{Value: i * step, Label: number(i*step, 0)})
	}
	return out
}

// niceStep returns the smallest 1, 2 or 5 times a power of ten that is at least want.
func niceStep(want float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(want)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= want*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// logTicks labels powers of ten, and 2 and 5 times them when there are few; every other multiple gets a tick without label.
func logTicks(low, high float64) []plot.Tick {
	decades := math.Log10(high / low)
	first, last := int(math.Floor(math.Log10(low))), int(math.Floor(math.Log10(high)))
	var out []plot.Tick
	for e := first; e <= last; e++ {
		for m := 1; m <= 9; m++ {
			v := float64(m) * math.Pow(10, float64(e))
			if v < low || v > high {
				continue
			}
			t := plot.Tick{Value: v}
			switch {
			case decades > 8 && e%int(math.Ceil(decades/8)) != 0:
			case m == 1, decades < 2.6 && (m == 2 || m == 5), decades < .9:
				t.Label = strconv.FormatFloat(v, 'g', 3, 64)
			}
			out = append(out, t)
		}
	}
	return out
}

// number formats v with the given digits after the point.
func number(v float64, digits int) string {
	if v == 0 {
		v = 0 // no -0
	}
	if math.Abs(v) >= 1e6 || digits > 6 {
		return strconv.FormatFloat(v, 'g', 4, 64)
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}
