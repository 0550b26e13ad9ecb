package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/plot/vg"
	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/landscape"
)

// drawing is what the tests read out of an SVG.
type drawing struct {
	texts  []string
	count  map[string]int    // elements by name
	title  string            // of the document
	desc   string            // of the document
	styles map[string]string // style of every path, and how often it has been seen does not matter
}

// readSVG parses an SVG strictly and fails the test where it is not well-formed or has coordinates that are not numbers.
func readSVG(t interface {
	Helper()
	Fatalf(string, ...any)
}, svg []byte,
) drawing {
	t.Helper()
	out := drawing{count: map[string]int{}, styles: map[string]string{}}
	dec := xml.NewDecoder(bytes.NewReader(svg))
	var text strings.Builder
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			text.Reset()
			out.count[tok.Name.Local]++
			for _, a := range tok.Attr {
				if a.Name.Local != "style" && !isDrawable(a) {
					t.Fatalf("<%s %s=%q>", tok.Name.Local, a.Name.Local, a.Value)
				}
				if a.Name.Local == "style" {
					out.styles[a.Value] = tok.Name.Local
				}
			}
		case xml.CharData:
			text.Write(tok)
		case xml.EndElement:
			switch tok.Name.Local {
			case "text":
				out.texts = append(out.texts, text.String())
			case "title":
				out.title = text.String()
			case "desc":
				out.desc = text.String()
			}
		}
	}
}

var notNumber = regexp.MustCompile(`(?i)nan|inf`)

// isDrawable tells whether an attribute with coordinates has numbers only.
func isDrawable(a xml.Attr) bool {
	switch a.Name.Local {
	case "d", "points", "x", "y", "width", "height", "viewBox", "transform":
		return !notNumber.MatchString(a.Value)
	}
	return true
}

func TestSVGsAreWellFormedAndDescribed(t *testing.T) {
	for _, f := range append(sampleFigures(), sampleSeedFigures()...) {
		t.Run(f.Title, func(t *testing.T) {
			svg, err := f.SVG()
			if err != nil {
				t.Fatal(err)
			}
			d := readSVG(t, svg)
			if d.title != f.Title || d.desc != f.Alt || f.Alt == "" {
				t.Errorf("title %q and description %q, want %q and %q", d.title, d.desc, f.Title, f.Alt)
			}
			if d.count["path"] < 15 {
				t.Errorf("only %d paths", d.count["path"])
			}
			if n := bytes.Count(svg, []byte(`preserveAspectRatio="none"`)); n != d.count["image"] {
				t.Errorf("%d of %d images fill their rectangles", n, d.count["image"])
			}
			if bytes.Contains(svg, []byte("image/jpg")) || bytes.Contains(svg, []byte("font-family:Liberation")) {
				t.Error("what the SVG writer leaves to chance is not mended")
			}
		})
	}
}

func TestCurveFigureShowsItsCurves(t *testing.T) {
	svg, err := sampleFigures()[0].SVG()
	if err != nil {
		t.Fatal(err)
	}
	d := readSVG(t, svg)
	want := []string{
		"naive", "activation", "weight", "ste", "test", "train", // the legend
		"λ", "loss (nats)", "accuracy (%)", "model A", "π(model B)", // the axes
	}
	for _, w := range want {
		if !slices.Contains(d.texts, w) {
			t.Errorf("%q is missing in %q", w, d.texts)
		}
	}
	dashed := map[string]bool{}
	for style := range d.styles {
		for _, colour := range []string{"#D55E00", "#0072B2", "#009E73", "#CC79A7"} {
			if strings.Contains(style, "stroke:"+colour) && strings.Contains(style, "stroke-dasharray") {
				dashed[colour+" dashed"] = true
			} else if strings.Contains(style, "stroke:"+colour) {
				dashed[colour+" solid"] = true
			}
		}
	}
	if len(dashed) != 8 {
		t.Errorf("lines of four colours, solid and dashed: found %v", dashed)
	}
}

