package cli

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/tensor"
)

// writeArrays is arrays FILE NAME=DTYPE:SHAPE[:BELOW]...: arrays of random numbers, normal ones or whole ones from 0 to BELOW-1, in an .npz.
func writeArrays(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: arrays FILE NAME=DTYPE:SHAPE[:BELOW]...")
	}
	var entries []checkpoint.Entry
	for _, arg := range args[1:] {
		name, form, _ := strings.Cut(arg, "=")
		x, err := randomArray(strings.Split(form, ":"))
		if err != nil {
			ts.Fatalf("%s: %v", arg, err)
		}
		entries = append(entries, checkpoint.Entry{
			Info: checkpoint.Info{Name: name, DType: x.DType(), Shape: x.Shape()}, Load: func() (*tensor.Tensor, error) { return x, nil },
		})
	}
	ts.Check(checkpoint.Write(context.Background(), ts.MkAbs(args[0]), entries, nil, checkpoint.Form{Format: checkpoint.FormatNPZ}))
}

func randomArray(form []string) (*tensor.Tensor, error) {
	if len(form) < 2 {
		return nil, fmt.Errorf("the form is DTYPE:SHAPE[:BELOW]")
	}
	d, err := tensor.ParseDType(form[0])
	if err != nil {
		return nil, err
	}
	shape, err := numbers(form[1])
	if err != nil {
		return nil, err
	}
	x := tensor.New(d, shape)
	rng := rand.New(rand.NewPCG(1, 2))
	if d == tensor.F32 {
		for i := range x.Len() {
			tensor.Of[float32](x)[i] = float32(rng.NormFloat64())
		}
		return x, nil
	}
	below := []int{256}
	if len(form) > 2 {
		if below, err = numbers(form[2]); err != nil {
			return nil, err
		}
	}
	for i := range x.Len() { // little-endian, whatever the size
		x.Bytes()[i*d.Size()] = byte(rng.IntN(below[0]))
	}
	return x, nil
}

// writeNPY is npy NPZ NAME FILE: takes an array out of an .npz as a file of its own.
func writeNPY(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: npy NPZ NAME FILE")
	}
	z, err := zip.OpenReader(ts.MkAbs(args[0]))
	ts.Check(err)
	defer z.Close()
	r, err := z.Open(args[1] + ".npy")
	ts.Check(err)
	content, err := io.ReadAll(r)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), content, 0o644))
}
