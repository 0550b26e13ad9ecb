package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

type inner struct {
	Loss float64 `json:"loss"`
}

type outer struct {
	inner
	Name    string            `json:"name"`
	List    []inner           `json:"list"`
	Map     map[string]*inner `json:"map"`
	Pointer *float64          `json:"pointer"`
	Left    string            `json:"left,omitempty"`
	Any     any               `json:"any"`
	Untold  int               `json:"-"`
	Plain   float32
	private int
}

// TestJSONIsThatOfTheLibrary: what is finite is written as encoding/json would.
func TestJSONIsThatOfTheLibrary(t *testing.T) {
	finite := rapid.Float64().Filter(func(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) })
	rapid.Check(t, func(t *rapid.T) {
		x := finite.Draw(t, "x")
		v := outer{
			inner: inner{x}, Name: rapid.String().Draw(t, "name"), Left: rapid.StringN(0, 2, -1).Draw(t, "left"),
			Plain: float32(rapid.Float32Range(-1e30, 1e30).Draw(t, "plain")), Any: rapid.IntRange(-5, 5).Draw(t, "any"), private: 1, Untold: 2,
		}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			v.List = append(v.List, inner{finite.Draw(t, "loss")})
		}
		if rapid.Bool().Draw(t, "filled") {
			v.Pointer, v.Map = &x, map[string]*inner{"a": {1}, "b\n": nil, "c": {x}}
		}
		want, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := writeJSON(&got, v); err != nil {
			t.Fatal(err)
		}
		var a, b any
		if err := errors.Join(json.Unmarshal(want, &a), json.Unmarshal(got.Bytes(), &b)); err != nil {
			t.Fatalf("%v\n%s", err, got.String())
		}
		if v.List == nil {
			b.(map[string]any)["list"] = nil // an empty list is better for programs than null
		}
		if v.Map == nil {
			b.(map[string]any)["map"] = nil
		}
		if diff := cmp.Diff(a, b); diff != "" {
			t.Fatalf("(-encoding/json +writeJSON)\n%s", diff)
		}
	})
}

// TestJSONNamesWhatIsNotFinite: NaN and infinities are null, and their paths are told.
func TestJSONNamesWhatIsNotFinite(t *testing.T) {
	nan := math.NaN()
	v := outer{
		inner: inner{math.Inf(1)}, List: []inner{{1}, {nan}}, Map: map[string]*inner{"z": {nan}, "a": {math.Inf(-1)}}, Pointer: &nan,
		Plain: float32(math.Inf(1)),
	}
	var got bytes.Buffer
	if err := writeJSON(&got, v); err != nil {
		t.Fatal(err)
	}
	const want = `{"loss":null,"name":"","list":[{"loss":1},{"loss":null}],"map":{"a":{"loss":null},"z":{"loss":null}},"pointer":null,"any":null,` +
		`"Plain":null,"nonfinite":["loss","list[1].loss","map.a.loss","map.z.loss","pointer","Plain"]}`
	var flat bytes.Buffer
	if err := json.Compact(&flat, got.Bytes()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, flat.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestJSONOfNothingButNaN: the list of names stands alone as well.
func TestJSONOfNothingButNaN(t *testing.T) {
	var got bytes.Buffer
	if err := writeJSON(&got, struct{ X *float64 }{}); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(got.Bytes()) || bytes.Contains(got.Bytes(), []byte("nonfinite")) {
		t.Errorf("got %s", got.String())
	}
	if err := writeJSON(&got, struct{ F func() }{func() {}}); err == nil {
		t.Error("a function was written as JSON")
	}
}
