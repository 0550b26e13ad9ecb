package dataset

import (
	"fmt"
	"math"
	"slices"
)

// Split is a part of a data set as its authors divided it.
type Split uint8

// The two splits that every data set here has.
const (
	Train Split = iota
	Test
)

// String returns "train" or "test".
func (s Split) String() string {
	switch s {
	case Train:
		return "train"
	case Test:
		return "test"
	}
	return fmt.Sprintf("Split(%d)", uint8(s))
}

// Normalization is the preprocessing that a model expects of images: with pixels v in [0, 1], a channel becomes (v - Mean) / Std.
// One value serves all channels; otherwise there is one for each.
type Normalization struct {
	Mean, Std []float32
}

// Set is a sequence of labelled images of one shape, or of samples that arrays hold, which may have other shapes and no labels. It is safe for
// concurrent use: nothing changes after it is made.
type Set struct {
	name       string
	shape      [3]int  // channels, height, width
	pixels     []uint8 // all images of the parent, [n, channels, height, width]
	arrays     *arrays // the samples where they are no images, else nil
	labels     []int32 // nil where there are none
	index      []int   // of the images of this set in pixels and labels
	classNames []string
	tables     [][256]float32 // per channel: the float of each pixel value
	lines      []line         // per channel: the same for values between them
}

// line takes a pixel value, in units of 2⁻¹⁶, to its float.
type line struct{ scale, offset float32 }

// New makes a set from pixels of shape [n, channels, height, width] and n labels, each below len(classNames). It keeps the
// pixels. A nil norm leaves pixels in [0, 1].
func New(name string, channels, height, width int, pixels, labels []uint8, classNames []string, norm *Normalization) (*Set, error) {
	if channels < 1 || height < 1 || width < 1 {
		return nil, fmt.Errorf("dataset: %s: images of %dx%dx%d", name, channels, height, width)
	}
	if !extentsMatch([]int{len(labels), channels, height, width}, len(pixels)) {
		return nil, fmt.Errorf("dataset: %s: %d labels of %dx%dx%d images do not fit %d pixels",
			name, len(labels), channels, height, width, len(pixels))
	}
	if i := slices.IndexFunc(labels, func(l uint8) bool { return int(l) >= len(classNames) }); i >= 0 {
		return nil, fmt.Errorf("dataset: %s: label %d of image %d: there are %d classes", name, labels[i], i, len(classNames))
	}
	wide := make([]int32, len(labels))
	for i, l := range labels {
		wide[i] = int32(l)
	}
	return newSet(name, imageShape{channels, height, width}, pixels, wide, classNames, norm)
}

// newSet makes a set of what has been checked.
func newSet(name string, shape imageShape, pixels []uint8, labels []int32, classNames []string, norm *Normalization) (*Set, error) {
	tables, lines, err := pixelTables(shape.channels, norm)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	return &Set{
		name: name, shape: [3]int{shape.channels, shape.height, shape.width}, pixels: pixels, labels: labels, index: upTo(len(labels)),
		classNames: classNames, tables: tables, lines: lines,
	}, nil
}

// Normalized is the same set with another normalization; nil is none. Pixels are shared.
func (s *Set) Normalized(norm *Normalization) (*Set, error) {
	if s.arrays != nil {
		if norm != nil {
			return nil, fmt.Errorf("dataset: %s: arrays that are no images cannot be normalised: their values are taken as they are", s.name)
		}
		return s, nil
	}
	tables, lines, err := pixelTables(s.shape[0], norm)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", s.name, err)
	}
	other := *s
	other.tables, other.lines = tables, lines
	return &other, nil
}

func (s *Set) imageShape() imageShape { return imageShape{s.shape[0], s.shape[1], s.shape[2]} }

// upTo is 0..n-1.
func upTo(n int) []int {
	index := make([]int, n)
	for i := range index {
		index[i] = i
	}
	return index
}

// pixelTables computes the float of every pixel value for each channel. The arithmetic is rounded to float32 after each step, as image
// pipelines do it that normalise tensors, so that a model sees the very numbers it was trained on.
func pixelTables(channels int, norm *Normalization) ([][256]float32, []line, error) {
	mean, std := make([]float32, channels), slices.Repeat([]float32{1}, channels)
	if norm != nil {
		if err := spread(mean, norm.Mean, "mean"); err != nil {
			return nil, nil, err
		}
		if err := spread(std, norm.Std, "standard deviation"); err != nil {
			return nil, nil, err
		}
	}
	tables, lines := make([][256]float32, channels), make([]line, channels)
	for c := range tables {
		if !(std[c] > 0) {
			return nil, nil, fmt.Errorf("normalization: standard deviation %v of channel %d is not positive", std[c], c)
		}
		for v := range tables[c] {
			centred := float32(float32(v)/255) - mean[c]
			tables[c][v] = centred / std[c]
		}
		lines[c] = line{scale: float32(1 / (255 * 65536 * float64(std[c]))), offset: tables[c][0]}
	}
	return tables, lines, nil
}

