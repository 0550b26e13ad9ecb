// Package experiment declares whole pieces of work, from data to figures, each a function of a seed.
//
// [Demo] is the first: the paper's central result on MNIST in about a minute.
package experiment
