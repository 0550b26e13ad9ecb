package experiment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Join makes one run of several finished ones, given by their folders, that declare the same experiment with different cases, as when machines share
// the work: the cases, records and times of all, in the order given, under a name that no run in the folder of experiments has. Records keep what
// they say of where they were made; those of one kind of task must have been made by one recipe. The joined run is whole or not there.
func Join(dir, name string, runs ...string) (*Finished, error) {
	if len(runs) < 2 {
		return nil, fmt.Errorf("experiment: %d runs; at least two can be joined", len(runs))
	}
	var spec *Spec
	recipes := map[string]int{} // by kind of task
	for _, run := range runs {
		f, err := ReadRun(run)
		if err != nil {
			return nil, err
		}
		for _, r := range f.Records {
			if recipe, known := recipes[r.Kind]; known && recipe != r.Recipe {
				return nil, fmt.Errorf("experiment: %q: %s tasks were done by recipe %d, and by recipe %d in another run: their results cannot be compared", run, r.Kind, r.Recipe, recipe)
			}
			recipes[r.Kind] = r.Recipe
		}
		switch {
		case len(f.Spec.Cases) == 0:
			return nil, fmt.Errorf("experiment: %q: there are no cases to join", run)
		case spec == nil:
			spec = &f.Spec
			continue
		}
		if field := spec.differs(&f.Spec); field != "" {
			return nil, fmt.Errorf("experiment: runs %q and %q declare different %s: only their cases may differ", runs[0], run, field)
		}
		spec.Cases = append(spec.Cases, f.Spec.Cases...)
	}
	spec.Name = name
	if err := spec.Check(); err != nil {
		return nil, err
	}
	files, err := joinFiles(runs)
	if err != nil {
		return nil, err
	}
	if files[specFile], err = spec.YAML(); err != nil {
		return nil, err
	}
	return writeJoined(RunDir(dir, name), files)
}

// differs names the first field, beside name and cases, in which two specs are not equal, as files spell it; nothing where they are.
func (s *Spec) differs(other *Spec) string {
	a, b := reflect.ValueOf(*s), reflect.ValueOf(*other)
	for i := range a.NumField() {
		field, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
		if field != "name" && field != "cases" && !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			return field
		}
	}
	return ""
}

// joinFiles are the contents of all files of the joined run but its spec. Those that the runs may lack are there if one run has them.
func joinFiles(runs []string) (map[string][]byte, error) {
	files := map[string][]byte{}
	var records [][]byte
	for _, run := range runs {
		text, err := os.ReadFile(filepath.Join(run, recordsFile))
		if err != nil {
			return nil, err
		}
		records = append(records, text)
	}
	files[recordsFile] = bytes.Join(records, nil)
	for name, join := range map[string]func([]string, string) (any, error){
		keysFile: joinLists, notRunFile: joinLists, divergedFile: joinLists, timesFile: joinMaps, secondsFile: joinMaps,
	} {
		all, err := join(runs, name)
		if err != nil {
			return nil, err
		}
		if all == nil {
			continue
		}
		text, err := json.MarshalIndent(all, "", " ")
		if err != nil {
			return nil, err
		}
		files[name] = append(text, '\n')
	}
	return files, nil
}

// joinLists joins what a file has in every run: a list, of which equal entries are one. It is nil where no run has the file.
func joinLists(runs []string, name string) (any, error) {
	all, found := []json.RawMessage{}, false
	err := eachFile(runs, name, func(text []byte) error {
		var list []json.RawMessage
		err := json.Unmarshal(text, &list)
		for _, entry := range list {
			if !slices.ContainsFunc(all, func(e json.RawMessage) bool { return bytes.Equal(e, entry) }) {
				all = append(all, entry)
			}
		}
		found = true
		return err
	})
	if !found {
		return nil, err
	}
	return all, err
}

// joinMaps is joinLists for entries by key.
func joinMaps(runs []string, name string) (any, error) {
	all, found := map[string]json.RawMessage{}, false
	err := eachFile(runs, name, func(text []byte) error {
		found = true
		return json.Unmarshal(text, &all) // adds to what is there
	})
	if !found {
		return nil, err
	}
	return all, err
}

// eachFile calls f with the content of a file of every run that has it.
func eachFile(runs []string, name string, f func([]byte) error) error {
	for _, run := range runs {
		path := filepath.Join(run, name)
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := f(text); err != nil {
			return fmt.Errorf("%q: %w", path, err)
		}
	}
	return nil
}

// writeJoined puts the files into a folder of another name, reads them as a run, and gives the folder its name.
func writeJoined(run string, files map[string][]byte) (_ *Finished, err error) {
	if _, err := os.Lstat(run); err == nil {
		return nil, fmt.Errorf("experiment: %q: there is a run of that name", run)
	}
	if err := os.MkdirAll(filepath.Dir(run), 0o755); err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp(filepath.Dir(run), ".join-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	if err := os.Chmod(temp, 0o755); err != nil {
		return nil, err
	}
	for name, text := range files {
		if err := writeWhole(filepath.Join(temp, name), text); err != nil {
			return nil, err
		}
	}
	f, err := ReadRun(temp)
	if err != nil {
		return nil, err
	}
	return f, os.Rename(temp, run)
}
