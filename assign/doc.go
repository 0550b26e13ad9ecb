// Package assign solves the linear assignment problem exactly: given what it costs to put row i on column j, put every row on a column of its
// own so that the sum of the costs is the smallest (or the largest) there is.
//
// # Problems
//
// A problem is a dense matrix of float32 or float64, row-major, of any shape. With as many columns as rows the solution is a permutation. With
// more columns than rows every row gets a column and some columns stay free; with more rows than columns every column gets a row and some rows
// stay without one (-1 in [Result.RowToCol]). An infinite entry of the bad sign (+Inf when minimising, -Inf when maximising) forbids its pair.
//
// # Method
//
// Shortest augmenting paths, after
//
//   - R. Jonker, A. Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems", Computing 38, 325-340
//     (1987), DOI 10.1007/BF02278710: the augmenting row reduction and the search;
//   - D. F. Crouse, "On implementing 2D rectangular assignment algorithms", IEEE Transactions on Aerospace and Electronic Systems 52(4),
//     1679-1696 (2016), DOI 10.1109/TAES.2016.140952: rectangular problems without padding, and the search in one pass per row.
//
// It takes O(n²m) time in the worst case for n rows and m >= n columns, close to O(nm log n) on most matrices met in practice, and O(m) memory
// beside the matrix, which is copied only to maximise or where rows outnumber columns. Jonker and Volgenant's column reduction is left out: it
// makes every all-zero column tight for every row, and a matrix with many such columns then costs hundreds of scans a row; prices start at zero.
//
// # Exactness, ties, determinism
//
// Prices are float64 whatever the costs are. Two assignments whose sums differ by less than the rounding errors of the prices are not told apart;
// the duals in the [Result] prove how far from the optimum the solution can be at most, as a number ([Result.Gap]). Where all sums are
// representable, as with integers of moderate size, the gap is zero and the solution is optimal without qualification.
//
// The identity (row i on column i) is special to callers that iterate until nothing moves: it is returned whenever it is optimal. Its cost and
// that of the solution found are compared without rounding, as floating-point expansions (J. R. Shewchuk, "Adaptive precision floating-point
// arithmetic and fast robust geometric predicates", Discrete & Computational Geometry 18, 305-363 (1997), DOI 10.1007/PL00009321).
//
// The result is a function of the arguments alone: nothing depends on time, on the number of threads or on earlier problems of a [Solver].
package assign
