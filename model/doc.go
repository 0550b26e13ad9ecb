// Package model opens checkpoint files as networks: tensors, metadata and, where it can be known, the graph that gives them meaning.
//
// The graph comes from the file's own metadata (networks trained here describe themselves), or from the name of a built-in architecture with the
// sizes read from the tensors' shapes. An ONNX file has its graph in it, and can give one to files of tensors ([OpenNames]). Without any of these a
// model is a bag of tensors: it can be aligned and merged with a symmetry from a specification file, but not run. Reading is lazy; tensors are read
// one at a time where that is enough.
package model
