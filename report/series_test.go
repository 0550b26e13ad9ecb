package report

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/landscape"
)

// TestMeanError compares with sums over pairs: the variance of the mean is the mean of (a-b)²/2 over pairs, divided by n.
func TestMeanError(t *testing.T) {
	const rounding = 1e-9 // of sums of at most nine values below 1000
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(-1000, 1000), 2, 9).Draw(t, "values")
		var sum, pairs float64
		for i, a := range values {
			sum += a
			for _, b := range values[i+1:] {
				pairs += (a - b) * (a - b) / 2
			}
		}
		n := float64(len(values))
		want := math.Sqrt(pairs / (n * (n - 1) / 2) / n)
		mean, err := meanError(values)
		if math.Abs(mean-sum/n) > rounding || math.Abs(err-want) > rounding*1000 {
			t.Errorf("%v ± %v, want %v ± %v", mean, err, sum/n, want)
		}
	})
	if mean, err := meanError([]float64{3}); mean != 3 || !math.IsNaN(err) {
		t.Errorf("one value: %v ± %v", mean, err)
	}
}

// TestHostileSeries draws whatever is measured, on whatever axes: the figure is an error or has only numbers in it.
func TestHostileSeries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := SeriesPanel{
			LogX: rapid.Bool().Draw(t, "log"), Band: rapid.Bool().Draw(t, "band"),
			Scale: rapid.SampledFrom([]Scale{ScaleAuto, ScaleLinear, ScaleLog}).Draw(t, "scale"),
			Limit: rapid.SampledFrom([]float64{0, 100}).Draw(t, "limit"),
		}
		drawable := false
		for i := range rapid.IntRange(0, 4).Draw(t, "samples") {
			m := Sample{X: rapid.SampledFrom([]float64{float64(i), .5, 1e9, -3, 1e-9}).Draw(t, "x"), Y: rapid.SliceOfN(genLoss(), 0, 3).Draw(t, "y")}
			mean, _ := meanError(m.Y)
			drawable = drawable || len(m.Y) > 0 && finite(mean)
			if i%2 == 0 {
				p.Series = append(p.Series, Series{Name: "s", Unjoined: i > 0})
			}
			s := &p.Series[len(p.Series)-1]
			s.Samples = append(s.Samples, m)
		}
		if rapid.Bool().Draw(t, "references") {
			p.Lines = []Line{{genLoss().Draw(t, "line"), "line"}}
			p.Marks = []Mark{{1, genLoss().Draw(t, "mark"), "mark"}}
		}
		f, err := SeriesFigure(SeriesOptions{}, p)
		if drawable != (err == nil) {
			t.Fatalf("drawable is %v, error %v", drawable, err)
		}
		if err != nil {
			return
		}
		svg, err := f.SVG()
		if err != nil {
			t.Fatal(err)
		}
		readSVG(t, svg)
	})
}

// TestDataAreWhatWasMeasured reads the numbers of a figure back.
func TestDataAreWhatWasMeasured(t *testing.T) {
	panels := sampleWidths()
	got := map[string][]float64{}
	for _, row := range must(SeriesFigure(SeriesOptions{}, panels...)).Data().Rows {
		v, err := strconv.ParseFloat(row[4], 64)
		if err != nil {
			t.Fatal(err)
		}
		key := strings.Join(row[:3], "|")
		if row[3] != strconv.Itoa(len(got[key])) {
			t.Fatalf("seed %q, want %d", row[3], len(got[key]))
		}
		got[key] = append(got[key], v)
	}
	for _, p := range panels {
		for _, s := range p.Series {
			for _, m := range s.Samples {
				key := fmt.Sprintf("%s: %s|%s|%v", p.Title, p.YLabel, s.Name, m.X)
				if !slices.Equal(got[key], m.Y) {
					t.Errorf("%s: %v, want %v", key, got[key], m.Y)
				}
			}
		}
	}
}

