// Package report turns measurements into figures and into one page that explains them.
//
// A [Figure] comes from what was measured: [CurveFigure] from curves between models, [PlaneFigure] from a loss plane,
// [TrainingFigure] from the epochs of trainings, [TraceFigure] from the sweeps of an alignment. What was measured over several seeds
// is drawn by [SeriesFigure] and [SeedCurveFigure], with standard errors, and by [MapFigure]; [CalibrationFigure] compares confidence
// with accuracy, [RegionsFigure] shows what classifiers of two inputs say. A figure is written as SVG or PNG:
//
//	fig, err := report.CurveFigure(report.CurveOptions{}, curves)
//	svg, err := fig.SVG()
//
// A [Document] gathers text, tables and figures into one HTML page that needs nothing beside it: styles and figures are
// inline, there are no scripts, and the page forbids itself to load anything. It follows the reader's light or dark
// preference, fits a telephone as well as a wide screen, and every figure has a description and the numbers behind it, also as a CSV
// file to keep. A [Section] may state a [Claim] with its verdict, the command that measures it, and published values beside its own.
//
// Words: a panel is one pair of axes; a series is one line in it. Colours are those of Okabe and Ito (2008), Color Universal
// Design, which stay apart under the common colour deficiencies; every series has a marker of its own too, so nothing
// depends on colour alone.
//
// The same input gives the same bytes: nothing here knows the time, draws a number or ranges over a map. Values that are
// not finite are left out of figures, never drawn as something else, and the description says that they are missing.
// Writing to files is the caller's affair. Names in figures may be Latin, Greek or Cyrillic; the letters of other scripts are not in
// the font that PNGs are drawn with.
package report
