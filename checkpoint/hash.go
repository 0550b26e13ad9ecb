package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
)

// Hash returns the SHA-256 of the content of a file, in hexadecimal, or of several one after the other; of an index of shards it is that of the index
// and all shards in the order of their names, one after the other. Merged files name their inputs by it.
func Hash(paths ...string) (string, error) {
	h := sha256.New()
	for _, path := range paths {
		if err := hashFile(h, path); err != nil {
			return "", fmt.Errorf("checkpoint: hashing %q: %w", path, err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashFile(to io.Writer, path string) error {
	f, size, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	start := make([]byte, min(size, prefixSize+1))
	if err := readFull(f, start, 0); err != nil {
		return err
	}
	if _, err := io.Copy(to, f); err != nil { // reading the start has not moved it
		return cause(err)
	}
	if !isIndex(start) {
		return nil
	}
	index, err := readIndex(source{name: path, file: f, size: size})
	if err != nil {
		return nil // a text that only begins like an index
	}
	for _, name := range index.files() {
		if err := hashShard(to, filepath.Join(filepath.Dir(path), name)); err != nil {
			return fmt.Errorf("shard %s: %w", quote(name), err)
		}
	}
	return nil
}

// hashShard does not follow an index to another.
func hashShard(to io.Writer, path string) error {
	f, _, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(to, f)
	return cause(err)
}