// spread sets one value per channel from values, which has one for each or one for all.
func spread(perChannel, values []float32, what string) error {
	switch len(values) {
	case len(perChannel):
		copy(perChannel, values)
	case 1:
		for c := range perChannel {
			perChannel[c] = values[0]
		}
	default:
		return fmt.Errorf("normalization: %d values of %s for %d channels", len(values), what, len(perChannel))
	}
	for _, v := range perChannel {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("normalization: %s %v is not finite", what, v)
		}
	}
	return nil
}

// Name is the name the set was opened by.
func (s *Set) Name() string { return s.name }

// Len is the number of images, or of samples.
func (s *Set) Len() int { return len(s.index) }

// Shape is that of one image, [channels, height, width], or of one sample of an array.
func (s *Set) Shape() []int {
	if s.arrays != nil {
		return slices.Clone(s.arrays.shape)
	}
	return slices.Clone(s.shape[:])
}

// Images tells whether the samples are images, which can be normalised and augmented.
func (s *Set) Images() bool { return s.arrays == nil }

// Labelled tells whether samples have labels: arrays may come without.
func (s *Set) Labelled() bool { return s.labels != nil }

// Classes is the number of classes; labels are below it. Without labels it is 0.
func (s *Set) Classes() int { return len(s.classNames) }

// ClassNames says what the labels mean.
func (s *Set) ClassNames() []string { return slices.Clone(s.classNames) }

// Label is the class of image i. It panics where there are no labels.
func (s *Set) Label(i int) int { return int(s.labels[s.index[i]]) }

// Fill writes the images of the given indices to x, of shape [len(indices), channels, height, width], and their classes to labels, which may
// be nil; where there are no labels they are -1. It allocates nothing. It panics when x or labels is too short or an index is out of range.
func (s *Set) Fill(indices []int, x []float32, labels []int32) {
	s.checkFill(len(indices), x, labels)
	if s.arrays != nil {
		s.fillArrays(indices, x, labels)
		return
	}
	plane := s.shape[1] * s.shape[2]
	size := s.shape[0] * plane
	for row, i := range indices {
		at := s.index[i]
		for c := range s.tables {
			offset := c * plane
			translate(x[row*size+offset:], s.pixels[at*size+offset:][:plane], &s.tables[c])
		}
		if labels != nil {
			labels[row] = s.labelAt(at)
		}
	}
}

// labelAt is the label of a sample of the parent, or -1.
func (s *Set) labelAt(at int) int32 {
	if s.labels == nil {
		return -1
	}
	return s.labels[at]
}

// checkFill panics where n images do not fit x, or their labels labels.
func (s *Set) checkFill(n int, x []float32, labels []int32) {
	size := s.shape[0] * s.shape[1] * s.shape[2]
	if s.arrays != nil {
		size = s.arrays.size
	}
	if len(x) < n*size {
		panic(fmt.Sprintf("dataset: Fill: %d images of %d pixels do not fit %d floats", n, size, len(x)))
	}
	if labels != nil && len(labels) < n {
		panic(fmt.Sprintf("dataset: Fill: %d labels do not fit %d", n, len(labels)))
	}
}

func translate(dst []float32, src []uint8, table *[256]float32) {
	dst = dst[:len(src)]
	for i, v := range src {
		dst[i] = table[v]
	}
}

// Subset returns the set of the images at the given indices, in their order; an index may occur more than once. Pixels are shared.
// It panics when an index is out of range.
func (s *Set) Subset(indices []int) *Set {
	index := make([]int, len(indices))
	for k, i := range indices {
		index[k] = s.index[i]
	}
	sub := *s
	sub.index = index
	return &sub
}

// SampleSeed draws the order in which [Set.Sample] takes samples.
const SampleSeed = 0x5eed

// Sample returns a fixed random part of n samples, the same each time and whatever other seeds there are, or s itself if n is not above 0 or s has no more.
func (s *Set) Sample(n int) *Set {
	if n <= 0 || n >= s.Len() {
		return s
	}
	return s.Subset(Order(s.Len(), SampleSeed, 0)[:n])
}

// HeldOut cuts s in two at random: n samples, but at most a third, or a third if n is not above 0, to choose on what is found on the rest.
func (s *Set) HeldOut(n int, seed uint64) (rest, held *Set) {
	order := Order(s.Len(), seed, 0)
	if n <= 0 || n > len(order)/3 {
		n = len(order) / 3
	}
	return s.Subset(order[n:]), s.Subset(order[:n])
}

// SubsetLabels returns the images whose class is one of those given, in the order of s. Classes keep their numbers.
func (s *Set) SubsetLabels(classes ...int) *Set {
	var indices []int
	for i := range s.index {
		if slices.Contains(classes, s.Label(i)) {
			indices = append(indices, i)
		}
	}
	return s.Subset(indices)
}
