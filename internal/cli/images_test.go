package cli

import (
	"archive/zip"
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// An imageFixture is a folder or zip of images of 8x8 pixels. Those of a class are bright in one quarter, with noise.
type imageFixture struct {
	classes     []string
	train, test int    // images of each class
	corrupt     string // a file that is no image
	larger      string // what the files begin with that are 9x9
}

func (f *imageFixture) parse(options []string) (err error) {
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "classes":
			f.classes = strings.Split(value, ",")
		case "train":
			f.train, err = strconv.Atoi(value)
		case "test":
			f.test, err = strconv.Atoi(value)
		case "corrupt":
			f.corrupt = value
		case "larger":
			f.larger = value
		default:
			err = fmt.Errorf("unknown option")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", option, err)
		}
	}
	return nil
}

// visit hands out the files in order.
func (f *imageFixture) visit(write func(name string, content []byte) error) error {
	for _, split := range []struct {
		name string
		n    int
	}{{"train", f.train}, {"test", f.test}} {
		for label, class := range f.classes {
			for i := range split.n {
				name := fmt.Sprintf("%s/%s/%d.png", split.name, class, i)
				content, err := f.picture(name, label, i)
				if err != nil {
					return err
				}
				if err := write(name, content); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (f *imageFixture) picture(name string, label, i int) ([]byte, error) {
	if name == f.corrupt {
		return []byte("no image"), nil
	}
	side := 8
	if f.larger != "" && strings.HasPrefix(name, f.larger) {
		side = 9
	}
	m := image.NewNRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			v := uint8((37*x + 91*y + 13*x*y + 17*i) % 60)
			if y/4%2 == label%2 {
				v += 190
			}
			m.Set(x, y, color.NRGBA{v, v / 2, 255 - v, 255})
		}
	}
	var b bytes.Buffer
	err := png.Encode(&b, m)
	return b.Bytes(), err
}

// write makes a zip where the name ends like one, else a folder.
func (f *imageFixture) write(at string) error {
	if filepath.Ext(at) != ".zip" {
		return f.visit(func(name string, content []byte) error {
			path := filepath.Join(at, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			return os.WriteFile(path, content, 0o644)
		})
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	err := f.visit(func(name string, content []byte) error {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(content)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(at, b.Bytes(), 0o644)
}

func writeImages(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) >= 1, "images FILE OPTION=VALUE...")
	var f imageFixture
	ts.Check(f.parse(args[1:]))
	ts.Check(f.write(ts.MkAbs(args[0])))
}
