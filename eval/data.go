package eval

import "errors"

// Data is a set of labelled samples.
type Data interface {
	Len() int
	// Shape is that of one sample, without the batch.
	Shape() []int
	// Classes is their number; labels are below it. It is 0 where there are no labels, on which no loss can be measured.
	Classes() int
	// Fill writes the samples of these indices to x, one after the other, and their labels.
	Fill(indices []int, x []float32, labels []int32)
}

// SampleSize is the number of values of one sample.
func SampleSize(d Data) int {
	n := 1
	for _, extent := range d.Shape() {
		n *= extent
	}
	return n
}

var (
	errEmpty = errors.New("eval: the data set is empty")
	// ErrNoLabels is the error of measuring a loss on samples without labels.
	ErrNoLabels = errors.New("the data has no labels")
)

// CheckLabels is an error where there are no samples, or no labels to measure a loss by.
func CheckLabels(d Data) error {
	switch {
	case d.Len() == 0:
		return errors.New("the data set is empty")
	case d.Classes() < 1:
		return ErrNoLabels
	}
	return nil
}

// batches cuts data into batches in order. Its memory is kept from one data set to the next.
type batches struct {
	size    int // samples in a batch; the last one may be smaller
	x       []float32
	labels  []int32
	indices []int
}

// number is how many batches the data has.
func (b *batches) number(d Data) int { return (d.Len() + b.size - 1) / b.size }

// fill returns the samples of one batch and their labels, valid until the next call.
func (b *batches) fill(d Data, batch int) (x []float32, labels []int32) {
	start := batch * b.size
	n, each := min(b.size, d.Len()-start), SampleSize(d)
	if len(b.x) < n*each {
		b.x = make([]float32, n*each)
	}
	if len(b.labels) < n {
		b.labels, b.indices = make([]int32, n), make([]int, n)
	}
	for i := range n {
		b.indices[i] = start + i
	}
	x, labels = b.x[:n*each], b.labels[:n]
	d.Fill(b.indices[:n], x, labels)
	return x, labels
}