func TestOptionsReachTheFigure(t *testing.T) {
	curves := sampleCurves(5)
	f := must(CurveFigure(CurveOptions{Title: "T", Caption: "C", EndLabels: [2]string{"left", "right"}, LossOnly: true}, curves))
	svg, err := f.SVG()
	if err != nil {
		t.Fatal(err)
	}
	d := readSVG(t, svg)
	if f.Title != "T" || f.Caption != "C" || !slices.Contains(d.texts, "left") || !slices.Contains(d.texts, "right") {
		t.Errorf("title %q, caption %q, texts %q", f.Title, f.Caption, d.texts)
	}
	if slices.Contains(d.texts, "accuracy (%)") {
		t.Error("a panel of accuracies that was not wanted")
	}
	for scale, want := range map[Scale]bool{ScaleAuto: true, ScaleLog: true, ScaleLinear: false} {
		f := must(CurveFigure(CurveOptions{Scale: scale}, curves))
		if got := f.content.(*lineFigure).panels[0].log; got != want {
			t.Errorf("scale %d: logarithmic is %v", scale, got)
		}
	}
	if f := must(CurveFigure(CurveOptions{}, curves[2:])); f.content.(*lineFigure).panels[0].log {
		t.Error("losses that differ little are on a logarithmic axis")
	}
}

// TestPNGs checks size and that something was drawn in the colours of the figure.
func TestPNGs(t *testing.T) {
	colours := [][]color.RGBA{{vermillion, blue, green, purple}, {viridis[0], viridis[8], vermillion}}
	for i, f := range sampleFigures()[:len(colours)] {
		t.Run(f.Title, func(t *testing.T) {
			data, err := f.PNG()
			if err != nil {
				t.Fatal(err)
			}
			img, err := png.Decode(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			w, h := f.content.size(wide)
			scale := float64(dotsPerInch) / 72
			if got, want := img.Bounds().Max, image.Pt(int(w.Points()*scale+.5), int(h.Points()*scale+.5)); got != want {
				t.Errorf("%v pixels, want %v", got, want)
			}
			seen := map[color.RGBA]int{}
			for pix := img.(*image.RGBA).Pix; len(pix) > 0; pix = pix[4:] {
				seen[color.RGBA{pix[0], pix[1], pix[2], pix[3]}]++
			}
			for _, c := range append(colours[i], paper, ink) {
				if seen[c] < 50 {
					t.Errorf("%d pixels of colour %v", seen[c], c)
				}
			}
		})
	}
}

func TestFiguresAreDeterministic(t *testing.T) {
	same := func(a, b *Figure, write func(*Figure) ([]byte, error)) {
		t.Helper()
		first, err := write(a)
		if err != nil {
			t.Fatal(err)
		}
		second, err := write(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, second) {
			t.Errorf("%q differs from one time to the next", a.Title)
		}
	}
	first, second := append(sampleFigures(), sampleSeedFigures()...), append(sampleFigures(), sampleSeedFigures()...)
	for i := range first {
		same(first[i], second[i], (*Figure).SVG)
	}
	same(first[1], second[1], (*Figure).PNG) // one is enough: PNGs are drawn by the same code, and slowly
}

// genLoss draws losses as they come and as they should not.
func genLoss() *rapid.Generator[float64] {
	return rapid.OneOf(
		rapid.Float64Range(0, 10),
		rapid.SampledFrom([]float64{
			0, math.Copysign(0, -1), -1, math.NaN(), math.Inf(1), math.Inf(-1),
			math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 1e-300, 1e-149, 1e149, 1e38, 1, 1 + 1e-16, 1 + 1e-9,
		}),
	)
}

// TestHostileLosses draws whatever losses there are: the figure is an error or has only numbers in it.
func TestHostileLosses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scale := rapid.SampledFrom([]Scale{ScaleAuto, ScaleLinear, ScaleLog}).Draw(t, "scale")
		curve := landscape.Curve{Name: "c"}
		drawable := false
		for i := range rapid.IntRange(1, 5).Draw(t, "points") {
			m := eval.Metrics{Loss: genLoss().Draw(t, "loss"), Accuracy: genLoss().Draw(t, "accuracy")}
			drawable = drawable || finite(m.Loss)
			curve.Points = append(curve.Points, landscape.Point{Lambda: float64(i) / 5, Train: m, Test: m})
		}
		f, err := CurveFigure(CurveOptions{Scale: scale}, []landscape.Curve{curve})
		if !drawable {
			if !errors.Is(err, ErrNothing) {
				t.Fatalf("nothing to draw, but error %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		svg, err := f.SVG()
		if err != nil {
			t.Fatal(err)
		}
		readSVG(t, svg)
	})
}

func TestHostilePlanes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := landscape.PlaneResult{X: []float64{0, 1, 2}, Y: []float64{0, 1}, Corners: [3][2]float64{{0, 0}, {2, 0}, {1, 1}}}
		drawable := false
		for range p.Y {
			var row []landscape.PlanePoint
			for range p.X {
				loss := genLoss().Draw(t, "loss")
				drawable = drawable || finite(loss)
				row = append(row, landscape.PlanePoint{Test: eval.Metrics{Loss: loss}})
			}
			p.Grid = append(p.Grid, row)
		}
		f, err := PlaneFigure(PlaneOptions{}, p)
		if drawable != (err == nil) {
			t.Fatalf("drawable is %v, error %v", drawable, err)
		}
		if err != nil || rapid.IntRange(0, 3).Draw(t, "drawn") > 0 { // drawing takes its time: a quarter of them will do
			return
		}
		svg, err := f.SVG()
		if err != nil {
			t.Fatal(err)
		}
		readSVG(t, svg)
	})
}

