package kernel

// vectors are the vector kernels of one instruction set. All of them give the same bytes. Their slices have equal length; any may be empty.
type vectors[T Float] struct {
	axpy               func(alpha T, x, y []T)
	scale              func(alpha T, x []T)
	add, sub, mul, div func(dst, a, b []T)
	lerp               func(s, t T, dst, a, b []T)
	relu               func(dst, x []T)
	addRelu            func(dst, row []T)
	reluGrad           func(dx, dy, y []T)
	maxPairs           func(y, top, bottom []T)
	maxPairsGrad       func(dTop, dBottom, dy, top, bottom []T)
	dot                func(x, y []T) float64
	sum                func(x []T) float64
	adam               func(w, g, m, v []T, s adamScalars[T])
	sgd                func(w, g []T, s sgdScalars[T])
	sgdMomentum        func(w, g, m []T, s sgdScalars[T])
	sgdNesterov        func(w, g, m []T, s sgdScalars[T])
}

// Axpy adds alpha*x to y.
func Axpy[T Float](alpha T, x, y []T) {
	sameLength("Axpy", len(y), len(x))
	current[T]().axpy(alpha, x, y)
}

// Scale multiplies x by alpha.
func Scale[T Float](alpha T, x []T) { current[T]().scale(alpha, x) }

// Add stores a + b in dst, which may be either.
func Add[T Float](dst, a, b []T) {
	sameLength("Add", len(dst), len(a), len(b))
	current[T]().add(dst, a, b)
}

// Sub stores a - b in dst, which may be either.
func Sub[T Float](dst, a, b []T) {
	sameLength("Sub", len(dst), len(a), len(b))
	current[T]().sub(dst, a, b)
}

// Mul stores the elementwise product of a and b in dst, which may be either.
func Mul[T Float](dst, a, b []T) {
	sameLength("Mul", len(dst), len(a), len(b))
	current[T]().mul(dst, a, b)
}

// Div stores the elementwise quotient of a and b in dst, which may be either.
func Div[T Float](dst, a, b []T) {
	sameLength("Div", len(dst), len(a), len(b))
	current[T]().div(dst, a, b)
}

// Lerp stores (1-t)*a + t*b in dst, which may be either.
func Lerp[T Float](dst, a, b []T, t T) {
	sameLength("Lerp", len(dst), len(a), len(b))
	current[T]().lerp(1-t, t, dst, a, b)
}

// Relu stores max(x, 0) in dst, which may be x. A NaN stays one.
func Relu[T Float](dst, x []T) {
	sameLength("Relu", len(dst), len(x))
	current[T]().relu(dst, x)
}

// ReluGrad stores in dx, which may be dy or y, the gradient of Relu given that of its output, dy, and the output y (or the input, which
// has the same sign): dy where y > 0, else 0.
func ReluGrad[T Float](dx, dy, y []T) {
	sameLength("ReluGrad", len(dx), len(dy), len(y))
	current[T]().reluGrad(dx, dy, y)
}

// AddRow adds row to each row of the rows x cols matrix dst.
func AddRow[T Float](dst []T, rows, cols int, row []T) {
	sameLength("AddRow", rows*cols, len(dst))
	sameLength("AddRow", cols, len(row))
	add := current[T]().add
	for r := range rows {
		d := dst[r*cols : (r+1)*cols]
		add(d, d, row)
	}
}

// AddRowRelu adds row to each row of the rows x cols matrix dst and applies Relu to the result.
func AddRowRelu[T Float](dst []T, rows, cols int, row []T) {
	sameLength("AddRowRelu", rows*cols, len(dst))
	sameLength("AddRowRelu", cols, len(row))
	addRelu := current[T]().addRelu
	for r := range rows {
		addRelu(dst[r*cols:(r+1)*cols], row)
	}
}

// SumRows stores in dst the sum of the rows of the rows x cols matrix x plus beta times what dst held. With beta 0 the old dst is not
// read. Rows are added from first to last.
func SumRows[T Float](dst, x []T, rows, cols int, beta T) {
	sameLength("SumRows", rows*cols, len(x))
	sameLength("SumRows", cols, len(dst))
	if beta == 0 {
		clear(dst)
	} else {
		Scale(beta, dst)
	}
	add := current[T]().add
	for r := range rows {
		add(dst, dst, x[r*cols:(r+1)*cols])
	}
}

// Dot is the inner product of x and y, accumulated in float64 in a fixed number of partial sums that are then added pairwise.
func Dot[T Float](x, y []T) float64 {
	sameLength("Dot", len(y), len(x))
	return current[T]().dot(x, y)
}

// Sum is the sum of x, accumulated as in Dot.
func Sum[T Float](x []T) float64 { return current[T]().sum(x) }