// TestErrorBarsEndOneStandardErrorAway reads the bars out of an SVG whose axis is known.
func TestErrorBarsEndOneStandardErrorAway(t *testing.T) {
	p := SeriesPanel{XLabel: "x", YLabel: "y", Scale: ScaleLinear, Series: []Series{{Name: "s", Samples: []Sample{{0, []float64{1, 3}}, {1, []float64{5, 5}}}}}}
	f := must(SeriesFigure(SeriesOptions{}, p))
	if got := f.content.tables()[0].Rows; got[0][1] != "2.000 ± 1" || got[1][1] != "5.000 ± 0" {
		t.Errorf("table %q", got)
	}
	l := f.content.(*lineFigure).panels[0]
	if b := l.yRange(); b != (bounds{1, 5}) {
		t.Errorf("the axis covers %v", b)
	}
	if n := translucent(t, f); n != 4 {
		t.Errorf("%d faint points for 4 seeds", n)
	}
	lone := p
	lone.Series = []Series{{Name: "s", Samples: []Sample{{0, []float64{2}}, {1, []float64{5}}}}}
	if n := translucent(t, must(SeriesFigure(SeriesOptions{}, lone))); n != 0 {
		t.Errorf("%d faint points where there is one seed", n)
	}
}

// translucent counts the shapes that let the ground through.
func translucent(t *testing.T, f *Figure) int {
	t.Helper()
	svg, err := f.SVG()
	if err != nil {
		t.Fatal(err)
	}
	readSVG(t, svg)
	return bytes.Count(svg, []byte("fill-opacity:"))
}

func TestSeedsThatAreNotFiniteAreSaid(t *testing.T) {
	p := sampleTimes()
	p.Series[0].Samples[1].Y[2] = math.Inf(1)
	f := must(SeriesFigure(SeriesOptions{}, p))
	if want := "ResNet20: 1 of 6 values are not finite"; !strings.Contains(f.Alt, want) {
		t.Errorf("%q does not say %q", f.Alt, want)
	}
	if got := f.content.tables()[0].Rows[1][1]; got != "∞" {
		t.Errorf("the table has %q", got)
	}
}

func TestSeedCurves(t *testing.T) {
	curves := sampleSeedCurves()
	f := must(SeedCurveFigure(CurveOptions{}, curves))
	if bands := translucent(t, f); bands != 2*2*len(curves) {
		t.Errorf("%d bands, want one for each of %d lines in two panels", bands, 2*len(curves))
	}
	for want, edit := range map[string]func(*landscape.Curve){
		"seed 2 has 12 points, the first 13": func(c *landscape.Curve) { c.Points = c.Points[1:] },
		"seed 2 has λ = 0.3":                 func(c *landscape.Curve) { c.Points[4].Lambda = .3 },
	} {
		curves := sampleSeedCurves()
		edit(&curves[1].Seeds[2])
		if _, err := SeedCurveFigure(CurveOptions{}, curves); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}

func TestSeedFigureErrors(t *testing.T) {
	series := func(p SeriesPanel) error {
		_, err := SeriesFigure(SeriesOptions{}, p)
		return err
	}
	sampled := func(x float64) []Series { return []Series{{Name: "s", Samples: []Sample{{x, []float64{1}}}}} }
	heat := func(change func(*Map)) error {
		m := sampleMap()
		change(&m)
		_, err := MapFigure(MapOptions{}, m)
		return err
	}
	calibration := func(b ...ReliabilityBin) error {
		_, err := CalibrationFigure(CalibrationOptions{}, []Reliability{{"m", b}})
		return err
	}
	_, noPanel := SeriesFigure(SeriesOptions{})
	_, noRegion := RegionsFigure(RegionsOptions{}, nil)
	_, noPredict := RegionsFigure(RegionsOptions{}, []Region{{Label: "r"}})
	tests := []struct {
		err     error
		message string
	}{
		{noPanel, "no finite value"},
		{series(SeriesPanel{}), "no finite value"},
		{series(SeriesPanel{Lines: []Line{{1, "a line alone"}}}), "no finite value"},
		{series(SeriesPanel{Series: sampled(math.NaN())}), "x = NaN is not finite"},
		{series(SeriesPanel{Series: sampled(2), Categories: []string{"a", "b"}}), "x = 2 is not the index of one of 2 categories"},
		{series(SeriesPanel{Series: sampled(.5), Categories: []string{"a", "b"}}), "x = 0.5 is not the index"},
		{series(SeriesPanel{Series: sampled(1), Categories: []string{"a", "b"}, Marks: []Mark{{-1, 1, "m"}}}), `mark "m": x = -1`},
		{heat(func(m *Map) { m.Values = m.Values[1:] }), "values of 2 rows for 3 rows"},
		{heat(func(m *Map) { m.Values[1] = m.Values[1][2:] }), `row "SGD with momentum" has 5 values for 7 columns`},
		{heat(func(m *Map) { m.Texts = m.Texts[2:] }), "texts of 1 rows"},
		{heat(func(m *Map) { m.Texts[0] = nil }), `row "SGD" has 0 texts`},
		{heat(func(m *Map) { m.Rows, m.Values, m.Texts = nil, nil, nil }), "no finite value"},
		{calibration(), "no finite value"},
		{calibration(ReliabilityBin{Confidence: .5, Accuracy: math.NaN(), Count: 3}), "bin 0 has confidence 0.5 and accuracy NaN"},
		{calibration(ReliabilityBin{Confidence: 50, Accuracy: .5, Count: 3}), "bin 0 has confidence 50"},
		{noRegion, "no classifier"},
		{noPredict, "panel 1 has no classifier"},
	}
	for _, tt := range tests {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.message) {
			t.Errorf("error %v, want one that says %q", tt.err, tt.message)
		}
	}
}

