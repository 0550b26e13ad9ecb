package onnx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rebasin/rebasin/checkpoint"
)

// formatError is one way in which the content of a file is wrong.
type formatError struct{ what string }

func (e *formatError) Error() string { return e.what }

func (e *formatError) Is(target error) bool { return target == checkpoint.ErrFormat }

func malformed(format string, args ...any) error { return &formatError{fmt.Sprintf(format, args...)} }

// ErrUnsupported is matched (errors.Is) by errors about models that are valid but use what this package cannot convert, as control flow.
var ErrUnsupported = errors.New("not supported")

// unsupportedError is one of these.
type unsupportedError struct{ what string }

func (e *unsupportedError) Error() string { return e.what }

func (e *unsupportedError) Is(target error) bool { return target == ErrUnsupported }

func unsupported(format string, args ...any) error {
	return &unsupportedError{fmt.Sprintf(format, args...)}
}

// maxQuoted bounds what of a name gets into a message.
const maxQuoted = 200

func quote(name string) string {
	if len(name) > maxQuoted {
		return fmt.Sprintf("%q...", name[:maxQuoted])
	}
	return fmt.Sprintf("%q", name)
}

func ofTensor(name string, err error) error { return fmt.Errorf("tensor %s: %w", quote(name), err) }

func reading(path string, err error) error {
	return fmt.Errorf("onnx: reading %q: %w", path, oneLine(err))
}

func writing(path string, err error) error {
	return fmt.Errorf("onnx: writing %q: %w", path, oneLine(err))
}

// maxMessage bounds the text of an error, in which names of the file may stand.
const maxMessage = 500

// oneLine makes the text of an error short and printable. Names of nodes come into it as they stand in the file.
func oneLine(err error) error {
	text := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, err.Error())
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage/2], "") + " ... " + strings.ToValidUTF8(text[len(text)-maxMessage/2:], "")
	}
	if text == err.Error() {
		return err
	}
	return &cleaned{text, err}
}

// cleaned is an error with another text.
type cleaned struct {
	text string
	err  error
}

func (e *cleaned) Error() string { return e.text }

func (e *cleaned) Unwrap() error { return e.err }

// cause strips what package os puts before an error: messages here name the file themselves.
func cause(err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		return e.Err
	case *os.LinkError:
		return e.Err
	}
	return err
}
