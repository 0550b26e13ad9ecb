package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/dataset"
)

// partFlags say which part of the training data to train on.
type partFlags struct {
	labels, part string
	share        float64
	seed         uint64
}

func (p *partFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&p.labels, "labels", "", "train on samples of these classes only: numbers and ranges, as in 0-4,7; classes keep their numbers")
	f.StringVar(&p.part, "part", "", "train on part I of N random parts that have no sample in common, as in 0/2")
	f.Float64Var(&p.share, "part-share", 0, "of two parts, share of the samples of each class in the first half of the classes that part 0 gets; of the other classes it gets the rest")
	f.Uint64Var(&p.seed, "part-seed", 0, "seed of the parts")
}

// check finds mistakes in the flags before anything is opened.
func (p *partFlags) check() error {
	if _, err := parseLabels(p.labels); err != nil {
		return usagef("--labels %w", err)
	}
	_, n, err := parsePart(p.part)
	switch {
	case err != nil:
		return usagef("--part %w", err)
	case p.share != 0 && !(p.share > 0 && p.share < 1):
		return usagef("--part-share %v: it must be above 0 and below 1", p.share)
	case p.share != 0 && n != 2:
		return usagef("--part-share is for two parts: --part 0/2 or 1/2")
	case p.seed != 0 && n == 0:
		return usagef("--part-seed is for parts: --part I/N")
	}
	return nil
}

// A labelRange is classes from first to last.
type labelRange struct{ first, last int }

// parseLabels reads a list of numbers and ranges.
func parseLabels(text string) ([]labelRange, error) {
	if text == "" {
		return nil, nil
	}
	var ranges []labelRange
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.ParseUint(from, 10, 31)
		last := first
		if err == nil && isRange {
			last, err = strconv.ParseUint(to, 10, 31)
		}
		if err != nil || last < first {
			return nil, fmt.Errorf("%q: %q is neither a class nor a range of classes", text, part)
		}
		ranges = append(ranges, labelRange{int(first), int(last)})
	}
	return ranges, nil
}

// parsePart reads the form I/N; nothing is no parts.
func parsePart(text string) (i, n int, err error) {
	if text == "" {
		return 0, 0, nil
	}
	index, count, ok := strings.Cut(text, "/")
	if i, err = strconv.Atoi(index); ok && err == nil {
		n, err = strconv.Atoi(count)
	}
	if !ok || err != nil || i < 0 || i >= n {
		return 0, 0, fmt.Errorf("%q: the form is I/N, with I from 0 to N-1", text)
	}
	return i, n, nil
}

// of is the part of the data that the flags name.
func (p *partFlags) of(data *dataset.Set) (*dataset.Set, error) {
	part, err := p.chosen(data)
	if err != nil {
		return nil, err
	}
	i, n, err := parsePart(p.part)
	switch {
	case err != nil:
		return nil, usagef("--part %w", err)
	case n > part.Len():
		return nil, usagef("--part %s: there are %s", p.part, counted(part.Len(), "sample"))
	case p.share > 0:
		first := make([]int, data.Classes()/2)
		for class := range first {
			first[class] = class
		}
		parts := [2]*dataset.Set{}
		parts[0], parts[1] = part.SplitByLabel(first, p.share, p.seed)
		part = parts[i]
	case n > 0:
		part = part.Part(i, n, p.seed)
	}
	if part.Len() == 0 {
		return nil, fmt.Errorf("nothing of %s is left to train on", data.Name())
	}
	return part, nil
}

// chosen is the data of the classes that --labels names.
func (p *partFlags) chosen(data *dataset.Set) (*dataset.Set, error) {
	ranges, err := parseLabels(p.labels)
	if err != nil {
		return nil, usagef("--labels %w", err)
	}
	if len(ranges) == 0 {
		return data, nil
	}
	var classes []int
	for class := range data.Classes() {
		if slices.ContainsFunc(ranges, func(r labelRange) bool { return r.first <= class && class <= r.last }) {
			classes = append(classes, class)
		}
	}
	if last := slices.MaxFunc(ranges, func(a, b labelRange) int { return a.last - b.last }).last; last >= data.Classes() {
		return nil, usagef("--labels %s: there is no class %d, %s has %d", p.labels, last, data.Name(), data.Classes())
	}
	return data.SubsetLabels(classes...), nil
}

// describe notes in the metadata which part it was.
func (p *partFlags) describe(meta map[string]string) {
	if p.labels != "" {
		meta["rebasin.labels"] = p.labels
	}
	if p.part == "" {
		return
	}
	meta["rebasin.part"] = fmt.Sprintf("%s seed %d", p.part, p.seed)
	if p.share != 0 {
		meta["rebasin.part"] += fmt.Sprintf(" share %v", p.share)
	}
}
