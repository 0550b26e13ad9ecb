package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/model"
)

// writeFlags say what may be left out when a model is written, to gain time.
type writeFlags struct {
	noHash, noSync bool
}

func (f *writeFlags) register(c *cobra.Command) {
	s := c.Flags()
	s.BoolVar(&f.noHash, "no-hash", false, "do not read the inputs once more for their SHA-256, which the output then does not name; nothing tells later what it was made of")
	s.BoolVar(&f.noSync, "no-sync", false, "end when the system has the output, before the disk has it; the file still appears whole or not at all, "+
		"unless the power fails within the next minute or so")
}

// hash begins to hash the files of models, unless that is not wanted.
func (f *writeFlags) hash(ctx context.Context, models ...*model.Model) *hashing {
	if f.noHash {
		return noHashing(models...)
	}
	return newHashing(ctx, models...)
}
