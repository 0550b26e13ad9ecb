// Package bench times the parts that decide how fast rebasin is: the assignment solver, the matrix product, weight matching and training.
//
// Times are the best of several runs inside one process, which is what compares best between programs on a machine that does other things too.
package bench