func TestMissingValuesAreSaid(t *testing.T) {
	curves := sampleCurves(5)[:1]
	curves[0].Points[2].Test.Loss = math.Inf(1)
	f := must(CurveFigure(CurveOptions{}, curves))
	if want := "naive, test: 1 of 5 values are not finite"; !strings.Contains(f.Alt, want) {
		t.Errorf("%q does not say %q", f.Alt, want)
	}
	if got := f.content.tables()[0].Rows[2][2]; got != "∞" {
		t.Errorf("the table has %q", got)
	}
	plane := samplePlane()
	plane.Grid[3][3].Test.Loss = math.NaN()
	f = must(PlaneFigure(PlaneOptions{}, plane))
	if !strings.Contains(f.Alt, "At 1 of 625 points the loss is not finite") || !strings.Contains(f.Caption, "Grey") {
		t.Errorf("alt %q, caption %q", f.Alt, f.Caption)
	}
}

func TestUnmeasuredEpochsAreLeftOut(t *testing.T) {
	h := sampleHistories()[:1]
	for i := range h[0].Epochs {
		h[0].Epochs[i].Test = nil
	}
	h[0].Epochs[1].Train = nil
	f := must(TrainingFigure(TrainingOptions{}, h))
	table := f.content.tables()[0]
	if len(table.Header) != 2 || len(table.Rows) != 10 {
		t.Errorf("table of %v with %d rows", table.Header, len(table.Rows))
	}
	svg, err := f.SVG()
	if err != nil {
		t.Fatal(err)
	}
	if d := readSVG(t, svg); slices.Contains(d.texts, "test") {
		t.Error("the legend names test data that was not measured")
	}
}

