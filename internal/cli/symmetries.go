package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/internal/ui"
	"github.com/rebasin/rebasin/symmetry"
)

func (a *app) symmetries() *cobra.Command {
	var models modelFlags
	var axes, spec string
	var prove bool
	c := &cobra.Command{
		Use:   "symmetries M",
		Short: "Show the groups of units that may be permuted, what is pinned and why",
		Example: `  rebasin symmetries a.safetensors
  rebasin symmetries torch.safetensors --arch mlp --axes axes.json
  rebasin symmetries a.safetensors --symmetry net.yaml --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			for _, out := range []string{axes, spec} {
				if out == "" {
					continue
				}
				if err := checkOutput(out, args[0], models.symmetry); err != nil {
					return err
				}
			}
			return a.runSymmetries(c.Context(), &models, args[0], axes, spec, prove)
		},
	}
	models.registerSymmetry(c)
	c.Flags().StringVar(&axes, "axes", "", "write the symmetry in git-re-basin's form to this file: JSON, tensor -> list of group or null")
	c.Flags().StringVar(&spec, "spec", "", "write the symmetry as a specification file (YAML) to this file")
	c.Flags().BoolVar(&prove, "prove", false, "prove the symmetry by running the network")
	return c
}

func (a *app) runSymmetries(ctx context.Context, models *modelFlags, path, axes, spec string, prove bool) error {
	m, err := models.open(path)
	if err != nil {
		return err
	}
	defer m.Close()
	s, err := models.symmetryOf(ctx, m)
	if err != nil {
		return err
	}
	var proof *symmetry.Proof
	if prove {
		if proof, err = models.prove(ctx, a, s, m, 0); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		path   string
		render func() ([]byte, error)
	}{{axes, s.PythonAxes}, {spec, s.MarshalSpec}} {
		if f.path == "" {
			continue
		}
		text, err := f.render()
		if err != nil {
			return err
		}
		if err := checkpoint.WriteFile(f.path, func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
			return err
		}
	}
	a.finish()
	if a.json {
		return a.symmetryJSON(s, proof)
	}
	return a.symmetryTables(s, proof)
}

func (a *app) symmetryJSON(s *symmetry.Symmetry, proof *symmetry.Proof) error {
	type group struct {
		Name    string   `json:"name"`
		Size    int      `json:"size"`
		Parents []string `json:"parents"`
	}
	type pin struct {
		Tensor string `json:"tensor"`
		Axis   int    `json:"axis"`
		Part   string `json:"part"`
		Why    string `json:"why"`
	}
	groups, pins, layouts := []group{}, []pin{}, map[string]string{}
	for _, g := range s.Groups {
		groups = append(groups, group{g.Name, g.Size, append([]string{}, g.Parents...)})
	}
	for _, p := range s.Pinned {
		pins = append(pins, pin(p))
	}
	for name, l := range s.Layouts {
		layouts[name] = s.Format(l)
	}
	var verified *float64
	if proof != nil {
		verified = &proof.MaxDeviation
	}
	return writeJSON(a.stdout, struct {
		Groups       []group           `json:"groups"`
		Layouts      map[string]string `json:"layouts"`
		Pinned       []pin             `json:"pinned"`
		Log10        float64           `json:"log10"`
		MaxDeviation *float64          `json:"max_deviation,omitempty"`
	}{groups, layouts, pins, s.Log10(), verified})
}

func (a *app) symmetryTables(s *symmetry.Symmetry, proof *symmetry.Proof) error {
	var groups, layouts, pins [][]string
	for _, g := range s.Groups {
		groups = append(groups, []string{g.Name, fmt.Sprint(g.Size), strings.Join(g.Parents, ", ")})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Layouts)) {
		layouts = append(layouts, []string{name, s.Format(s.Layouts[name])})
	}
	for _, p := range s.Pinned {
		axis := "all"
		if p.Axis >= 0 {
			axis = fmt.Sprint(p.Axis)
		}
		pins = append(pins, []string{p.Tensor, axis, p.Part, p.Why})
	}
	for _, t := range []struct {
		header []string
		rows   [][]string
	}{
		{[]string{"group", "size", "inside"}, groups},
		{[]string{"tensor", "layout"}, layouts},
		{[]string{"pinned", "axis", "part", "why"}, pins},
	} {
		if len(t.rows) == 0 {
			continue
		}
		if err := ui.Table(a.stdout, t.header, t.rows, ui.TableOptions{}); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout)
	}
	if len(s.Groups) == 0 {
		fmt.Fprintln(a.stdout, "Nothing can be permuted: every axis is pinned.")
	}
	fmt.Fprintf(a.stdout, "10^%.2f symmetries\n", s.Log10())
	if proof != nil {
		fmt.Fprintf(a.stdout, "proven: the outputs deviate by at most %.1e\n", proof.MaxDeviation)
	}
	return nil
}
