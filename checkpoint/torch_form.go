package checkpoint

import (
	"fmt"
	"strings"
)

// torchForm is what a file of PyTorch holds beside tensors, as far as it can be written again.
type torchForm struct {
	levels []torchLevel // from the top to the state dict
	prefix string       // before the names of all tensors, left out here
	// ties numbers the tensors that look at the same elements as another one does: those of one number share them.
	ties map[string]int
}

// torchLevel is a dictionary on the way to the state dict, and in the end that itself.
type torchLevel struct {
	key        string
	ordered    bool
	items      []torchItem
	attributes *pyDict // nil where there are none, or none that can be written
	dropped    []string
}

// torchItem is a key of a dictionary, and its value if that can be written: it is nil for the next dictionary on the way, and for tensors of the
// state dict.
type torchItem struct {
	key, value any
}

// keyName is a key as part of a path of keys.
func keyName(key any) string {
	switch key := key.(type) {
	case string:
		return key
	case int64, float64, bool:
		return fmt.Sprint(key)
	}
	return "(" + kindOf(key) + ")"
}

// maxCarried bounds what is carried from file to file beside tensors: values, and eight bytes of strings each.
const maxCarried = 1 << 20

// newTorchForm keeps of the dictionaries on the way to a state dict what can be written again: values that are made of numbers, strings, None,
// lists, tuples and dictionaries.
func newTorchForm(way []level) *torchForm {
	f := &torchForm{prefix: commonPrefix(way[len(way)-1].dict)}
	budget := maxCarried
	for depth, l := range way {
		out := torchLevel{key: l.key, ordered: l.dict.ordered}
		last := depth == len(way)-1
		for i, key := range l.dict.keys {
			v := l.dict.values[i]
			_, isTensor := v.(*tensorValue)
			switch {
			case !last && key == any(way[depth+1].key), last && isTensor:
				out.items = append(out.items, torchItem{key: key})
			case carried(key, &budget, 0) && carried(v, &budget, 0):
				out.items = append(out.items, torchItem{key, v})
			default:
				out.dropped = append(out.dropped, keyName(key))
			}
		}
		if a := l.dict.attributes; a != nil && carried(a, &budget, 0) {
			out.attributes = a
		}
		f.levels = append(f.levels, out)
	}
	return f
}

// leftOut names what is not written again: what cannot be, or all there is.
func (f *torchForm) leftOut(all bool) []string {
	var names []string
	way := ""
	for i, l := range f.levels {
		if i > 0 {
			way += l.key + "."
		}
		for _, key := range l.dropped {
			names = append(names, quote(way+key))
		}
		for _, item := range l.items {
			if all && item.value != nil {
				names = append(names, quote(way+keyName(item.key)))
			}
		}
	}
	return names
}

// commonPrefix is modulePrefix where the names of all tensors have it.
func commonPrefix(d *pyDict) string {
	for i, key := range d.keys {
		name, _ := key.(string)
		if _, ok := d.values[i].(*tensorValue); ok && (!strings.HasPrefix(name, modulePrefix) || name == modulePrefix) {
			return ""
		}
	}
	return modulePrefix
}

// carried reports whether a value can be written again.
func carried(v any, budget *int, depth int) bool {
	const maxDepth = 64
	*budget--
	if *budget < 0 || depth > maxDepth {
		return false
	}
	all := func(values []any) bool {
		for _, v := range values {
			if !carried(v, budget, depth+1) {
				return false
			}
		}
		return true
	}
	switch v := v.(type) {
	case pyNone, bool, int64, float64, pyLong:
		return true
	case string:
		*budget -= len(v) / 8
		return *budget >= 0
	case pyTuple:
		return all(v)
	case *pyList:
		return all(v.items)
	case *pyDict:
		return all(v.keys) && all(v.values) && (v.attributes == nil || carried(v.attributes, budget, depth+1))
	}
	return false
}

// tie finds the tensors that look at the same elements.
func (f *torchForm) tie(tensors []torchTensor) {
	first := map[string]string{}
	f.ties = map[string]int{}
	for _, t := range tensors {
		if t.size == 0 {
			continue
		}
		same := fmt.Sprintf("%d %d %v %v %v %s", t.begin, t.size, t.DType, t.Shape, t.stride, t.storage.key)
		other, ok := first[same]
		if !ok {
			first[same] = t.Name
			continue
		}
		if f.ties[other] == 0 {
			f.ties[other] = len(f.ties) + 1
		}
		f.ties[t.Name] = f.ties[other]
	}
}
