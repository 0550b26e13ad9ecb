package symmetry

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/tensor"
)

var normShapes = map[string]tensor.Shape{
	"conv.weight": {4, 3}, "bn.weight": {4}, "bn.running_mean": {4}, "bn.running_var": {4}, "bn.num_batches_tracked": {},
	"bn/moving_mean": {4}, "bn/moving_variance": {4}, "not_running_mean": {4}, "mean": {4},
	"e.0.mean": {4}, "e.1.mean": {4},
}

const normLayouts = "conv.weight: h _, bn.weight: h, bn.running_mean: h, bn.running_var: h, bn/moving_mean: h, bn/moving_variance: h, mean: h, not_running_mean: h"

// TestSpecStatistics reads them from the names, and from the file where that says otherwise, and writes back what was read.
func TestSpecStatistics(t *testing.T) {
	byName := []string{"bn.num_batches_tracked", "bn.running_mean", "bn.running_var", "bn/moving_mean", "bn/moving_variance"}
	for section, want := range map[string][]string{
		"":               byName,
		"statistics:":    byName,
		"statistics: {}": byName,
		"statistics: {mean: true, bn.running_mean: true}":                                                             append(slices.Clone(byName), "mean"),
		"statistics:\n  bn.running_mean: false\n  'e.{e}.mean': true\n  bn.weight: false":                             {"bn.num_batches_tracked", "bn.running_var", "bn/moving_mean", "bn/moving_variance", "e.0.mean", "e.1.mean"},
		"statistics: {" + strings.Join(byName, ": false, ") + ": false}":                                              nil,
		`statistics: {"bn.running_mean": false, "e.0.mean": true, mean: true, conv.weight: true, bn.weight: "false"}`: {"bn.num_batches_tracked", "bn.running_var", "bn/moving_mean", "bn/moving_variance", "conv.weight", "e.0.mean", "mean"},
	} {
		s := mustParse(t, fmt.Sprintf("layouts: {%s, 'e.{e}.mean': h}\n%s\n", normLayouts, section), normShapes)
		if !slices.Equal(s.Statistics, want) {
			t.Errorf("%s\nstatistics are %q, want %q", section, s.Statistics, want)
		}
		text, err := s.MarshalSpec()
		if err != nil {
			t.Fatal(err)
		}
		again := mustParse(t, string(text), normShapes)
		if !slices.Equal(again.Statistics, want) {
			t.Errorf("%s\nwas written as\n%s\nand has the statistics %q", section, text, again.Statistics)
		}
		if strings.Contains(string(text), "statistics") == slices.Equal(want, byName) {
			t.Errorf("%s\nwas written as\n%s", section, text)
		}
	}
	python := mustParse(t, `{"conv.weight": ["h", null], "bn.running_mean": ["h"], "bn.running_var": ["h"]}`, normShapes)
	if !slices.Equal(python.Statistics, byName) {
		t.Errorf("the form of lists has the statistics %q", python.Statistics)
	}
}

func TestSpecStatisticsErrors(t *testing.T) {
	for section, want := range map[string]string{
		"statistics: {other: true}":                            `line 2: statistics: "other" is neither in the checkpoint nor in a layout`,
		"statistics: {mean: 1}":                                `line 2: statistics: "mean": true or false is needed here, not "1"`,
		"statistics: {mean: {a: true}}":                        `line 2: statistics: "mean": text is needed here, not a mapping`,
		"statistics: mean":                                     "line 2: statistics: a mapping is needed here",
		"statistics:\n  e.0.mean: true\n  'e.{e}.mean': false": `line 4: statistics: "e.{e}.mean" says otherwise of tensor "e.0.mean" than an entry before`,
	} {
		_, err := ParseSpec([]byte(fmt.Sprintf("layouts: {%s, 'e.{e}.mean': h}\n%s\n", normLayouts, section)), normShapes)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nerror %v, want %s", section, err, want)
		}
	}
	s := mustParse(t, "layouts: {mean: h}", normShapes)
	for _, bad := range [][]string{{"nobody"}, {"mean", "bn.weight"}, {"mean", "mean"}} {
		s.Statistics = bad
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), "running statistic") {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}
