package report

import (
	"math"
	"testing"

	"gonum.org/v1/plot"
	"pgregory.net/rapid"
)

// checkTicks holds what every axis needs: ticks inside it, ascending, a few of them labelled, no label twice.
func checkTicks(t *rapid.T, ticks []plot.Tick, low, high float64, fewest, most int) {
	labels := map[string]bool{}
	for i, tick := range ticks {
		if tick.Value < low || tick.Value > high {
			t.Errorf("a tick at %v outside [%v, %v]", tick.Value, low, high)
		}
		if i > 0 && ticks[i-1].Value >= tick.Value {
			t.Errorf("ticks %v and %v do not ascend", ticks[i-1], tick)
		}
		if tick.Label != "" && labels[tick.Label] {
			t.Errorf("label %q twice", tick.Label)
		}
		if tick.Label != "" {
			labels[tick.Label] = true
		}
	}
	if len(labels) < fewest || len(labels) > most {
		t.Errorf("%d labels between %v and %v", len(labels), low, high)
	}
}

func TestLinearTicks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.Float64Range(-1000, 1000).Draw(t, "low")
		high := low + math.Pow(10, rapid.Float64Range(-3, 5).Draw(t, "decade"))
		checkTicks(t, linearTicks(low, high), low, high, 2, 12)
	})
}

func TestLogTicks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low := math.Pow(10, rapid.Float64Range(-9, 3).Draw(t, "from"))
		high := low * math.Pow(10, rapid.Float64Range(.9, 12).Draw(t, "decades"))
		checkTicks(t, logTicks(low, high), low, high, 1, 12)
	})
}

func TestIntegerTicks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		high := rapid.Float64Range(1, 10000).Draw(t, "high")
		ticks := integerTicks(0, high)
		checkTicks(t, ticks, 0, high, 2, 12)
		for _, tick := range ticks {
			if tick.Value != math.Round(tick.Value) {
				t.Errorf("a tick at %v", tick.Value)
			}
		}
	})
}

// TestRangeOfEqualValues: what is equal is shown in the middle of something, but not beyond what values cannot be above.
func TestRangeOfEqualValues(t *testing.T) {
	for name, tt := range map[string]struct{ value, limit, most float64 }{
		"at the limit":     {100, 100, 100},
		"no limit":         {100, math.Inf(1), 111},
		"beyond the limit": {101, 100, 101}, // a mistake that has to be seen
		"below":            {50, 100, 55.5},
	} {
		var a plot.Axis
		setRange(&a, bounds{tt.value, tt.value}, false, tt.limit)
		if math.Abs(a.Max-tt.most) > 1e-9 || a.Min >= tt.value {
			t.Errorf("%s: the axis is from %v to %v, want the end %v", name, a.Min, a.Max, tt.most)
		}
	}
}
