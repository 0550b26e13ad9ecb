package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/internal/ui"
)

func (a *app) inspect() *cobra.Command {
	var models modelFlags
	c := &cobra.Command{
		Use:     "inspect M",
		Short:   "List the tensors and the metadata of a file",
		Example: "  rebasin inspect a.safetensors\n  rebasin inspect a.safetensors --json",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return a.runInspect(&models, args[0]) },
	}
	models.register(c)
	return c
}

func (a *app) runInspect(models *modelFlags, path string) error {
	m, err := models.open(path)
	if err != nil {
		return err
	}
	defer m.Close()
	type row struct {
		Name  string `json:"name"`
		DType string `json:"dtype"`
		Shape []int  `json:"shape"`
		Bytes int64  `json:"bytes"`
	}
	var rows []row
	var elements, bytes int64
	for _, info := range m.Infos() {
		n, err := info.Shape.Elements()
		if err != nil {
			return err
		}
		r := row{info.Name, info.DType.String(), append([]int{}, info.Shape...), int64(n) * int64(info.DType.Size())}
		elements += int64(n)
		bytes += r.Bytes
		rows = append(rows, r)
	}
	meta := m.Metadata()
	a.finish()
	if a.json {
		if meta == nil {
			meta = map[string]string{}
		}
		return writeJSON(a.stdout, struct {
			Path     string            `json:"path"`
			Tensors  []row             `json:"tensors"`
			Elements int64             `json:"elements"`
			Bytes    int64             `json:"bytes"`
			Metadata map[string]string `json:"metadata"`
		}{path, rows, elements, bytes, meta})
	}
	var cells [][]string
	for _, r := range rows {
		cells = append(cells, []string{strconv.Quote(r.Name), r.DType, fmt.Sprint(r.Shape), size(r.Bytes)})
	}
	if err := ui.Table(a.stdout, []string{"tensor", "dtype", "shape", "size"}, cells, ui.TableOptions{}); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "\n%d tensors, %d elements, %s\n", len(rows), elements, size(bytes))
	for _, k := range slices.Sorted(maps.Keys(meta)) {
		fmt.Fprintf(a.stdout, "%s: %q\n", k, meta[k])
	}
	return nil
}
