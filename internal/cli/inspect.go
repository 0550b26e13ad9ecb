package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/model"
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
	m, err := models.openTensors(path)
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
		return a.printTensors(m, tensors, elements, bytes)
	}
	return writeJSON(a.stdout, struct {
		Path     string            `json:"path"`
		Format   string            `json:"format"`
		Tensors  []tensorJSON      `json:"tensors"`
		Elements int64             `json:"elements"`
		Bytes    int64             `json:"bytes"`
		Metadata map[string]string `json:"metadata"`
	}{path, string(m.Form().Format), tensors, elements, bytes, m.Metadata()})
}

func (a *app) printTensors(m *model.Model, tensors []tensorJSON, elements, bytes int64) error {
	var rows [][]string
	for _, t := range tensors {
		rows = append(rows, []string{strconv.Quote(t.Name), t.DType, fmt.Sprint(t.Shape), size(t.Bytes)})
	}
	if err := a.table([]string{"tensor", "dtype", "shape", "size"}, rows); err != nil {
		return err
	}
	a.printf("\n%d tensors, %d elements, %s, %s\n", len(tensors), elements, size(bytes), m.Form().Format)
	meta := m.Metadata()
	for _, k := range slices.Sorted(maps.Keys(meta)) {
		a.printf("%s: %s\n", strconv.Quote(k), strconv.Quote(meta[k]))
	}
	return nil
}
