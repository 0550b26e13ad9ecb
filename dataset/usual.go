package dataset

// UsualNormalization is the mean and deviation of the training pixels of a named data set, per channel, with the digits that most models which are
// published for it were trained with; nil where the name is none.
func UsualNormalization(name string) *Normalization {
	switch name {
	case "mnist":
		return &Normalization{Mean: []float32{.1307}, Std: []float32{.3081}}
	case "fashion-mnist":
		return &Normalization{Mean: []float32{.2860}, Std: []float32{.3530}}
	case "cifar10":
		return &Normalization{Mean: []float32{.4914, .4822, .4465}, Std: []float32{.2470, .2435, .2616}}
	case "cifar100":
		return &Normalization{Mean: []float32{.5071, .4865, .4409}, Std: []float32{.2673, .2564, .2762}}
	}
	return nil
}
