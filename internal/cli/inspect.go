package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
)

func (a *app) inspect() *cobra.Command {
	var models modelFlags
	c := &cobra.Command{
		Use:     "inspect M",
		Short:   "List the tensors and the metadata of a file",
		Example: "  rebasin inspect a.safetensors\n  rebasin inspect a.safetensors --json",
		Args:    arguments(1, 1, "one model is"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.runInspect(&models, args[0]) },
	}
	models.register(c)
	return c
}

// tensorJSON describes a tensor; so does a row of the table.
type tensorJSON struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
	Bytes int64  `json:"bytes"`
}

func (a *app) runInspect(models *modelFlags, path string) error {
	m, err := models.open(path)
	if err != nil {
		return err
	}
	defer m.Close()
	var tensors []tensorJSON
	var elements, bytes int64
	for _, info := range m.Infos() {
		n, err := info.Shape.Elements()
		if err != nil {
			return err
		}
		t := tensorJSON{info.Name, info.DType.String(), append([]int{}, info.Shape...), int64(n) * int64(info.DType.Size())}
		elements, bytes = elements+int64(n), bytes+t.Bytes
		tensors = append(tensors, t)
	}
	a.finish()
	if !a.json {
		return a.printTensors(tensors, elements, bytes, m.Metadata())
	}
	return writeJSON(a.stdout, struct {
		Path     string            `json:"path"`
		Tensors  []tensorJSON      `json:"tensors"`
		Elements int64             `json:"elements"`
		Bytes    int64             `json:"bytes"`
		Metadata map[string]string `json:"metadata"`
	}{path, tensors, elements, bytes, m.Metadata()})
}

func (a *app) printTensors(tensors []tensorJSON, elements, bytes int64, meta map[string]string) error {
	var rows [][]string
	for _, t := range tensors {
		rows = append(rows, []string{strconv.Quote(t.Name), t.DType, fmt.Sprint(t.Shape), size(t.Bytes)})
	}
	if err := a.table([]string{"tensor", "dtype", "shape", "size"}, rows); err != nil {
		return err
	}
	a.printf("\n%d tensors, %d elements, %s\n", len(tensors), elements, size(bytes))
	for _, k := range slices.Sorted(maps.Keys(meta)) {
		a.printf("%s: %s\n", strconv.Quote(k), strconv.Quote(meta[k]))
	}
	return nil
}
