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
	group  sync.WaitGroup
	cancel context.CancelFunc
	sums   []string
	errs   []error
}

// newHashing begins to read the models' files. Either wait or stop ends it.
func newHashing(ctx context.Context, models ...*model.Model) *hashing {
	ctx, cancel := context.WithCancel(ctx)
	h := &hashing{cancel: cancel, sums: make([]string, len(models)), errs: make([]error, len(models))}
	for i, m := range models {
		h.group.Go(func() { h.sums[i], h.errs[i] = checkpoint.HashContext(ctx, m.Files()...) })
	}
	return h
}

// wait returns the hashes.
func (h *hashing) wait() ([]string, error) {
	h.group.Wait()
	h.cancel()
	return h.sums, errors.Join(h.errs...)
}

// stop ends what is not done.
func (h *hashing) stop() {
	h.cancel()
	h.group.Wait()
}
