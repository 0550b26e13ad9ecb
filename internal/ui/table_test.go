package ui

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func table(t interface {
	Helper()
	Fatal(...any)
}, header []string, rows [][]string, width int,
) string {
	t.Helper()
	var out bytes.Buffer
	if err := Table(&out, header, rows, TableOptions{Width: width}); err != nil {
		t.Fatal(err)
	}
	return "\n" + out.String()
}

func TestTable(t *testing.T) {
	header := []string{"method", "test loss", "accuracy", "barrier", "note"}
	rows := [][]string{
		{"naive", "1.13", "70.12 %", "1.05", "bad"},
		{"activation", "0.083", "98.01 %", "-0.003"},
		{"名前", "NaN", "-", "", "wide characters\tand a tab"},
	}
	want := `
method      test loss  accuracy  barrier  note
----------  ---------  --------  -------  -------------------------
naive            1.13   70.12 %     1.05  bad
activation      0.083   98.01 %   -0.003
名前              NaN         -           wide characters and a tab
`
	if diff := cmp.Diff(want, table(t, header, rows, 0)); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	want = `
method      test loss  accuracy  barrier  note
----------  ---------  --------  -------  ------------
naive            1.13   70.12 %     1.05  bad
activation      0.083   98.01 %   -0.003
名前              NaN         -           wide charac…
`
	if diff := cmp.Diff(want, table(t, header, rows, 54)); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	want = `
method      test loss  accuracy
----------  ---------  --------
naive            1.13   70.12 %
activation      0.083   98.01 %
名前              NaN         -

method      barrier  note
----------  -------  ------------------
naive          1.05  bad
activation   -0.003
名前                 wide characters a…
`
	if diff := cmp.Diff(want, table(t, header, rows, 39)); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	want = `
me…  te…  ac…  ba…  no…
---  ---  ---  ---  ---
na…  1.…  70…  1.…  bad
ac…  0.…  98…  -0…
名…  NaN    -       wi…
`
	if diff := cmp.Diff(want, table(t, header, rows, 23)); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestTableShapes(t *testing.T) {
	tests := []struct {
		name   string
		header []string
		rows   [][]string
		want   string
	}{
		{"nothing", nil, nil, "\n"},
		{"header only", []string{"a", "b"}, nil, "\na  b\n-  -\n"},
		{"no header", nil, [][]string{{"x", "1"}, {"yy", "22"}}, "\nx    1\nyy  22\n"},
		{"long row", []string{"a"}, [][]string{{"x", "1"}}, "\na\n-  -\nx  1\n"},
		{"empty rows", []string{}, [][]string{{}, {}}, "\n\n\n\n\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, table(t, tt.header, tt.rows, 0)); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNumbers(t *testing.T) {
	for _, s := range []string{"0", "-1.5", "98.05 %", "1e-3", "10^3499.62", "1:02:03", "12 MiB", "4.2s", "NaN", "-Inf", "60,000", "3x", "±0.1", "97.62 ± 0.10", "1.5 ± 0.2 %"} {
		if !number.MatchString(s) {
			t.Errorf("%q is no number", s)
		}
	}
	for _, s := range []string{"fc1.weight", "784-512-10", "[3 4]", "1 of 2", "e5", "-", "v1.2", "none"} {
		if number.MatchString(s) {
			t.Errorf("%q is a number", s)
		}
	}
}

// Every line of every table fits, and where nothing is cut every cell is there.
func TestTableFits(t *testing.T) {
	cell := rapid.StringOfN(rapid.RuneFrom([]rune("ab 1.名é\u0301\x1b\n")), 0, 20, -1)
	row := rapid.SliceOfN(cell, 0, 6)
	rapid.Check(t, func(t *rapid.T) {
		header := row.Draw(t, "header")
		rows := rapid.SliceOfN(row, 0, 6).Draw(t, "rows")
		width := rapid.IntRange(0, 90).Draw(t, "width")
		lines := strings.Split(strings.TrimPrefix(table(t, header, rows, width), "\n"), "\n")
		if got, want := len(lines), len(rows)+3; got%want != 0 || got > want && width == 0 { // a table, or several with an empty line between them
			t.Fatalf("%d lines, want a multiple of %d", got, want)
		}
		for _, line := range lines {
			if w := columns.StringWidth(line); width > 0 && w > width {
				t.Fatalf("line %q has %d columns of %d", line, w, width)
			}
			if strings.Contains(line, "\x1b") {
				t.Fatalf("line %q controls the terminal", line)
			}
		}
		if width == 0 {
			for i, r := range rows {
				for _, c := range r {
					if columns.StringWidth(strings.TrimSpace(clean(c))) > 0 && !strings.Contains(lines[i+2], strings.TrimSpace(clean(c))) {
						t.Fatalf("cell %q is not in line %q", c, lines[i+2])
					}
				}
			}
		}
	})
}

func TestTableReportsWriteErrors(t *testing.T) {
	if err := Table(brokenWriter{}, []string{"a"}, nil, TableOptions{}); err == nil {
		t.Error("no error")
	}
}
