package assign_test

import "math"

// hungarian is the value of the minimal assignment of a [n, m] matrix with n <= m, by the textbook Hungarian method in O(n²m):
// another algorithm than the package's in code of its own, and slow. It returns +Inf where a forbidden pair cannot be avoided.
func hungarian(n, m int, at func(i, j int) float64) float64 {
	u, v := make([]float64, n+1), make([]float64, m+1)
	row, way := make([]int, m+1), make([]int, m+1) // 1-based; row[0] is the row being placed
	for i := 1; i <= n; i++ {
		row[0] = i
		least := make([]float64, m+1)
		for j := range least {
			least[j] = math.Inf(1)
		}
		used := make([]bool, m+1)
		j0 := 0
		for row[j0] != 0 {
			used[j0] = true
			delta, j1 := math.Inf(1), 0
			for j := 1; j <= m; j++ {
				if used[j] {
					continue
				}
				if h := at(row[j0]-1, j-1) - u[row[j0]] - v[j]; h < least[j] {
					least[j], way[j] = h, j0
				}
				if least[j] < delta {
					delta, j1 = least[j], j
				}
			}
			if math.IsInf(delta, 1) {
				return delta
			}
			for j := range used {
				if used[j] {
					u[row[j]] += delta
					v[j] -= delta
				} else {
					least[j] -= delta
				}
			}
			j0 = j1
		}
		for j0 != 0 {
			row[j0] = row[way[j0]]
			j0 = way[j0]
		}
	}
	sum := 0.0
	for j := 1; j <= m; j++ {
		if row[j] != 0 {
			sum += at(row[j]-1, j-1)
		}
	}
	return sum
}

// everyAssignment calls visit with each way of giving min(rows, cols) pairs, as the column of each row or -1. The slice is reused.
func everyAssignment(rows, cols int, visit func(colOf []int)) {
	colOf := make([]int, rows)
	taken := make([]bool, cols)
	var place func(i, skips int)
	place = func(i, skips int) {
		if i == rows {
			visit(colOf)
			return
		}
		for j := range taken {
			if !taken[j] {
				taken[j], colOf[i] = true, j
				place(i+1, skips)
				taken[j] = false
			}
		}
		if skips > 0 {
			colOf[i] = -1
			place(i+1, skips-1)
		}
	}
	place(0, max(0, rows-cols))
}
