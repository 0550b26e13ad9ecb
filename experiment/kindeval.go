package experiment

import (
	"context"
	"encoding/json"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/experiment/task"
	"github.com/rebasin/rebasin/zoo"
)

// evaluateOptions determine the full measurement of a network, or of several that predict together.
type evaluateOptions struct {
	Network zoo.Config `json:"network"`
	Data    Data       `json:"data"`
	// Samples of the training data to measure on; the test data is measured whole.
	Samples int `json:"samples"`
	// K classes count as a hit of top-k.
	K int `json:"k"`
}

// Evaluation is the result.
type Evaluation struct {
	Train Evaluated `json:"train"`
	Test  Evaluated `json:"test"`
}

// Evaluated is the full measurement on one part of the data.
type Evaluated struct {
	Measure
	TopK             float64 `json:"top_k"`
	K                int     `json:"k"`
	CalibrationError Number  `json:"calibration_error"`
	// Bins of confidence, see [eval.Report].
	Bins []eval.Bin `json:"bins"`
}

func (l *Lab) evaluateKind() *task.Kind {
	return &task.Kind{Name: "evaluate", Recipe: 1, Work: l.evaluateWork, Rate: 6e10, Run: l.runEvaluate}
}

// runEvaluate measures the networks of all artifacts as one ensemble.
func (l *Lab) runEvaluate(ctx context.Context, job *task.Job) error {
	var o evaluateOptions
	if err := job.Decode(&o); err != nil {
		return err
	}
	_, g, err := l.network(ctx, o.Network, o.Data)
	if err != nil {
		return err
	}
	runner, err := eval.NewRunner(g, job.Threads)
	if err != nil {
		return err
	}
	defer runner.Close()
	use := func(i int) error {
		params, err := readParams(ctx, job.Needs[i], paramsFile)
		if err != nil {
			return err
		}
		return runner.SetParams(params)
	}
	var out Evaluation
	for _, part := range []struct {
		split dataset.Split
		limit int
		into  *Evaluated
	}{{dataset.Train, o.Samples, &out.Train}, {dataset.Test, 0, &out.Test}} {
		data, err := l.open(ctx, o.Data, part.split)
		if err != nil {
			return err
		}
		var r eval.Report
		if len(job.Needs) == 1 {
			if err := use(0); err != nil {
				return err
			}
			r, err = runner.Report(ctx, data.Sample(part.limit), o.K)
		} else {
			r, err = runner.Ensemble(ctx, data.Sample(part.limit), o.K, len(job.Needs), use)
		}
		if err != nil {
			return err
		}
		*part.into = Evaluated{newMeasure(r.Metrics), r.TopK, r.K, Number(r.CalibrationError), r.Bins[:]}
	}
	return job.WriteResult(out)
}

func (l *Lab) evaluateWork(options json.RawMessage) float64 {
	var o evaluateOptions
	if json.Unmarshal(options, &o) != nil {
		return 0
	}
	flops, _ := l.cost(o.Network, o.Data)
	test, err := l.open(context.Background(), o.Data, dataset.Test)
	if err != nil {
		return 0
	}
	return flops * float64(test.Len()+o.Samples)
}
