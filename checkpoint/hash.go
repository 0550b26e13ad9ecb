package checkpoint

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
)

// Hash returns the SHA-256 of the content of a file, in hexadecimal, or of several one after the other; of an index of shards it is that of the index
// and all shards in the order of their names, one after the other. Merged files name their inputs by it.
func Hash(paths ...string) (string, error) { return HashContext(context.Background(), paths...) }

// HashContext is [Hash], which the context ends.
func HashContext(ctx context.Context, paths ...string) (string, error) {
	h := sha256.New()
	for _, path := range paths {
		if err := hashFile(ctx, h, path); err != nil {
			return "", fmt.Errorf("checkpoint: hashing %q: %w", path, err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashFile(ctx context.Context, to io.Writer, path string) error {
	f, info, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	start := make([]byte, min(info.Size(), prefixSize+1))
	if err := readFull(f, start, 0); err != nil {
		return err
	}
	if err := copyAll(ctx, to, f); err != nil { // reading the start has not moved it
		return err
	}
	if !isIndex(start) {
		return nil
	}
	index, err := readIndex(opened(path, f, info))
	if err != nil {
		return nil // a text that only begins like an index
	}
	for _, name := range index.files() {
		if err := hashShard(ctx, to, filepath.Join(filepath.Dir(path), name)); err != nil {
			return fmt.Errorf("shard %s: %w", quote(name), err)
		}
	}
	return nil
}

// hashShard does not follow an index to another.
func hashShard(ctx context.Context, to io.Writer, path string) error {
	f, _, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return copyAll(ctx, to, f)
}

// hashBlock is read at a time: it stays in the second-level cache until it is hashed.
const hashBlock = 256 << 10

func copyAll(ctx context.Context, to io.Writer, f io.Reader) error {
	block := make([]byte, hashBlock)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.Read(block)
		if _, err := to.Write(block[:n]); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return cause(err)
		}
	}
}
