package eval

import "math"

// Metrics is what one pass of a model over a data set measures.
type Metrics struct {
	Loss float64 `json:"loss"` // mean cross-entropy per sample, in nats
	// Accuracy is the fraction of samples whose largest logit is the label's, 0 to 1. Of equal logits the first is the largest.
	Accuracy float64 `json:"accuracy"`
	Count    int     `json:"count,omitempty"` // samples measured
}

// Report is the full measurement of a model on data.
type Report struct {
	Metrics
	// TopK is the fraction of samples whose label is among the K largest logits; ties count against the model.
	TopK float64
	K    int
	// CalibrationError is the expected calibration error over [CalibrationBins] bins of confidence, the greatest probability of a sample:
	// Σ n_b/n |accuracy_b - confidence_b|. A sample whose probabilities are not finite has confidence 0 and is no hit.
	CalibrationError float64
	// Bins are what it is made of: bin b has the samples of confidence above b/[CalibrationBins] up to (b+1)/[CalibrationBins].
	Bins [CalibrationBins]Bin
}

// Bin is the samples of one bin of confidence.
type Bin struct {
	Count int `json:"count"`
	// Confidence and Accuracy are means over them, 0 where there are none.
	Confidence float64 `json:"confidence"`
	Accuracy   float64 `json:"accuracy"`
}

// CalibrationBins is the number of equal-width bins of confidence, as in Guo, Pleiss, Sun, Weinberger 2017, On Calibration of Modern Neural
// Networks (arXiv:1706.04599).
const CalibrationBins = 15

// rank is the number of classes whose logit is at least the label's, the label itself not counted. A logit that is NaN counts against the model.
func rank(logits []float32, label int) int {
	n := 0
	for c, z := range logits {
		if c != label && !(z < logits[label]) {
			n++
		}
	}
	return n
}

// calibration gathers confidence and hits in bins.
type calibration struct {
	samples          int
	count            [CalibrationBins]int
	confidence, hits [CalibrationBins]float64 // sums over the samples of a bin
}

func (b *calibration) add(logits []float32, label int) {
	b.samples++
	best := 0
	for c, z := range logits {
		if z > logits[best] {
			best = c
		}
	}
	var sum float64
	for _, z := range logits {
		sum += math.Exp(float64(z) - float64(logits[best]))
	}
	p := 1 / sum
	if !(p > 0) {
		b.count[0]++ // and nothing to either sum of the first bin
		return
	}
	// Bins are (i/B, (i+1)/B].
	bin := min(max(int(math.Ceil(p*CalibrationBins))-1, 0), CalibrationBins-1)
	b.count[bin]++
	b.confidence[bin] += p
	if best == label {
		b.hits[bin]++
	}
}

// err is the expected calibration error: n_b cancels, the sums of the bins are what is compared.
func (b *calibration) err() float64 {
	var sum float64
	for i := range b.hits {
		sum += math.Abs(b.hits[i] - b.confidence[i])
	}
	return sum / float64(b.samples)
}

func (b *calibration) bins() (out [CalibrationBins]Bin) {
	for i, n := range b.count {
		if out[i].Count = n; n > 0 {
			out[i].Confidence, out[i].Accuracy = b.confidence[i]/float64(n), b.hits[i]/float64(n)
		}
	}
	return out
}
