package nn

import (
	"fmt"
	"math"
)

// CrossEntropy is the loss of rows of logits, [len(labels), classes], against labels in [0, classes): for each row the logarithm of the
// sum of exponentials of its logits less the logit of its label, computed around the greatest logit so that nothing overflows. It returns
// the sum of the rows' losses, added in float64 in their order, and the number of rows whose label has the greatest logit, the first one
// of several. A row with a NaN is never correct and makes the sum NaN.
//
// Unless dlogits is nil, it receives the gradient of the mean: (softmax(row) - onehot(label))/rows. It may be logits itself.
//
// Lengths that do not fit and labels out of range are mistakes of the caller and panic.
func CrossEntropy[T Float](logits []T, labels []int32, classes int, dlogits []T) (sum float64, correct int) {
	if classes < 1 || len(logits) != len(labels)*classes {
		panic(fmt.Sprintf("nn: CrossEntropy: %d logits for %d labels of %d classes", len(logits), len(labels), classes))
	}
	if dlogits != nil && len(dlogits) != len(logits) {
		panic(fmt.Sprintf("nn: CrossEntropy: the gradient has %d elements, the logits %d", len(dlogits), len(logits)))
	}
	for i, label := range labels {
		if label < 0 || int(label) >= classes {
			panic(fmt.Sprintf("nn: CrossEntropy: label %d of row %d is not in [0, %d)", label, i, classes))
		}
		row := logits[i*classes : (i+1)*classes]
		best := argmax(row)
		m, rest := logSumExp(row, line{n: classes, stride: 1})
		loss := m - float64(row[label]) + rest
		if best == int(label) && !math.IsNaN(loss) {
			correct++
		}
		sum += loss
		if dlogits != nil {
			crossEntropyGrad(dlogits[i*classes:(i+1)*classes], row, int(label), m+rest, 1/float64(len(labels)))
		}
	}
	return sum, correct
}

func crossEntropyGrad[T Float](d, row []T, label int, logSum, scale float64) {
	for j, v := range row {
		p := math.Exp(float64(v) - logSum)
		if j == label {
			p--
		}
		d[j] = T(p * scale)
	}
}

// argmax is the first index of the greatest element.
func argmax[T Float](row []T) int {
	best := 0
	for j, v := range row {
		if v > row[best] {
			best = j
		}
	}
	return best
}
