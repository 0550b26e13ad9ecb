package symmetry

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// statisticNames are the last parts of names that frameworks give to running statistics of normalisations, and to the count of the batches behind them:
// PyTorch's and Keras's.
var statisticNames = []string{"running_mean", "running_var", "num_batches_tracked", "moving_mean", "moving_variance"}

// isStatisticName says that a tensor is a running statistic by its name: its last part, behind a dot or a slash, is one of statisticNames.
func isStatisticName(name string) bool {
	return slices.Contains(statisticNames, name[strings.LastIndexAny(name, "./")+1:])
}

// specStatistic is an entry of the section `statistics`: whether a tensor, or each of those of a virtual stack, is a running statistic.
type specStatistic struct {
	key  string
	is   bool
	line int
}

func readStatistics(pairs []yamlPair) ([]specStatistic, error) {
	var out []specStatistic
	for _, p := range pairs {
		text, err := scalar(p.value)
		if err == nil && text != "true" && text != "false" {
			err = fmt.Errorf("true or false is needed here, not %s", quoteShort(text))
		}
		if err != nil {
			return nil, atLine(p.line, fmt.Errorf("statistics: %q: %w", p.key, err))
		}
		out = append(out, specStatistic{p.key, text == "true", p.line})
	}
	return out, nil
}

// statistics are the running statistics among the tensors: by the file where that says so, else by their names.
func (r *specResolver) statistics() ([]string, error) {
	said := map[string]bool{}
	for _, entry := range r.file.statistics {
		members := []string{entry.key}
		if _, ok := r.shapes[entry.key]; !ok {
			at := slices.IndexFunc(r.file.entries, func(e *specEntry) bool { return e.key == entry.key })
			if at < 0 {
				return nil, atLine(entry.line, fmt.Errorf("statistics: %q is neither in the checkpoint nor in a layout", entry.key))
			}
			members = r.file.entries[at].members
		}
		for _, name := range members {
			if was, ok := said[name]; ok && was != entry.is {
				return nil, atLine(entry.line, fmt.Errorf("statistics: %q says otherwise of tensor %q than an entry before", entry.key, name))
			}
			said[name] = entry.is
		}
	}
	var out []string
	for _, name := range sortedKeys(r.shapes) {
		is, ok := said[name]
		if is || !ok && isStatisticName(name) {
			out = append(out, name)
		}
	}
	return out, nil
}

// writeStatistics writes what the names of the tensors do not say.
func (s *Symmetry) writeStatistics(b *bytes.Buffer) {
	header := "statistics:\n"
	for _, name := range sortedKeys(s.Shapes) {
		if _, is := slices.BinarySearch(s.Statistics, name); is != isStatisticName(name) {
			fmt.Fprintf(b, "%s  %s: %v\n", header, yamlKey(name), is)
			header = ""
		}
	}
}

// validateStatistics holds statistics to be sorted names of tensors.
func (s *Symmetry) validateStatistics() error {
	for i, name := range s.Statistics {
		if _, ok := s.Shapes[name]; !ok {
			return fmt.Errorf("running statistic %q: unknown", name)
		}
		if i > 0 && s.Statistics[i-1] >= name {
			return fmt.Errorf("running statistics %q and %q are not sorted, or one is there twice", s.Statistics[i-1], name)
		}
	}
	return nil
}
