package merge

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/tensor"
)

// partBytes is how much of each input is read, combined and written at a time: a part of both stays in the second-level cache. It is a multiple of the
// size of every element.
const partBytes = 256 << 10

// streams says that a tensor can be merged part by part, if the sources give its sections.
func (p *Plan) streams(s Step) bool {
	return s.Action == ActionCombine && p.Method == Lerp && p.Repaired[s.Name] == nil && len(p.Sources) == 2 &&
		p.Sources[0].OpenSection != nil && p.Sources[1].OpenSection != nil
}

// inSections says whether all sources give a tensor in parts.
func (p *Plan) inSections(name string) (bool, error) {
	for i := range p.Sources {
		section, err := p.Sources[i].OpenSection(name)
		if err != nil || section == nil {
			return false, err
		}
		if err := section.Close(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// partsMemory is what workers hold of a tensor of so many bytes.
func (p *Plan) partsMemory(size int64) int64 {
	return int64(p.workers(partsOf(size))) * 2 * min(size, partBytes)
}

// workers is how many merge a tensor of so many parts.
func (p *Plan) workers(parts int) int {
	threads := p.Threads
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	return min(threads, parts)
}

func partsOf(size int64) int { return int((size + partBytes - 1) / partBytes) }

// stream merges one tensor part by part into w, until the context ends it.
func (p *Plan) stream(ctx context.Context, s Step, w io.Writer) (err error) {
	st := &stream{ctx: ctx, plan: p, step: s}
	for i := range p.Sources {
		section, err := p.Sources[i].OpenSection(s.Name)
		if err != nil {
			return errors.Join(err, st.close())
		}
		if section == nil {
			return errors.Join(p.writeWhole(s, w), st.close())
		}
		st.inputs[i] = section
	}
	elements, err := s.Shape.Elements()
	if err != nil {
		return errors.Join(err, st.close())
	}
	st.bytes = int64(elements) * int64(s.DType.Size())
	return errors.Join(st.run(w), st.close())
}

// writeWhole merges a tensor of which a source gives no section.
func (p *Plan) writeWhole(s Step, w io.Writer) error {
	t, err := p.load(s.Name)
	if err == nil {
		_, err = w.Write(t.Bytes())
	}
	return err
}

// stream is one tensor under way.
type stream struct {
	ctx    context.Context
	plan   *Plan
	step   Step
	inputs [2]checkpoint.Section
	bytes  int64
}

func (s *stream) close() error {
	var errs []error
	for _, in := range s.inputs {
		if in != nil {
			errs = append(errs, in.Close())
		}
	}
	return errors.Join(errs...)
}

// worker has memory for one part.
type worker struct {
	memory [2]*tensor.Tensor // bytes of the inputs; the first becomes the result
}

// run merges by as many goroutines as there are threads where the parts can be written in any order. Whatever their number, the parts are the same.
func (s *stream) run(w io.Writer) error {
	parts := partsOf(s.bytes)
	if count := s.plan.workers(parts); count > 1 {
		if p, ok := w.(checkpoint.Placer); ok {
			to, err := p.Place(s.bytes)
			if !errors.Is(err, errors.ErrUnsupported) {
				if err == nil {
					err = s.parallel(to, count, parts)
				}
				return err
			}
		}
	}
	return s.serial(parts, w)
}

// parallel has workers take one part after the other. When one fails no other is begun, and those before it are finished, so that the first part that
// fails is the one that is reported, whoever is quicker.
func (s *stream) parallel(to io.WriterAt, count, parts int) error {
	var (
		group   sync.WaitGroup
		next    atomic.Int64
		mu      sync.Mutex
		failed  = parts
		failure error
	)
	for range count {
		group.Go(func() {
			k := s.newWorker()
			for part := int(next.Add(1) - 1); part < parts; part = int(next.Add(1) - 1) {
				bytes, err := k.combine(s, part)
				if err == nil {
					_, err = to.WriteAt(bytes, int64(part)*partBytes)
				}
				if err == nil {
					continue
				}
				next.Store(int64(parts))
				mu.Lock()
				if part < failed {
					failed, failure = part, err
				}
				mu.Unlock()
				return
			}
		})
	}
	group.Wait()
	return failure
}

func (s *stream) serial(parts int, w io.Writer) error {
	k := s.newWorker()
	for part := range parts {
		bytes, err := k.combine(s, part)
		if err != nil {
			return err
		}
		if _, err := w.Write(bytes); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) newWorker() *worker {
	k := &worker{}
	for i := range k.memory {
		k.memory[i] = tensor.New(tensor.U8, tensor.Shape{int(min(s.bytes, partBytes))})
	}
	return k
}

// combine reads a part of both inputs, checks that all values are finite, and returns the part of the result.
func (k *worker) combine(s *stream, part int) ([]byte, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	at := int64(part) * partBytes
	n := int(min(partBytes, s.bytes-at))
	size := s.step.DType.Size()
	var x [2]*tensor.Tensor
	for i, in := range s.inputs {
		b := k.memory[i].Bytes()[:n]
		if _, err := in.ReadAt(b, at); err != nil {
			return nil, err
		}
		var err error
		if x[i], err = tensor.FromBytes(s.step.DType, tensor.Shape{n / size}, b); err != nil {
			return nil, err
		}
	}
	e, source, found := between(x[0], x[1], s.plan.Weights[1])
	switch {
	case found:
		return nil, &NotFiniteError{s.plan.Sources[source].Name, s.step.Name, int(at)/size + e}
	case s.plan.Weights[1] == 1:
		return x[1].Bytes(), nil
	}
	return x[0].Bytes(), nil
}

// between stores the point at lambda in a, unless it is b itself. If one of them has a value that is not finite, the first in a, or else in b, is returned.
func between(a, b *tensor.Tensor, lambda float64) (element, source int, found bool) {
	done := 0
	if lambda != 0 && lambda != 1 {
		if done = straightFinite(a, b, lambda); done == a.Len() {
			return 0, 0, false
		}
	}
	restA, restB := a.From(done), b.From(done)
	for i, x := range []*tensor.Tensor{restA, restB} {
		if e, found := x.NonFinite(); found {
			return done + e, i, true
		}
	}
	if lambda != 0 && lambda != 1 {
		straight(restA, restA, restB, lambda)
	}
	return 0, 0, false
}

// straightFinite is straight into a, while values of half precision are finite, and returns for how many elements; for other dtypes for none.
func straightFinite(a, b *tensor.Tensor, lambda float64) int {
	switch a.DType() {
	case tensor.F16:
		return kernel.LerpF16(tensor.Halves(a), tensor.Halves(a), tensor.Halves(b), float32(lambda))
	case tensor.BF16:
		return kernel.LerpBF16(tensor.Halves(a), tensor.Halves(a), tensor.Halves(b), float32(lambda))
	}
	return 0
}
