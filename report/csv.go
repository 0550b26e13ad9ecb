package report

import (
	"encoding/csv"
	"fmt"
	"io"
)

// WriteCSV writes the header and the rows of a table as RFC 4180 wants them: commas, quotes where they are needed, lines that end
// with CR LF. The numbers behind a figure are those of [Figure.Data]. It is an error if a row has more or fewer cells than the header.
func WriteCSV(w io.Writer, t Table) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	if err := out.Write(t.Header); err != nil {
		return fmt.Errorf("report: table %q: %w", t.Caption, err)
	}
	for r, row := range t.Rows {
		if err := t.checkRow(r); err != nil {
			return fmt.Errorf("report: %w", err)
		}
		if err := out.Write(row); err != nil {
			return fmt.Errorf("report: table %q: %w", t.Caption, err)
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("report: table %q: %w", t.Caption, err)
	}
	return nil
}

// checkRow tells whether row r has as many cells as the header.
func (t Table) checkRow(r int) error {
	if len(t.Rows[r]) != len(t.Header) {
		return fmt.Errorf("table %q: row %d has %d cells for %d columns", t.Caption, r+1, len(t.Rows[r]), len(t.Header))
	}
	return nil
}
