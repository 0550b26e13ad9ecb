package cli

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/onnx"
	"github.com/rebasin/rebasin/tensor"
)

// convertFlags are the flags of convert.
type convertFlags struct {
	models       modelFlags
	dtype, shard string
}

// convertDTypes are the values of --dtype.
var convertDTypes = map[string]tensor.DType{"f32": tensor.F32, "f16": tensor.F16, "bf16": tensor.BF16}

func (a *app) convert() *cobra.Command {
	var f convertFlags
	c := &cobra.Command{
		Use:   "convert IN OUT",
		Short: "Write the tensors of a file in another format",
		Long: `Writes the tensors and the metadata of IN to OUT, one tensor at a time. The ending
of OUT's name says the format: .safetensors, .pt, .pth, .bin or .ckpt (PyTorch),
.npz (NumPy), .index.json (safetensors in several files), .onnx where IN is ONNX
too, or --graph gives the model whose initializers IN's tensors become. Any other
ending means that of IN. What else a file of PyTorch holds beside its state dict, as
the number of an epoch, goes into another one as far as it is made of plain values.`,
		Example: `  rebasin convert a.safetensors a.pt
  rebasin convert a.safetensors half.safetensors --dtype bf16
  rebasin convert a.safetensors model.safetensors.index.json --shard-size 2GB`,
		Args: arguments(2, 2, "an input and an output are"),
		RunE: func(c *cobra.Command, args []string) error { return a.runConvert(c.Context(), &f, args[0], args[1]) },
	}
	f.models.register(c)
	c.Flags().StringVar(&f.dtype, "dtype", "", "write floating-point tensors as f32, f16 or bf16, each element rounded to nearest; other tensors stay")
	c.Flags().StringVar(&f.shard, "shard-size", "5GB", "data of a shard at most, in B, kB, MB or GB, where OUT is an index; what came in shards stays in them")
	choices(c, "dtype", "f32", "f16", "bf16")
	return c
}

func (a *app) runConvert(ctx context.Context, f *convertFlags, in, out string) error {
	dtype, known := convertDTypes[f.dtype]
	if !known && f.dtype != "" {
		return usagef("--dtype %q: there are f32, f16 and bf16", f.dtype)
	}
	shard, err := parseSize(f.shard)
	if err != nil {
		return usagef("--shard-size %w", err)
	}
	if err := checkOutput(out, in); err != nil {
		return err
	}
	if format, named := checkpoint.FormatOfName(out); named && format == checkpoint.FormatONNX && f.models.graph != "" {
		return a.convertInto(ctx, f, in, out)
	}
	m, err := f.models.openTensors(in)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := checkApart(out, m); err != nil {
		return err
	}
	entries, bytes, err := a.converted(m, dtype)
	if err != nil {
		return err
	}
	form := m.Form()
	form.ShardBytes = shard
	if err := checkpoint.Write(ctx, out, entries, m.Metadata(), form); err != nil {
		return err
	}
	a.finish()
	a.warnLeftOut(m, out)
	form = form.At(out)
	if a.json {
		return writeJSON(a.stdout, struct {
			Output  string   `json:"output"`
			Format  string   `json:"format"`
			Tensors int      `json:"tensors"`
			Bytes   int64    `json:"bytes"`
			LeftOut []string `json:"left_out"`
		}{out, string(form.Format), len(entries), bytes, append([]string{}, m.Form().LeftOut(out)...)})
	}
	a.printf("%s: %s of %s, as %s\n", out, counted(len(entries), "tensor"), size(bytes), form.Format)
	return nil
}

// convertInto writes the model of --graph with the tensors of a file of its state dict.
func (a *app) convertInto(ctx context.Context, f *convertFlags, in, out string) error {
	if f.dtype != "" {
		return usagef("--dtype: initializers keep the types that they have in the model of --graph")
	}
	if err := checkOutput(out, in, f.models.graph); err != nil {
		return err
	}
	names, err := model.OpenNames(f.models.graph)
	if err != nil {
		return fmt.Errorf("--graph: %w", err)
	}
	defer names.Close()
	for _, file := range names.Files() {
		if sameFile(file, out+onnx.DataSuffix) {
			return usagef("output %q is an input too; inputs are never changed", file)
		}
	}
	opt := model.Options{Key: f.models.key, Names: names}
	if err := names.Bind(in, opt); err != nil {
		return err
	}
	m, err := model.Open(in, opt)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := names.Write(ctx, out, m); err != nil {
		return err
	}
	a.finish()
	if a.json {
		return writeJSON(a.stdout, struct {
			Output string `json:"output"`
			Format string `json:"format"`
		}{out, string(checkpoint.FormatONNX)})
	}
	a.printf("%s: %s with the tensors of %s\n", out, f.models.graph, in)
	return nil
}

// parseSize reads a number of bytes with a decimal unit.
func parseSize(text string) (int64, error) {
	for _, unit := range []struct {
		name  string
		bytes float64
	}{{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}} {
		number, ok := strings.CutSuffix(text, unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if n *= unit.bytes; err == nil && n >= 1 && n <= math.MaxInt64/2 {
			return int64(n), nil
		}
	}
	return 0, fmt.Errorf("%q is not a size such as 500MB or 5GB", text)
}

// converted are the model's tensors, those of floating point with this dtype if there is one, and the bytes of all.
func (a *app) converted(m *model.Model, dtype tensor.DType) ([]checkpoint.Entry, int64, error) {
	infos := m.Infos()
	entries, bytes, done := make([]checkpoint.Entry, len(infos)), int64(0), 0
	for i, info := range infos {
		to := info
		if dtype != 0 && info.DType.IsFloat() {
			to.DType = dtype
		}
		n, err := to.DType.Bytes(to.Shape)
		if err != nil {
			return nil, 0, fmt.Errorf("%q: tensor %q: %w", m.Path, info.Name, err)
		}
		bytes += int64(n)
		entries[i] = checkpoint.Entry{Info: to, Load: func() (*tensor.Tensor, error) {
			x, err := m.Tensor(info.Name)
			if err == nil && to.DType != info.DType {
				x, err = convertTensor(x, to.DType)
			}
			done++
			a.report("converting", done, len(infos), "")
			return x, err
		}}
	}
	return entries, bytes, nil
}

// convertTensor converts to another dtype, and refuses to make an infinity of a number.
func convertTensor(x *tensor.Tensor, dtype tensor.DType) (*tensor.Tensor, error) {
	y, err := x.Convert(dtype)
	if err != nil {
		return nil, err
	}
	if _, found := x.NonFinite(); found {
		return y, nil
	}
	if i, found := y.NonFinite(); found {
		return nil, fmt.Errorf("element %d is too large for %v", i, dtype)
	}
	return y, nil
}

// warnLeftOut says what of an input an output like it has not.
func (a *app) warnLeftOut(like *model.Model, out string) {
	if left := like.Form().LeftOut(out); len(left) > 0 {
		a.warn("%q has no place for these of %q, which are left out: %s", out, like.Path, strings.Join(left, ", "))
	}
}
