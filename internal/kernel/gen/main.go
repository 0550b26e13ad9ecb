// Command gen writes the assembly of package kernel and the Go declarations that go with it.
//
// It is a module of its own, so that the assembler library is no dependency of the product. Run it through
//
//	go generate ./internal/kernel
package main

import (
	"fmt"
	"os"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/buildtags"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
)

// A generator is the context one file of assembly is written in.
type generator struct{ *build.Context }

func main() {
	files := []struct {
		name  string
		write func(generator)
	}{
		{"gemm", writeGemm},
		{"pack", writePack},
		{"vector", writeVector},
		{"scan", writeScan},
		{"gather", writeGather},
		{"norm", writeNorm},
		{"maxpool", writePool},
		{"half", writeHalf},
	}
	for _, f := range files {
		if err := generate(f.name, f.write); err != nil {
			fmt.Fprintf(os.Stderr, "gen: %s: %v\n", f.name, err)
			os.Exit(1)
		}
	}
}

// generate writes NAME_amd64.s and its declarations, NAME_amd64_stubs.go, into the folder above.
func generate(name string, write func(generator)) error {
	g := generator{build.NewContext()}
	g.Constraint(buildtags.Term("amd64"))
	g.Constraint(buildtags.Not("purego"))
	write(g)
	file, err := g.Result()
	if err != nil {
		return err
	}
	if err := pass.Compile.Execute(file); err != nil {
		return err
	}
	config := printer.Config{Name: "internal/kernel/gen", Pkg: "kernel"}
	if err := printTo("../"+name+"_amd64.s", printer.NewGoAsm(config), file); err != nil {
		return err
	}
	return printTo("../"+name+"_amd64_stubs.go", printer.NewStubs(config), file)
}

func printTo(path string, p printer.Printer, file *ir.File) error {
	text, err := p.Print(file)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// begin starts a function. Its pointer arguments do not escape.
func (g generator) begin(name, signature, doc string) {
	g.Function(name)
	g.Pragma("noescape")
	g.Attributes(noSplit)
	g.SignatureExpr(signature)
	g.Doc(name + " " + doc)
}

// end finishes a function that used wide registers.
func (g generator) end() {
	g.VZEROUPPER()
	g.RET()
}