// TestLabelsOfReferences places labels of any sizes: in the area, and not on each other while there is room.
func TestLabelsOfReferences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		coordinate := rapid.Float64Range(0, 300)
		point := func(name string) vg.Point {
			return vg.Point{X: vg.Length(coordinate.Draw(t, name+"x")), Y: vg.Length(coordinate.Draw(t, name+"y"))}
		}
		p := newPlacer(vg.Rectangle{Max: vg.Point{X: 300, Y: 300}})
		for range rapid.IntRange(0, 9).Draw(t, "points") {
			p.points = append(p.points, point("p"))
		}
		size := vg.Point{X: 90, Y: 10}
		first := p.label(size, []vg.Point{point("a"), point("a")})
		free := vg.Point{X: first.Min.X, Y: first.Max.Y + 1}
		if free.Y > 290 {
			free.Y = first.Min.Y - 11
		}
		second := p.label(size, []vg.Point{first.Min, free})
		for _, b := range []vg.Rectangle{first, second} {
			if b.Min.X < 0 || b.Min.Y < 0 || b.Max.X > 300 || b.Max.Y > 300 {
				t.Errorf("a label at %v leaves the area", b)
			}
		}
		if first.Min.Y < second.Max.Y && second.Min.Y < first.Max.Y {
			t.Errorf("labels at %v and %v cover each other", first, second)
		}
	})
}

func TestTextsAreCutToFit(t *testing.T) {
	style := textStyle(ink, tickSize, draw.XLeft, draw.YBottom)
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringN(0, 30, -1).Draw(t, "text")
		width := vg.Length(rapid.Float64Range(12, 200).Draw(t, "width"))
		got := fit(style, s, width)
		if style.Width(got) > width {
			t.Errorf("%q is %v wide, want at most %v", got, style.Width(got), width)
		}
		if style.Width(s) <= width && got != s {
			t.Errorf("%q became %q though it fits", s, got)
		}
	})
}

func TestNumbersInCellsAreReadable(t *testing.T) {
	contrast := func(a, b float64) float64 { return (max(a, b) + .05) / (min(a, b) + .05) }
	for i := range 1001 {
		ground := viridisAt(float64(i) / 1000)
		r, g, b, _ := readable(ground).RGBA()
		text := rgb(r>>8<<16 | g>>8<<8 | b>>8)
		if c := contrast(luminance(ground), luminance(text)); c < 4.5 {
			t.Errorf("text on %v has a contrast of %.2f", ground, c)
		}
	}
}

