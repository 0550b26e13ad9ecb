package onnx

import (
	"bytes"
	"context"
	"io"
	"os"
	"slices"

	"github.com/rebasin/rebasin/checkpoint"
)

// isRead says that the model is in place that reads the new data, although writing it has failed in the end.
func (w *writer) isRead() bool {
	f, err := Open(w.path)
	if err != nil {
		return false
	}
	defer f.Close()
	return slices.ContainsFunc(f.DataFiles(), func(path string) bool { return same(path, w.data) })
}

// moveData gives the external data of the model that has just taken the place of another its lasting name, which may be that of the other's data: the
// data gets that name besides its own, then the model is written again to read it there, and the name that was for the time between goes. Where this
// fails the model reads its data under that name.
func (w *writer) moveData() error {
	lasting := w.path + DataSuffix
	if err := alsoName(w.data, lasting, w.opt); err != nil {
		return writing(lasting, err)
	}
	model, err := os.ReadFile(w.path) // not opened, since it is to be replaced
	if err != nil {
		return writing(w.path, cause(err))
	}
	f, err := NewFile(w.path, bytes.NewReader(model), int64(len(model)))
	if err != nil {
		return err
	}
	again := f.newWriter(w.path, lasting, checkpoint.Settled(f.Metadata()), w.opt)
	again.moved = true
	if err := again.plan(nil); err != nil {
		return writing(w.path, err)
	}
	// What was asked for is done: it is too late to be interrupted.
	opt := w.opt
	opt.Size = again.size
	err = checkpoint.WriteFileWith(w.path, opt, func(out io.Writer) error { return again.write(context.Background(), out) })
	if err == nil {
		err = cause(os.Remove(w.data))
	}
	if err != nil {
		return writing(w.path, err)
	}
	return nil
}

// alsoName gives a file another name, that of a file of the same folder perhaps, whose permissions it takes. Where the name is a link, or the file system
// knows no second names, that is a copy.
func alsoName(file, name string, opt checkpoint.FileOptions) error {
	info, err := os.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		return copyTo(file, name, opt)
	}
	if err == nil {
		if err := os.Chmod(file, info.Mode().Perm()); err != nil {
			return cause(err)
		}
	}
	second := file + ".tmp"
	if os.Link(file, second) != nil {
		return copyTo(file, name, opt)
	}
	if err := os.Rename(second, name); err != nil {
		os.Remove(second)
		return cause(err)
	}
	return nil
}

func copyTo(file, name string, opt checkpoint.FileOptions) error {
	in, err := os.Open(file)
	if err != nil {
		return cause(err)
	}
	defer in.Close()
	return checkpoint.WriteFileWith(name, opt, func(out io.Writer) error {
		_, err := io.Copy(out, in)
		return err
	})
}
