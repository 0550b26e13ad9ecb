package experiment

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/rebasin/rebasin/experiment/task"
)

// RunStatus is how far a run is.
type RunStatus struct {
	Name, Experiment string
	// Artifacts of the run, and how many of them are done.
	Artifacts, Done int
	// Finished runs have records, if any of their cases has data.
	Finished bool
	Records  int
	// Seconds that its tasks took, one after the other.
	Seconds float64
}

// Status looks at all runs in a folder of experiments. It needs no lock, so that a run at work can be watched.
func Status(dir string) ([]RunStatus, error) {
	names, err := RunNames(dir)
	if err != nil {
		return nil, err
	}
	store := task.NewView(dir)
	times, err := store.Timings()
	if err != nil {
		return nil, err
	}
	var out []RunStatus
	for _, name := range names {
		s := RunStatus{Name: name}
		keys, err := runKeys(RunDir(dir, name))
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if s.Artifacts++; store.Exists(k) {
				s.Done++
			}
			s.Seconds += times[k].Seconds
		}
		r, err := ReadRun(RunDir(dir, name))
		if err != nil && !errors.Is(err, ErrNotFinished) {
			return nil, err
		}
		if r != nil {
			s.Finished, s.Records, s.Experiment = true, len(r.Records), r.Spec.Experiment
		} else if spec, err := readSpecFile(filepath.Join(RunDir(dir, name), specFile)); err == nil {
			s.Experiment = spec.Experiment
		}
		out = append(out, s)
	}
	return out, nil
}

func readSpecFile(path string) (*Spec, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readSpec(f)
}
