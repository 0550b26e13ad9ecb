package checkpoint

import (
	"errors"
	"maps"
	"slices"
)

// Metadata is the strings that a file carries beside its tensors. Some may become known only when all tensors have been loaded, as the hashes of files
// that are read meanwhile.
type Metadata struct {
	// First is what is known before; what is not has a value of the same length.
	First map[string]string
	// Late, where it is not nil, gives all of it once the last tensor is written. Keys and the lengths of values in bytes are those of First.
	Late func() (map[string]string, error)
}

// Settled is metadata that is known.
func Settled(metadata map[string]string) Metadata { return Metadata{First: metadata} }

// Settle returns the metadata when all tensors are written.
func (m Metadata) Settle() (map[string]string, error) {
	if m.Late == nil {
		return m.First, nil
	}
	final, err := m.Late()
	if err != nil {
		return nil, err
	}
	if !slices.Equal(slices.Sorted(maps.Keys(m.First)), slices.Sorted(maps.Keys(final))) {
		return nil, errors.New("metadata has changed its keys")
	}
	for key, value := range final {
		if len(value) != len(m.First[key]) {
			return nil, errors.New("metadata has changed its length")
		}
	}
	return final, nil
}
