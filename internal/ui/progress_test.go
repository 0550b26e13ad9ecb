package ui

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A clockwork is a clock that is set by hand.
type clockwork struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clockwork) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clockwork) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestPlainLines(t *testing.T) {
	var out bytes.Buffer
	clock := &clockwork{}
	p := New(&out, Options{Now: clock.Now})
	a := p.Task("train a", 200)
	for i := range 200 { // 100 s: a tenth of the work takes as long as lines must be apart
		clock.advance(500 * time.Millisecond)
		a.Note(fmt.Sprintf("loss %.2f", 2-float64(i)/100))
		a.Add(1)
	}
	a.Done()
	p.Log("between\ntasks\x1b[31m")
	b := p.Task("search", 0)
	clock.advance(59 * time.Second)
	b.Set(5)
	clock.advance(time.Second)
	b.Set(6)
	clock.advance(3601 * time.Second)
	b.Abort()
	p.Wait()

	want := `train a: 20/200 (10%), 1:30 left, loss 1.81
train a: 40/200 (20%), 1:20 left, loss 1.61
train a: 60/200 (30%), 1:10 left, loss 1.41
train a: 80/200 (40%), 1:00 left, loss 1.21
train a: 100/200 (50%), 0:50 left, loss 1.01
train a: 120/200 (60%), 0:40 left, loss 0.81
train a: 140/200 (70%), 0:30 left, loss 0.61
train a: 160/200 (80%), 0:20 left, loss 0.41
train a: 180/200 (90%), 0:10 left, loss 0.21
train a: 200/200 (100%), 0:00 left, loss 0.01
train a: done in 1:40, loss 0.01
between
tasks[31m
search: 6, 1:00
search: stopped at 6 after 1:01:01
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

// However fast or slow the work, lines stay sparse and a long silence does not happen.
func TestPlainLinesAreSparse(t *testing.T) {
	tests := []struct {
		name  string
		step  time.Duration
		steps int
		want  int // lines before the last
	}{
		{"fast", time.Millisecond, 1000, 0},
		{"an hour", 3600 * time.Millisecond, 1000, 58}, // a tenth takes longer than a minute, which is 17 steps and a bit
		{"ten steps", 2 * time.Minute, 10, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			clock := &clockwork{}
			p := New(&out, Options{Now: clock.Now})
			task := p.Task("work", int64(tt.steps))
			for range tt.steps {
				clock.advance(tt.step)
				task.Add(1)
			}
			task.Done()
			if got := strings.Count(out.String(), "\n") - 1; got != tt.want {
				t.Errorf("%d lines before the last, want %d:\n%s", got, tt.want, out.String())
			}
		})
	}
}

func TestQuiet(t *testing.T) {
	var out bytes.Buffer
	clock := &clockwork{}
	p := New(&out, Options{Quiet: true, ForceTTY: true, Now: clock.Now})
	task := p.Task("train", 10)
	clock.advance(time.Hour)
	task.Add(5)
	p.Log("a line")
	task.Done()
	p.Task("left", 0)
	p.Wait()
	if out.Len() > 0 {
		t.Errorf("quiet wrote %q", out.String())
	}
}

func TestNil(t *testing.T) {
	var p *Progress
	task := p.Task("train", 10)
	task.Add(1)
	task.Set(2)
	task.Note("loss")
	p.Log("a line")
	task.Done()
	task.Abort()
	p.Wait()
	if task != nil {
		t.Error("a nil Progress made a task")
	}
}

func TestNothingAfterTheEnd(t *testing.T) {
	var out bytes.Buffer
	clock := &clockwork{}
	p := New(&out, Options{Now: clock.Now})
	task := p.Task("train", 10)
	task.Set(4)
	clock.advance(5 * time.Second)
	task.Abort()
	clock.advance(time.Hour)
	task.Set(10)
	task.Note("more")
	task.Done()
	p.Wait()
	if got, want := out.String(), "train: stopped at 4/10 after 0:05\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// In a log, what is done at once is not worth a line; what is stopped always is.
func TestBriefTasks(t *testing.T) {
	var out bytes.Buffer
	clock := &clockwork{}
	p := New(&out, Options{Now: clock.Now})
	for _, d := range []time.Duration{brief - 1, brief} {
		task := p.Task("work", 1)
		clock.advance(d)
		task.Done()
	}
	p.Task("interrupted", 1)
	p.Wait()
	if got, want := out.String(), "work: done in 0:01\ninterrupted: stopped at 0/1 after 0:00\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestConcurrentUse(t *testing.T) {
	for _, tty := range []bool{false, true} {
		t.Run(fmt.Sprintf("tty=%v", tty), func(t *testing.T) {
			var out bytes.Buffer
			clock := &clockwork{}
			p := New(&out, Options{ForceTTY: tty, Now: func() time.Time { clock.advance(time.Second); return clock.Now() }})
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					task := p.Task(fmt.Sprintf("worker %d", i), 100)
					for range 100 {
						task.Add(1)
						task.Note("busy")
					}
					p.Log(fmt.Sprintf("log of %d", i))
					task.Done()
				})
			}
			wg.Wait()
			p.Wait()
			for i := range 8 {
				for _, text := range []string{fmt.Sprintf("worker %d", i), fmt.Sprintf("log of %d\n", i)} {
					if !strings.Contains(out.String(), text) {
						t.Errorf("%q is missing in %q", text, out.String())
					}
				}
			}
		})
	}
}

// A screen is what a terminal shows that understands what a board of bars sends: lines, and to go up and clear what follows.
type screen struct {
	t     *testing.T
	width int
	out   bytes.Buffer
}

var goUp = regexp.MustCompile("\x1b\\[(\\d+)A\x1b\\[J")

// lines replays all that was written.
func (s *screen) lines() []string {
	s.t.Helper()
	var shown []string
	rest := s.out.String()
	for rest != "" {
		if at := goUp.FindStringSubmatchIndex(rest); at != nil && at[0] == 0 {
			n, err := strconv.Atoi(rest[at[2]:at[3]])
			if err != nil || n > len(shown) {
				s.t.Fatalf("the cursor goes up %d of %d lines (%v)", n, len(shown), err)
			}
			shown, rest = shown[:len(shown)-n], rest[at[1]:]
			continue
		}
		line, after, ended := strings.Cut(rest, "\n")
		if !ended {
			s.t.Fatalf("a line has no end: %q", rest)
		}
		if w := columns.StringWidth(line); w >= s.width {
			s.t.Errorf("line %q has %d columns on a terminal of %d", line, w, s.width)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' }) {
			s.t.Errorf("line %q controls the terminal", line)
		}
		shown, rest = append(shown, line), after
	}
	return shown
}

func (s *screen) expect(want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.lines()); diff != "" {
		s.t.Errorf("screen (-want +got):\n%s", diff)
	}
}

// redraw lets the board draw once more. Time in the bubble of a test costs nothing.
func redraw() {
	time.Sleep(200 * time.Millisecond)
	synctest.Wait()
}

func TestBars(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, clock := &screen{t: t, width: 80}, &clockwork{}
		p := New(&s.out, Options{ForceTTY: true, Width: s.width, Now: clock.Now})
		p.Log("before")
		a := p.Task("train a", 100)
		b := p.Task("match", 0)
		clock.advance(30 * time.Second)
		a.Set(25)
		a.Note("loss 0.123")
		b.Add(7)
		redraw()
		s.expect("before",
			"train a [========>----------------------------] 25% 25/100 1:30 left loss 0.123",
			"match 7 0:30")

		p.Log("a line above \x1b[2Jthe bars")
		a.Add(25)
		redraw()
		s.expect("before", "a line above [2Jthe bars",
			"train a [==================>------------------] 50% 50/100 0:30 left loss 0.123",
			"match 7 0:30")

		b.Done()
		redraw()
		clock.advance(time.Minute)
		redraw()
		s.expect("before", "a line above [2Jthe bars",
			"match done in 0:30",
			"train a [==================>------------------] 50% 50/100 1:30 left loss 0.123")

		a.Done()
		p.Log("after")
		c := p.Task("save", 3)
		c.Add(1)
		redraw()
		p.Wait()
		p.Log("the end")
		s.expect("before", "a line above [2Jthe bars",
			"match done in 0:30",
			"train a done in 1:30, loss 0.123",
			"after",
			"save stopped at 1/3 after 0:00",
			"the end")
	})
}

// On any width no line reaches the last column, whatever it has to say. A line that wraps would be left behind by the next redraw.
func TestNarrowTerminals(t *testing.T) {
	for width := 1; width <= 120; width++ {
		synctest.Test(t, func(t *testing.T) {
			s, clock := &screen{t: t, width: width}, &clockwork{}
			p := New(&s.out, Options{ForceTTY: true, Width: width, Now: clock.Now})
			a := p.Task("straight-through エポック\n", 123456)
			a.Note("loss 0.123456 at step 17 \u2026 日本語")
			b := p.Task("é", 0)
			for range 3 {
				clock.advance(1000 * time.Second)
				a.Add(1000)
				redraw()
			}
			a.Done()
			b.Abort()
			p.Wait()
			if got := len(s.lines()); got != 2 {
				t.Errorf("width %d: %d lines remain: %q", width, got, s.lines())
			}
		})
	}
}

func TestNarrowLines(t *testing.T) {
	running := status{name: "train a", note: "loss 0.123", current: 25, total: 100, elapsed: 30 * time.Second}
	tests := []struct {
		width int
		want  string
	}{
		{0, ""},
		{5, "trai…"},
		{12, "train a 25%"},
		{20, "train a 25% 25/100"}, // no room for the time, but for the count
		{21, "train a 25% 1:30 left"},
		{30, "train a 25% 25/100 1:30 left"},
		{40, "train a 25% 25/100 1:30 left loss 0.123"},
	}
	for _, tt := range tests {
		t.Run(strconv.Itoa(tt.width), func(t *testing.T) {
			if got := barLine(running, tt.width, nil); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A writer that fails must not stop the work, nor leave anything running.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestBrokenWriter(t *testing.T) {
	for _, tty := range []bool{false, true} {
		synctest.Test(t, func(*testing.T) {
			p := New(brokenWriter{}, Options{ForceTTY: tty})
			a := p.Task("a", 10)
			redraw()
			a.Add(5)
			p.Log("a line")
			b := p.Task("b", 10)
			redraw()
			a.Done()
			b.Done()
			p.Wait()
		})
	}
}

func TestFilesAreNoTerminals(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if w := TerminalWidth(f); w != 0 {
		t.Errorf("a file has %d columns", w)
	}
	clock := &clockwork{}
	p := New(f, Options{Now: clock.Now})
	task := p.Task("work", 1)
	clock.advance(brief)
	task.Done()
	p.Wait()
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if want := "work: done in 0:01\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestClock(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0:00"},
		{400 * time.Millisecond, "0:00"},
		{59*time.Second + 600*time.Millisecond, "1:00"},
		{12*time.Minute + 34*time.Second, "12:34"},
		{25*time.Hour + 2*time.Minute + 3*time.Second, "25:02:03"},
	}
	for _, tt := range tests {
		if got := clock(tt.d); got != tt.want {
			t.Errorf("clock(%v) = %q, want %q", tt.d, got, tt.want)
		}
	}
}
