package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/symmetry"
)

// symmetriesFlags are the flags of symmetries.
type symmetriesFlags struct {
	models     modelFlags
	axes, spec string
	prove      bool
}

func (a *app) symmetries() *cobra.Command {
	var f symmetriesFlags
	c := &cobra.Command{
		Use:   "symmetries M",
		Short: "Show the groups of units that may be permuted, what is pinned and why",
		Example: `  rebasin symmetries a.safetensors --prove
  rebasin symmetries torch.safetensors --arch mlp --axes axes.json
  rebasin symmetries a.safetensors --symmetry net.yaml --json`,
		Args: arguments(1, 1, "one model is"),
		RunE: func(c *cobra.Command, args []string) error { return a.runSymmetries(c.Context(), &f, args[0]) },
	}
	f.models.registerSymmetry(c)
	c.Flags().StringVar(&f.axes, "axes", "", "write the symmetry to this `FILE` in git-re-basin's form: JSON, tensor -> list of group or null")
	c.Flags().StringVar(&f.spec, "spec", "", "write the symmetry to this `FILE` as a specification, in YAML")
	c.Flags().BoolVar(&f.prove, "prove", false, "prove the symmetry by running the network")
	return c
}

func (a *app) runSymmetries(ctx context.Context, f *symmetriesFlags, path string) error {
	if err := checkOutputs([]string{f.axes, f.spec}, []string{path, f.models.symmetry, f.models.graph}); err != nil {
		return err
	}
	m, err := f.models.open(path)
	if err != nil {
		return err
	}
	defer m.Close()
	a.noteModels(m)
	s, err := f.models.symmetryOf(ctx, m)
	if err != nil {
		return err
	}
	var proof *symmetry.Proof
	if f.prove {
		if m.Graph == nil {
			return fmt.Errorf("--prove: %q: %w", path, model.ErrNoGraph)
		}
		if proof, err = f.models.prove(ctx, a, s, m, 0); err != nil {
			return err
		}
	}
	if err := f.write(s); err != nil {
		return err
	}
	a.finish()
	if a.json {
		return a.symmetryJSON(s, proof)
	}
	return a.symmetryTables(s, proof)
}

// write writes the symmetry in the forms asked for. Both are rendered before either is written.
func (f *symmetriesFlags) write(s *symmetry.Symmetry) error {
	forms := []struct {
		path   string
		render func() ([]byte, error)
		text   []byte
	}{{path: f.axes, render: s.PythonAxes}, {path: f.spec, render: s.MarshalSpec}}
	for i := range forms {
		if forms[i].path == "" {
			continue
		}
		var err error
		if forms[i].text, err = forms[i].render(); err != nil {
			return fmt.Errorf("%q: %w", forms[i].path, err)
		}
	}
	for _, form := range forms {
		if form.path == "" {
			continue
		}
		if err := writeBytes(form.path, form.text); err != nil {
			return err
		}
	}
	return nil
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
	groups, pins, layouts, sites := []group{}, []pin{}, map[string]string{}, map[string][]string{}
	for name, at := range s.Sites {
		for _, site := range at {
			sites[name] = append(sites[name], site.Value)
		}
	}
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
		Groups       []group             `json:"groups"`
		Layouts      map[string]string   `json:"layouts"`
		Sites        map[string][]string `json:"sites"`
		Pinned       []pin               `json:"pinned"`
		Log10        float64             `json:"log10"`
		MaxDeviation *float64            `json:"max_deviation,omitempty"`
	}{groups, layouts, sites, pins, s.Log10(), verified})
}

func (a *app) symmetryTables(s *symmetry.Symmetry, proof *symmetry.Proof) error {
	var groups, layouts, pins [][]string
	for _, g := range s.Groups {
		var sites []string
		for _, site := range s.Sites[g.Name] {
			sites = append(sites, site.Value)
		}
		groups = append(groups, []string{g.Name, fmt.Sprint(g.Size), strings.Join(g.Parents, ", "), strings.Join(sites, ", ")})
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
		{[]string{"group", "size", "inside", "observed at"}, groups},
		{[]string{"tensor", "layout"}, layouts},
		{[]string{"pinned", "axis", "part", "why"}, pins},
	} {
		if len(t.rows) == 0 {
			continue
		}
		if err := a.table(t.header, t.rows); err != nil {
			return err
		}
		a.printf("\n")
	}
	if len(s.Groups) == 0 {
		a.printf("Nothing can be permuted: every axis is pinned.\n")
	}
	a.printf("10^%.2f symmetries\n", s.Log10())
	if proof != nil {
		a.printf("proven: the outputs deviate by at most %.1e\n", proof.MaxDeviation)
	}
	return nil
}
