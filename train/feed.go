package train

import (
	"sync"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
)

// An Augmenter is data that can be changed at random, as Config.Augment asks for. What a sample becomes depends on augmentation, seed, epoch and
// index alone. Sets of package dataset are Augmenters.
type Augmenter interface {
	FillAugmented(a dataset.Augmentation, seed uint64, epoch int, indices []int, x []float32, labels []int32)
}

// ahead is how many batches there are: one that is trained on and one that is filled meanwhile.
const ahead = 2

// A batch is the samples of one step.
type batch struct {
	x      []float32
	labels []int32

	allX      []float32 // the memory of a whole batch; the last of an epoch may be smaller
	allLabels []int32
}

func newBatch(rows, sampleSize int) *batch {
	return &batch{allX: make([]float32, rows*sampleSize), allLabels: make([]int32, rows)}
}

// A feeder fills the batches of a run beside the training, in a goroutine that close joins.
type feeder struct {
	data        eval.Data
	cfg         Config
	step, total int
	sampleSize  int

	free, ready chan *batch
	stop        chan struct{}
	done        sync.WaitGroup
}

// newFeeder begins to fill the batches of the steps from step to total.
func newFeeder(data eval.Data, cfg Config, step, total int) *feeder {
	f := &feeder{
		data: data, cfg: cfg, step: step, total: total, sampleSize: eval.SampleSize(data),
		free: make(chan *batch, ahead), ready: make(chan *batch, ahead), stop: make(chan struct{}),
	}
	for range ahead {
		f.free <- newBatch(min(cfg.Batch, data.Len()), f.sampleSize)
	}
	f.done.Go(f.run)
	return f
}

// take waits for the batch of the next step, of which there must be one. Give it back.
func (f *feeder) take() *batch { return <-f.ready }

func (f *feeder) giveBack(b *batch) { f.free <- b }

func (f *feeder) close() {
	close(f.stop)
	f.done.Wait()
}

func (f *feeder) run() {
	perEpoch := (f.data.Len()-1)/f.cfg.Batch + 1
	var order []int
	for step := f.step; step < f.total; step++ {
		epoch, at := step/perEpoch, step%perEpoch
		if order == nil || at == 0 {
			order = dataset.Order(f.data.Len(), f.cfg.Seed, epoch)
		}
		select {
		case b := <-f.free:
			f.fill(b, epoch, order[at*f.cfg.Batch:min((at+1)*f.cfg.Batch, len(order))])
			f.ready <- b
		case <-f.stop:
			return
		}
	}
}

func (f *feeder) fill(b *batch, epoch int, indices []int) {
	b.x, b.labels = b.allX[:len(indices)*f.sampleSize], b.allLabels[:len(indices)]
	if images, ok := f.data.(Augmenter); ok && f.cfg.Augment.Active() {
		images.FillAugmented(f.cfg.Augment, f.cfg.Seed, epoch, indices, b.x, b.labels)
		return
	}
	f.data.Fill(indices, b.x, b.labels)
}