// TestMapsFitTelephones exchanges rows and columns where cells are too narrow, and loses nothing.
func TestMapsFitTelephones(t *testing.T) {
	f := must(MapFigure(MapOptions{}, sampleMap())).content.(*mapFigure)
	if f.fitting(wide) != f {
		t.Error("a map with room is turned")
	}
	turned := f.fitting(narrow)
	if len(turned.m.Rows) != 7 || len(turned.m.Columns) != 3 {
		t.Fatalf("%d rows and %d columns", len(turned.m.Rows), len(turned.m.Columns))
	}
	for r := range f.mean {
		for k := range f.mean[r] {
			if a, b := f.mean[r][k], turned.mean[k][r]; a != b && !(math.IsNaN(a) && math.IsNaN(b)) {
				t.Errorf("cell %d, %d has %v and %v", r, k, a, b)
			}
		}
	}
	if !reflect.DeepEqual(f.m.Texts, transpose(turned.m.Texts)) {
		t.Error("texts are lost")
	}
	if got := f.tables()[0].Rows; got[2][7] != "did not train" || got[0][1] != "" {
		t.Errorf("missing cells are %q and %q", got[2][7], got[0][1])
	}
}

func TestRegionsMeasureWhatIsSaid(t *testing.T) {
	right := func(x1, x2 float64) bool { return x1 < 0 && x2 > 0 }
	f := must(RegionsFigure(RegionsOptions{Truth: right}, []Region{
		{Label: "right", Predict: right},
		{Label: "opposite", Predict: func(x1, x2 float64) bool { return !right(x1, x2) }},
		{Label: "left", Predict: func(x1, _ float64) bool { return x1 < 0 }},
	}))
	want := [][]string{{"right", "0.2500", "0.000"}, {"opposite", "0.7500", "1.000"}, {"left", "0.5000", "0.2500"}}
	if got := f.content.tables()[0].Rows; !reflect.DeepEqual(got, want) {
		t.Errorf("shares %q, want %q", got, want)
	}
}

func TestCalibrationLeavesEmptyBinsOut(t *testing.T) {
	f := must(CalibrationFigure(CalibrationOptions{}, []Reliability{{"m", []ReliabilityBin{{0, 0, 0}, {.4, .3, 5}, {.9, .95, 7}}}}))
	if got := f.content.(*calibrationFigure).panels[0].series[0].x; !slices.Equal(got, []float64{40, 90}) {
		t.Errorf("drawn at %v", got)
	}
	if got := f.content.tables()[0].Rows; len(got) != 2 || got[1][2] != "7" {
		t.Errorf("table %q", got)
	}
}

// TestCSV reads back what it writes.
func TestCSV(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cell := rapid.StringMatching(`[a-z ,"\n;é]{0,6}`)
		columns := rapid.IntRange(2, 4).Draw(t, "columns") // a single empty cell is an empty line
		row := rapid.SliceOfN(cell, columns, columns)
		table := Table{Header: row.Draw(t, "header"), Rows: rapid.SliceOfN(row, 0, 3).Draw(t, "rows")}
		var out bytes.Buffer
		if err := WriteCSV(&out, table); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out.String(), "\n") - strings.Count(out.String(), "\r\n"); n != 0 {
			t.Errorf("%d lines without CR", n)
		}
		got, err := csv.NewReader(&out).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if want := append([][]string{table.Header}, table.Rows...); !reflect.DeepEqual(got, want) {
			t.Errorf("%q became %q", want, got)
		}
	})
}

func TestCSVErrors(t *testing.T) {
	ragged := Table{Caption: "c", Header: []string{"a", "b"}, Rows: [][]string{{"1"}}}
	if err := WriteCSV(&bytes.Buffer{}, ragged); err == nil || !strings.Contains(err.Error(), `table "c": row 1 has 1 cells for 2 columns`) {
		t.Errorf("error %v", err)
	}
	if err := WriteCSV(&fullDisk{}, Table{Header: []string{"a"}}); !errors.Is(err, errFull) {
		t.Errorf("error %v", err)
	}
}
