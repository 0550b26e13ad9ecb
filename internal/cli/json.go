package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"reflect"
	"sort"
	"strings"
)

// writeJSON prints one object. Numbers that are not finite, which JSON cannot say, become null, and their paths are listed under "nonfinite".
func writeJSON(w io.Writer, v any) error {
	e := &encoder{}
	e.value(reflect.ValueOf(v), "")
	if e.err != nil {
		return e.err
	}
	out := e.buf.Bytes()
	if len(e.nonfinite) > 0 {
		list, err := json.Marshal(e.nonfinite)
		if err != nil {
			return err
		}
		out = bytes.TrimSuffix(out, []byte("}"))
		out = append(out, fmt.Sprintf(`,"nonfinite":%s}`, list)...)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, out, "", "  "); err != nil {
		return err
	}
	indented.WriteByte('\n')
	_, err := w.Write(indented.Bytes())
	return err
}

// encoder writes what encoding/json would, but for floats.
type encoder struct {
	buf       bytes.Buffer
	nonfinite []string
	err       error
}

func (e *encoder) value(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			e.buf.WriteString("null")
			return
		}
		e.value(v.Elem(), path)
	case reflect.Float32, reflect.Float64:
		e.float(v, path)
	case reflect.Struct:
		e.buf.WriteByte('{')
		e.fields(v, path, true)
		e.buf.WriteByte('}')
	case reflect.Map:
		e.mapping(v, path)
	case reflect.Slice, reflect.Array:
		e.buf.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				e.buf.WriteByte(',')
			}
			e.value(v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
		e.buf.WriteByte(']')
	default:
		e.plain(v.Interface())
	}
}

func (e *encoder) float(v reflect.Value, path string) {
	if x := v.Float(); math.IsNaN(x) || math.IsInf(x, 0) {
		e.nonfinite = append(e.nonfinite, path)
		e.buf.WriteString("null")
		return
	}
	e.plain(v.Interface())
}

func (e *encoder) plain(x any) {
	b, err := json.Marshal(x)
	if err != nil {
		e.err = err
	}
	e.buf.Write(b)
}

// fields writes a struct's fields; those of embedded structs stand beside the others. It returns whether the next one is still the first.
func (e *encoder) fields(v reflect.Value, path string, first bool) bool {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			first = e.fields(v.Field(i), path, first)
			continue
		}
		if name == "-" || !f.IsExported() || options == "omitempty" && v.Field(i).IsZero() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		e.key(name, first)
		first = false
		e.value(v.Field(i), join(path, name))
	}
	return first
}

func (e *encoder) mapping(v reflect.Value, path string) {
	keys := v.MapKeys()
	sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
	e.buf.WriteByte('{')
	for i, k := range keys {
		e.key(k.String(), i == 0)
		e.value(v.MapIndex(k), join(path, k.String()))
	}
	e.buf.WriteByte('}')
}

func (e *encoder) key(name string, first bool) {
	if !first {
		e.buf.WriteByte(',')
	}
	e.plain(name)
	e.buf.WriteByte(':')
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
