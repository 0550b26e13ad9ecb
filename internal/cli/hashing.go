package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/model"
)

// unknownHash stands where a hash is to be.
var unknownHash = strings.Repeat("0", 2*sha256.Size)

// hashing is the SHA-256 of models, each of its files one after the other, under way while other work is done.
type hashing struct {
	models []*model.Model
	group  sync.WaitGroup
	cancel context.CancelFunc
	sums   []string
	errs   []error
}

// newHashing begins to read the models' files. Either wait or stop ends it.
func newHashing(ctx context.Context, models ...*model.Model) *hashing {
	ctx, cancel := context.WithCancel(ctx)
	h := &hashing{models: models, cancel: cancel, sums: make([]string, len(models)), errs: make([]error, len(models))}
	for i, m := range models {
		h.group.Go(func() { h.sums[i], h.errs[i] = checkpoint.HashContext(ctx, m.Files()...) })
	}
	return h
}

// noHashing is of models whose hashes nobody wants: it waits for nothing, and returns none.
func noHashing(models ...*model.Model) *hashing { return &hashing{models: models, cancel: func() {}} }

// wait returns the hashes, once all has been read that is going to be. An error says that a file has been changed since its model was opened: then the
// hash could be that of other content than was read.
func (h *hashing) wait() ([]string, error) {
	h.group.Wait()
	h.cancel()
	if err := errors.Join(h.errs...); err != nil {
		return nil, err
	}
	for _, m := range h.models {
		if err := m.Unchanged(); err != nil {
			return nil, err
		}
	}
	return h.sums, nil
}

// stop ends what is not done.
func (h *hashing) stop() {
	h.cancel()
	h.group.Wait()
}
