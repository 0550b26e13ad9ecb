package eval

// Metrics is what one pass of a model over a data set measures.
type Metrics struct {
	Loss     float64 `json:"loss"`            // mean cross-entropy per sample, in nats
	Accuracy float64 `json:"accuracy"`        // fraction of samples whose largest logit is the label's, 0 to 1
	Count    int     `json:"count,omitempty"` // samples measured
}
