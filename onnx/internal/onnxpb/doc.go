// Package onnxpb holds the messages of ONNX files: onnx.proto, and the Go code generated from it.
//
// To generate it anew, with protoc 3.21 or later (Debian's protobuf-compiler) on the PATH:
//
//	GOBIN=$PWD/bin go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
//	PATH=$PWD/bin:$PATH go generate ./onnx/internal/onnxpb
//
// The generator has the version of google.golang.org/protobuf in go.mod.
package onnxpb

//go:generate protoc --go_out=. --go_opt=paths=source_relative onnx.proto
