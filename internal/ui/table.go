package ui

import (
	"io"
	"regexp"
	"slices"
	"strings"
)

// TableOptions say how a table is laid out.
type TableOptions struct {
	Width int // columns to fit into, such as TerminalWidth(w); 0 is as many as it takes
}

// A column of text is cut to readableText before any is cut to minColumn; numbers are cut only when that is not enough.
const (
	readableText = 12
	minColumn    = 3
	columnGap    = "  "
)

// number matches what is aligned as a number: 98.05 %, -1e-3, 10^3499.62, 1:02, 12 MiB, NaN, 97.62 ± 0.10.
var number = regexp.MustCompile(`^[-+±]?(\d[\d.,:_^]*([eE][-+]?\d+)?|∞|NaN|Inf)(\s±\s\d[\d.]*)?\s?([%x]|[µnm]?s|[KMGT]?i?B|[KMGT])?$`)

// Table writes rows under a header in aligned columns: those that hold only numbers to the right, others to the left. Rows may be shorter or
// longer than the header; a nil header is none. Cells that do not fit are cut with an ellipsis; numbers that do not stand under
// each other's header in one line are written as several tables, each with the columns of text in front that name the rows.
func Table(w io.Writer, header []string, rows [][]string, opt TableOptions) error {
	cells := cleanCells(header, rows)
	if len(cells) == 0 {
		return nil
	}
	body := cells
	if header != nil {
		body = cells[1:]
	}
	numeric := numericColumns(body, len(cells[0]))
	widths := columnWidths(cells)
	all := make([]int, len(widths))
	for j := range all {
		all[j] = j
	}
	bands := [][]int{all}
	if opt.Width > 0 {
		bands = divide(widths, numeric, opt.Width)
	}
	var b strings.Builder
	for n, band := range bands {
		if n > 0 {
			b.WriteByte('\n')
		}
		widths, numeric := pick(widths, band), pick(numeric, band)
		if opt.Width > 0 {
			shrink(widths, numeric, opt.Width)
		}
		for i, row := range cells {
			writeRow(&b, pick(row, band), widths, numeric, opt.Width)
			if i == 0 && header != nil {
				writeRow(&b, rule(widths), widths, numeric, opt.Width)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func pick[T any](list []T, at []int) []T {
	out := make([]T, len(at))
	for i, j := range at {
		out[i] = list[j]
	}
	return out
}

// divide says which columns stand together where not all numbers fit beside each other: those of text in front, which name the rows, and as many others
// as there is room for.
func divide(widths []int, numeric []bool, total int) [][]int {
	var names, all []int
	least := -len(columnGap) // with all text cut to what is readable
	room := total
	for j, w := range widths {
		if !numeric[j] {
			w = min(w, readableText)
		}
		least += w + len(columnGap)
		if len(all) == len(names) && !numeric[j] {
			names = append(names, j)
			room -= w + len(columnGap)
		}
		all = append(all, j)
	}
	if least <= total || len(names) == 0 || !slices.Contains(numeric, true) {
		return [][]int{all}
	}
	var bands [][]int
	left := 0
	for _, j := range all[len(names):] {
		w := widths[j]
		if !numeric[j] {
			w = min(w, readableText)
		}
		if w > room { // cutting is all that is left
			return [][]int{all}
		}
		if w > left {
			bands = append(bands, slices.Clone(names))
			left = room
		}
		bands[len(bands)-1] = append(bands[len(bands)-1], j)
		left -= w + len(columnGap)
	}
	return bands
}

// cleanCells gathers header and rows into one rectangle.
func cleanCells(header []string, rows [][]string) [][]string {
	all := rows
	if header != nil {
		all = append([][]string{header}, rows...)
	}
	n := 0
	for _, row := range all {
		n = max(n, len(row))
	}
	cells := make([][]string, len(all))
	for i, row := range all {
		cells[i] = make([]string, n)
		for j, cell := range row {
			cells[i][j] = strings.TrimSpace(clean(cell))
		}
	}
	return cells
}

// numericColumns tells which columns hold numbers, next to cells that are empty or say that there is none.
func numericColumns(body [][]string, n int) []bool {
	numeric := make([]bool, n)
	for j := range numeric {
		seen := false
		textual := slices.ContainsFunc(body, func(row []string) bool {
			if row[j] == "" || row[j] == "-" || row[j] == "–" || row[j] == "not finite" {
				return false
			}
			seen = true
			return !number.MatchString(row[j])
		})
		numeric[j] = seen && !textual
	}
	return numeric
}

func columnWidths(cells [][]string) []int {
	widths := make([]int, len(cells[0]))
	for _, row := range cells {
		for j, cell := range row {
			widths[j] = max(widths[j], columns.StringWidth(cell))
		}
	}
	return widths
}

// shrink narrows columns until the table fits, always the widest that may still give way.
func shrink(widths []int, numeric []bool, total int) {
	excess := -total
	for _, w := range widths {
		excess += w + len(columnGap)
	}
	excess -= len(columnGap)
	for _, stage := range []struct {
		floor   int
		numbers bool
	}{{readableText, false}, {minColumn, false}, {minColumn, true}} {
		for ; excess > 0; excess-- {
			widest := -1
			for j, w := range widths {
				if w > stage.floor && (stage.numbers || !numeric[j]) && (widest < 0 || w > widths[widest]) {
					widest = j
				}
			}
			if widest < 0 {
				break
			}
			widths[widest]--
		}
	}
}

func rule(widths []int) []string {
	dashes := make([]string, len(widths))
	for j, w := range widths {
		dashes[j] = strings.Repeat("-", w)
	}
	return dashes
}

func writeRow(b *strings.Builder, row []string, widths []int, numeric []bool, total int) {
	var line strings.Builder
	for j, cell := range row {
		if j > 0 {
			line.WriteString(columnGap)
		}
		cell = cut(cell, widths[j])
		if numeric[j] {
			line.WriteString(columns.FillLeft(cell, widths[j]))
		} else {
			line.WriteString(columns.FillRight(cell, widths[j]))
		}
	}
	text := line.String()
	if total > 0 {
		text = cut(text, total)
	}
	b.WriteString(strings.TrimRight(text, " "))
	b.WriteByte('\n')
}
