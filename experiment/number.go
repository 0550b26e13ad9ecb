package experiment

import (
	"bytes"
	"encoding/json"
	"math"

	"github.com/rebasin/rebasin/eval"
)

// Number is a float64 that JSON can hold even where it is not finite: then it is null, and NaN when it is read again. Networks between others may have
// losses that are not finite, which is a result.
type Number float64

// MarshalJSON writes the number, or null.
func (n Number) MarshalJSON() ([]byte, error) {
	if x := float64(n); !math.IsNaN(x) && !math.IsInf(x, 0) {
		return json.Marshal(x)
	}
	return []byte("null"), nil
}

// UnmarshalJSON reads a number or null.
func (n *Number) UnmarshalJSON(text []byte) error {
	if bytes.Equal(text, []byte("null")) {
		*n = Number(math.NaN())
		return nil
	}
	return json.Unmarshal(text, (*float64)(n))
}

func numbers(values []float64) []Number {
	out := make([]Number, len(values))
	for i, v := range values {
		out[i] = Number(v)
	}
	return out
}

// Measure is loss, in nats, and accuracy, 0 to 1, on some data.
type Measure struct {
	Loss     Number `json:"loss"`
	Accuracy Number `json:"accuracy"`
}

func newMeasure(m eval.Metrics) Measure { return Measure{Number(m.Loss), Number(m.Accuracy)} }

// Measures are those on the fixed part of the training data and on the test data.
type Measures struct {
	Train Measure `json:"train"`
	Test  Measure `json:"test"`
}
