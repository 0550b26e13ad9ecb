// Package assign solves the linear assignment problem exactly: given what it costs to put row i on column j, put every row on a
// column of its own so that the sum of the costs is the smallest (or the largest) there is.
//
// # Problems
//
// A problem is a dense matrix of float32 or float64, row-major, of any shape. With as many columns as rows the solution is a
// permutation. With more columns than rows every row gets a column and some columns stay free; with more rows than columns every
// column gets a row and some rows stay without one (-1 in [Result.RowToCol]). An infinite entry of the bad sign (+Inf when
// minimising, -Inf when maximising) forbids its pair.
//
// # Method
//
// Shortest augmenting paths, after
//
//   - R. Jonker, A. Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems", Computing
//     38, 325-340 (1987), DOI 10.1007/BF02278710: the augmenting row reduction and the search;
//   - D. F. Crouse, "On implementing 2D rectangular assignment algorithms", IEEE Transactions on Aerospace and Electronic Systems 52(4),
//     1679-1696 (2016), DOI 10.1109/TAES.2016.140952: rectangular problems without padding, and the search in one pass per row.
//
// Jonker and Volgenant's column reduction is left out: it makes every all-zero column tight for every row, and a matrix with many
// such columns then costs hundreds of scans a row; prices start at zero.
//
// Up to 192 columns every search scans whole rows. Above, each row has a list of the few dozen columns that are best for it, and a
// lower bound on the others. Prices only fall, so that reduced costs c[i,j] - price[j] only rise and the bound holds however old
// the list is. The augmenting row reduction makes a new list when the second best column of a row passes its bound; the search
// holds for each row it reaches an event, at the length of path at which columns outside the list could matter, that looks at the
// whole row. Nothing is approximate, and the least reduced costs of the certificate are those of the lists too where these are
// within their bounds. Most matrices met in practice are thus read once, and a small part of them twice. Where every row wants the
// same columns lists do not last; after n/2 new ones, searches scan whole rows.
//
// It takes O(n²m) time in the worst case for n rows and m >= n columns, close to one pass over the matrix on most matrices met in
// practice, and O(n + m) memory beside the matrix, which is copied only where rows outnumber columns. The scans are in assembly
// for AVX-512 and AVX2 (package internal/kernel).
//
// # Exactness, ties, determinism
//
// Prices are float64 whatever the costs are. Two assignments whose sums differ by less than the rounding errors of the prices are
// not told apart; the duals in the [Result] prove how far from the optimum the solution can be at most, as a number
// ([Result.Gap]). Where all sums are representable, as with integers of moderate size, the gap is zero and the solution is optimal
// without qualification.
//
// The identity (row i on column i) is special to callers that iterate until nothing moves: it is returned whenever it is optimal.
// Its cost and that of the solution found are compared without rounding, as floating-point expansions (J. R. Shewchuk, "Adaptive
// precision floating-point arithmetic and fast robust geometric predicates", Discrete & Computational Geometry 18, 305-363 (1997),
// DOI 10.1007/PL00009321).
//
// The result is a function of the arguments alone: nothing depends on time, on the number of threads or on earlier problems of a
// [Solver].
package assign
