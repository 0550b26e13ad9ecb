package cli

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

// An mlpFixture is a network with random weights in a file. The zero value with a path is a 784-16-16-10 network that names its own architecture.
type mlpFixture struct {
	cfg   zoo.Config
	seed  uint64
	plain bool         // no metadata, as a third party writes it
	dtype tensor.DType // of all tensors
	nan   string       // a tensor with a NaN
	drop  string       // a tensor that is left out
	extra int64        // where it is not 0, an integer tensor "counter" of this value
	scale float32      // of all weights
}

func (f *mlpFixture) parse(options []string) error {
	f.cfg = zoo.Config{Arch: "mlp", Input: []int{1, 28, 28}, Hidden: []int{16, 16}, Classes: 10}
	f.dtype, f.scale = tensor.F32, 1
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		if err := f.set(name, value); err != nil {
			return fmt.Errorf("%s: %w", option, err)
		}
	}
	return nil
}

func (f *mlpFixture) set(name, value string) (err error) {
	switch name {
	case "seed":
		f.seed, err = strconv.ParseUint(value, 10, 64)
	case "hidden":
		f.cfg.Hidden, err = numbers(value)
	case "input":
		f.cfg.Input, err = numbers(value)
	case "arch": // a narrow one with its own norm
		f.cfg = zoo.Config{Arch: value, Input: []int{1, 28, 28}, Width: .125, Classes: 10}
	case "activation":
		f.cfg.Activation = value
	case "nobias":
		f.cfg.NoBias = true
	case "plain":
		f.plain = true
	case "dtype":
		f.dtype, err = tensor.ParseDType(value)
	case "nan":
		f.nan = value
	case "drop":
		f.drop = value
	case "extra":
		f.extra, err = strconv.ParseInt(value, 10, 64)
	case "scale":
		var x float64
		x, err = strconv.ParseFloat(value, 32)
		f.scale = float32(x)
	default:
		err = fmt.Errorf("unknown option")
	}
	return err
}

func numbers(list string) (out []int, err error) {
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// params are the tensors of the file.
func (f *mlpFixture) params() (map[string]*tensor.Tensor, error) {
	g, err := zoo.Build(f.cfg)
	if err != nil {
		return nil, err
	}
	params, err := zoo.Init(g, f.cfg, f.seed)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		x := tensor.Of[float32](params[name])
		for i := range x {
			// Biases begin at zero, where they would prove nothing.
			x[i] = f.scale * (x[i] + float32(math.Sin(float64(i)+float64(f.seed)))/64)
		}
		if name == f.nan {
			x[len(x)/2] = float32(math.NaN())
		}
		if params[name], err = params[name].Convert(f.dtype); err != nil {
			return nil, err
		}
	}
	delete(params, f.drop)
	if f.extra != 0 {
		params["counter"] = tensor.FromSlice(tensor.Shape{1}, []int64{f.extra})
	}
	return params, nil
}

func (f *mlpFixture) write(path string) error {
	params, err := f.params()
	if err != nil {
		return err
	}
	if f.plain {
		return model.Save(context.Background(), path, params, nil, map[string]string{"format": "pt"})
	}
	return model.Save(context.Background(), path, params, &f.cfg, nil)
}

func writeMLP(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) >= 1, "mlp FILE OPTION=VALUE...")
	var f mlpFixture
	ts.Check(f.parse(args[1:]))
	ts.Check(f.write(ts.MkAbs(args[0])))
}

func writeHeader(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 3 || len(args) == 4, "header FILE TEXT BYTES [LENGTH]")
	data, err := strconv.Atoi(args[2])
	ts.Check(err)
	length := uint64(len(args[1]))
	if len(args) == 4 {
		signed, err := strconv.ParseInt(args[3], 10, 64)
		ts.Check(err)
		length = uint64(signed)
	}
	file := binary.LittleEndian.AppendUint64(nil, length)
	file = append(file, args[1]...)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), append(file, make([]byte, data)...), 0o644))
}
