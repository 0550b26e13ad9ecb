package checkpoint

import (
	"fmt"
	"strings"
)

const (
	// topKey is the key of the dictionary that a file holds itself.
	topKey = "."
	// maxNesting bounds how deep a state dict is looked for.
	maxNesting = 16
	// modulePrefix is what torch.nn.DataParallel puts before all names.
	modulePrefix = "module."
)

// A level is a dictionary on the way to a state dict, and the key it was found under; that of the first is topKey.
type level struct {
	key  string
	dict *pyDict
}

// findStateDict returns the way to the state dict: the dictionary under a key, or, where no key is given, the only one that holds tensors.
// The way there leads through dictionaries and keys that are strings; dots stand between the keys.
func findStateDict(top any, key string) ([]level, error) {
	if _, ok := top.(*tensorValue); ok {
		return nil, malformed("holds one tensor, not a state dict")
	}
	root, ok := top.(*pyDict)
	if !ok {
		return nil, malformed("holds %s, not a state dict", kindOf(top))
	}
	start := []level{{topKey, root}}
	s := keySearch{seen: map[*pyDict]bool{}}
	s.search(start)
	switch {
	case key == topKey:
		return start, hasTensors(start)
	case key != "":
		way := follow(start, key)
		if way == nil {
			return nil, fmt.Errorf("no dictionary is under the key %s; %s", quote(key), s.list())
		}
		return way, hasTensors(way)
	case len(s.found) == 0:
		return nil, malformed("holds no state dict: no dictionary of tensors is in it")
	case len(s.found) > 1:
		return nil, fmt.Errorf("holds more than one dictionary of tensors: name one by its key (--key); %s", s.list())
	}
	return s.found[0], nil
}

func hasTensors(way []level) error {
	if last := way[len(way)-1]; last.dict.tensors() == 0 {
		return malformed("the dictionary under the key %s holds no tensors", quote(wayText(way)))
	}
	return nil
}

// tensors counts the tensors that a dictionary holds itself, under keys that are strings.
func (d *pyDict) tensors() (n int) {
	for i, v := range d.values {
		if _, ok := v.(*tensorValue); ok {
			if _, ok := d.keys[i].(string); ok {
				n++
			}
		}
	}
	return n
}

// keySearch finds dictionaries that hold tensors. Each is looked at once, however many ways lead there.
type keySearch struct {
	seen  map[*pyDict]bool
	found [][]level
}

func (s *keySearch) search(way []level) {
	d := way[len(way)-1].dict
	if s.seen[d] || len(way) > maxNesting {
		return
	}
	s.seen[d] = true
	if d.tensors() > 0 {
		s.found = append(s.found, way)
	}
	for i, v := range d.values {
		inner, ok := v.(*pyDict)
		key, isText := d.keys[i].(string)
		if ok && isText {
			s.search(append(way[:len(way):len(way)], level{key, inner}))
		}
	}
}

// list names what was found.
func (s *keySearch) list() string {
	const most = 10
	if len(s.found) == 0 {
		return "there is no dictionary of tensors"
	}
	var b strings.Builder
	b.WriteString("there are ")
	for i, way := range s.found {
		if i > 0 {
			b.WriteString(", ")
		}
		if i == most {
			fmt.Fprintf(&b, "and %d more", len(s.found)-most)
			break
		}
		fmt.Fprintf(&b, "%s (%d)", quote(wayText(way)), way[len(way)-1].dict.tensors())
	}
	return b.String() + " with their numbers of tensors"
}

func wayText(way []level) string {
	var keys []string
	for _, l := range way[1:] {
		keys = append(keys, l.key)
	}
	if len(keys) == 0 {
		return topKey
	}
	return strings.Join(keys, ".")
}

// follow goes from a dictionary down a path of keys between dots; keys may have dots themselves, and the longest that fits is taken.
func follow(way []level, path string) []level {
	d := way[len(way)-1].dict
	for end := len(path); end > 0 && len(way) <= maxNesting; end = strings.LastIndexByte(path[:end], '.') {
		v, _ := d.get(path[:end])
		inner, ok := v.(*pyDict)
		if !ok {
			continue
		}
		next := append(way[:len(way):len(way)], level{path[:end], inner})
		if end == len(path) {
			return next
		}
		if found := follow(next, path[end+1:]); found != nil {
			return found
		}
	}
	return nil
}