func TestFigureErrors(t *testing.T) {
	edit := func(change func(*landscape.PlaneResult)) landscape.PlaneResult {
		p := samplePlane()
		change(&p)
		return p
	}
	plane := func(p landscape.PlaneResult) error {
		_, err := PlaneFigure(PlaneOptions{}, p)
		return err
	}
	_, noCurves := CurveFigure(CurveOptions{}, nil)
	_, noEpochs := TrainingFigure(TrainingOptions{}, []History{{Name: "a"}})
	_, noSteps := TraceFigure(TraceOptions{}, []Trace{{"a", []float64{math.NaN()}}})
	tests := []struct {
		err     error
		message string
	}{
		{noCurves, "no finite value"},
		{noEpochs, "no finite value"},
		{noSteps, "no finite value"},
		{plane(landscape.PlaneResult{}), "a plane of 0 by 0 points"},
		{plane(edit(func(p *landscape.PlaneResult) { p.Grid = p.Grid[1:] })), "24 rows for 25 values of y"},
		{plane(edit(func(p *landscape.PlaneResult) { p.Grid[4] = p.Grid[4][1:] })), "row 4 has 24 points"},
		{plane(edit(func(p *landscape.PlaneResult) { p.X[1] = p.X[0] })), "do not ascend evenly"},
		{plane(edit(func(p *landscape.PlaneResult) { slices.Reverse(p.Y) })), "do not ascend evenly"},
		{plane(edit(func(p *landscape.PlaneResult) { p.Corners[1][0] = 1e9 })), "outside the plane"},
		{plane(edit(func(p *landscape.PlaneResult) { p.Corners[2][1] = math.NaN() })), "outside the plane"},
	}
	for _, tt := range tests {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.message) {
			t.Errorf("error %v, want one that says %q", tt.err, tt.message)
		}
	}
}

func TestHostileNames(t *testing.T) {
	curves := sampleCurves(3)
	curves[0].Name = "<b>&\"'\x00\xff\n]]>"
	curves[1].Name = strings.Repeat("long", 100)
	curves[2].Name = ""
	f := must(CurveFigure(CurveOptions{Title: "a\x01<b"}, curves))
	svg, err := f.SVG()
	if err != nil {
		t.Fatal(err)
	}
	d := readSVG(t, svg)
	if !slices.Contains(d.texts, "<b>&\"'   ]]>") || d.title != "a <b" {
		t.Errorf("title %q, texts %q", d.title, d.texts)
	}
	for _, s := range d.texts {
		if len([]rune(s)) > maxLabel {
			t.Errorf("a label of %d characters", len([]rune(s)))
		}
	}
}

// TestTagsLeavePointsFree places names on maps that have room for them: they stay on the map and off the point.
func TestTagsLeavePointsFree(t *testing.T) {
	length := func(t *rapid.T, name string, low, high float64) vg.Length {
		return vg.Length(rapid.Float64Range(low, high).Draw(t, name))
	}
	rapid.Check(t, func(t *rapid.T) {
		area := vg.Rectangle{Min: vg.Point{X: 40, Y: 30}, Max: vg.Point{X: 40 + length(t, "wide", 80, 400), Y: 30 + length(t, "high", 60, 400)}}
		at := vg.Point{X: length(t, "x", float64(area.Min.X), float64(area.Max.X)), Y: length(t, "y", float64(area.Min.Y), float64(area.Max.Y))}
		above := rapid.Bool().Draw(t, "above")
		box := tagBox(area, vg.Point{X: 60, Y: 16}, at, above)
		if box.Min.X < area.Min.X || box.Max.X > area.Max.X || box.Min.Y < area.Min.Y || box.Max.Y > area.Max.Y {
			t.Errorf("plate %v leaves the map %v", box, area)
		}
		if box.Min.Y < at.Y+tagAway-.001 && box.Max.Y > at.Y-tagAway+.001 {
			t.Errorf("plate %v covers the point %v", box, at)
		}
		if room := area.Max.Y - at.Y; above && room > 40 && box.Min.Y < at.Y {
			t.Errorf("plate %v is below the point %v, though there is room above", box, at)
		}
	})
}

func TestLooksStayApart(t *testing.T) {
	all := assignLooks([]string{"ste", "other", "naive", "one more", "activation", "weight"})
	seen := map[string]bool{}
	for _, l := range all {
		seen[fmt.Sprint(l.color)] = true
	}
	if len(seen) != len(all) {
		t.Errorf("%d colours for %d series", len(seen), len(all))
	}
	if alone := assignLooks([]string{"weight"})[0]; alone != all[5] {
		t.Error("weight looks different when it is alone")
	}
	if many := assignLooks(make([]string, 50)); many[49].shape == nil {
		t.Error("the fiftieth series has no look")
	}
}
