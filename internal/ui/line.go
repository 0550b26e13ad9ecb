package ui

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Widths of the parts of a bar's line, in columns.
const (
	minName = 8  // a name is not cut below this
	minNote = 6  // below this a note says nothing
	minBar  = 10 // a bar is left out below this
	maxBar  = 40
)

// columns measures text. It is a value of our own because the package's default depends on the locale, and a test's output must not.
var columns = &runewidth.Condition{StrictEmojiNeutral: true}

// barLine is the line of a task on a terminal: name, bar, percentage, count, time left, note, of at most width columns. What does not fit is
// left out, the bar first, then the note, the count and the time.
func barLine(s status, width int, bar mpb.BarFiller) string {
	name := cut(s.name, max(minName, width/3))
	if s.phase != running {
		return cut(name+" "+outcome(s), width)
	}
	room := width - columns.StringWidth(name)
	take := func(part string) string {
		if need := 1 + columns.StringWidth(part); part != "" && need <= room {
			room -= need
			return part
		}
		return ""
	}
	percent := take(percentage(s))
	left := take(timing(s))
	count := take(counts(s))
	note := s.note
	if note != "" && room > minNote {
		note = cut(note, room-1)
	}
	note = take(note)
	line := joinWords(name, drawBar(s, min(room-1, maxBar), bar), percent, count, left, note)
	return cut(line, width)
}

// cut shortens a text to a width, with an ellipsis where something is missing.
func cut(text string, width int) string {
	if width <= 0 {
		return ""
	}
	return columns.Truncate(text, width, "…")
}

// drawBar is the bar itself, or nothing where there is no room or no end in sight.
func drawBar(s status, width int, bar mpb.BarFiller) string {
	if s.total == 0 || width < minBar {
		return ""
	}
	var b strings.Builder
	stat := decor.Statistics{AvailableWidth: width, Total: s.total, Current: min(max(s.current, 0), s.total)}
	// A strings.Builder cannot fail.
	_ = bar.Fill(&b, stat)
	return b.String()
}

// plainLine is the line of a task in a log.
func plainLine(s status) string {
	if s.phase != running {
		return s.name + ": " + outcome(s)
	}
	parts := []string{counts(s)}
	if p := percentage(s); p != "" {
		parts[0] += " (" + p + ")"
	}
	if t := timing(s); t != "" {
		parts = append(parts, t)
	}
	if s.note != "" {
		parts = append(parts, s.note)
	}
	return s.name + ": " + strings.Join(parts, ", ")
}

// outcome tells how a finished task ended.
func outcome(s status) string {
	text := "done in " + clock(s.elapsed)
	if s.phase == stopped {
		text = fmt.Sprintf("stopped at %s after %s", counts(s), clock(s.elapsed))
	}
	if s.note != "" {
		text += ", " + s.note
	}
	return text
}

func counts(s status) string {
	if s.total == 0 {
		return fmt.Sprint(s.current)
	}
	return fmt.Sprintf("%d/%d", s.current, s.total)
}

// percentage is rounded down: 100% is said of nothing unfinished.
func percentage(s status) string {
	if s.total == 0 {
		return ""
	}
	return fmt.Sprintf("%d%%", int(100*float64(min(max(s.current, 0), s.total))/float64(s.total)))
}

// timing is the time left at the pace so far, or the time gone while that cannot be told.
func timing(s status) string {
	if s.total == 0 || s.current <= 0 {
		return clock(s.elapsed)
	}
	left := float64(s.elapsed) * float64(max(s.total-s.current, 0)) / float64(s.current)
	const month = 30 * 24 * time.Hour // beyond this the pace so far foretells nothing
	if left > float64(month) {
		return "a long time left"
	}
	return clock(time.Duration(left)) + " left"
}

// clock writes a duration as 0:07, 12:34 or 1:02:03.
func clock(d time.Duration) string {
	seconds := int64(max(d, 0).Round(time.Second) / time.Second)
	if seconds >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
	}
	return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
}

// joinWords puts a space between the parts that are there.
func joinWords(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p != "" && b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p)
	}
	return b.String()
}

// clean makes a text fit for one line of a terminal: names of files and tensors come from anywhere, and may hold what a terminal obeys.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, text)
}

// cleanLines is clean for a text of several lines.
func cleanLines(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		lines[i] = clean(line)
	}
	return strings.Join(lines, "\n")
}
