package kernel

// Axpy adds alpha*x to y.
func Axpy[T Float](alpha T, x, y []T) {
	sameLength("Axpy", len(y), len(x))
	for i, v := range x {
		y[i] += T(alpha * v)
	}
}

// Scale multiplies x by alpha.
func Scale[T Float](alpha T, x []T) {
	for i := range x {
		x[i] *= alpha
	}
}

// Add stores a + b in dst, which may be either.
func Add[T Float](dst, a, b []T) {
	sameLength("Add", len(dst), len(a), len(b))
	for i, v := range a {
		dst[i] = v + b[i]
	}
}

// Sub stores a - b in dst, which may be either.
func Sub[T Float](dst, a, b []T) {
	sameLength("Sub", len(dst), len(a), len(b))
	for i, v := range a {
		dst[i] = v - b[i]
	}
}

// Mul stores the elementwise product of a and b in dst, which may be either.
func Mul[T Float](dst, a, b []T) {
	sameLength("Mul", len(dst), len(a), len(b))
	for i, v := range a {
		dst[i] = v * b[i]
	}
}

// Div stores the elementwise quotient of a and b in dst, which may be either.
func Div[T Float](dst, a, b []T) {
	sameLength("Div", len(dst), len(a), len(b))
	for i, v := range a {
		dst[i] = v / b[i]
	}
}

// Lerp stores (1-t)*a + t*b in dst, which may be either.
func Lerp[T Float](dst, a, b []T, t T) {
	sameLength("Lerp", len(dst), len(a), len(b))
	s := 1 - t
	for i, v := range a {
		dst[i] = T(s*v) + T(t*b[i])
	}
}

// Relu stores max(x, 0) in dst, which may be x. A NaN stays one.
func Relu[T Float](dst, x []T) {
	sameLength("Relu", len(dst), len(x))
	for i, v := range x {
		if v < 0 {
			v = 0
		}
		dst[i] = v
	}
}

// ReluGrad stores in dx, which may be dy or y, the gradient of Relu given that of its output, dy, and the output y (or the input, which has the
// same sign): dy where y > 0, else 0.
func ReluGrad[T Float](dx, dy, y []T) {
	sameLength("ReluGrad", len(dx), len(dy), len(y))
	for i, v := range y {
		g := dy[i]
		if !(v > 0) {
			g = 0
		}
		dx[i] = g
	}
}

// AddRow adds row to each row of the rows x cols matrix dst.
func AddRow[T Float](dst []T, rows, cols int, row []T) {
	sameLength("AddRow", rows*cols, len(dst))
	sameLength("AddRow", cols, len(row))
	for r := range rows {
		d := dst[r*cols : (r+1)*cols]
		Add(d, d, row)
	}
}

// AddRowRelu adds row to each row of the rows x cols matrix dst and applies Relu to the result.
func AddRowRelu[T Float](dst []T, rows, cols int, row []T) {
	sameLength("AddRowRelu", rows*cols, len(dst))
	sameLength("AddRowRelu", cols, len(row))
	for r := range rows {
		addRelu(dst[r*cols:(r+1)*cols], row)
	}
}

func addRelu[T Float](dst, row []T) {
	for i, v := range row {
		v += dst[i]
		if v < 0 {
			v = 0
		}
		dst[i] = v
	}
}

// SumRows stores in dst the sum of the rows of the rows x cols matrix x plus beta times what dst held. With beta 0 the old dst is not read. Rows
// are added from first to last.
func SumRows[T Float](dst, x []T, rows, cols int, beta T) {
	sameLength("SumRows", rows*cols, len(x))
	sameLength("SumRows", cols, len(dst))
	if beta == 0 {
		clear(dst)
	} else {
		Scale(beta, dst)
	}
	for r := range rows {
		Add(dst, dst, x[r*cols:(r+1)*cols])
	}
}

// lanes is the number of partial sums of Dot and Sum: element i goes to partial sum i mod lanes, whatever the instruction set.
const lanes = 16

// Dot is the inner product of x and y, accumulated in float64 in lanes partial sums that are then added pairwise.
func Dot[T Float](x, y []T) float64 {
	sameLength("Dot", len(y), len(x))
	var acc [lanes]float64
	for i, v := range x {
		acc[i%lanes] += float64(float64(v) * float64(y[i]))
	}
	return sumLanes(&acc)
}

// Sum is the sum of x, accumulated as in Dot.
func Sum[T Float](x []T) float64 {
	var acc [lanes]float64
	for i, v := range x {
		acc[i%lanes] += float64(v)
	}
	return sumLanes(&acc)
}

// sumLanes adds partial sums pairwise: i and i+8, then i and i+4, and so on.
func sumLanes(acc *[lanes]float64) float64 {
	for half := lanes / 2; half > 0; half /= 2 {
		for i := range half {
			acc[i] += acc[i+half]
		}
	}
	return acc[0]
}
