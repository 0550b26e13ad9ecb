package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// Hash returns the SHA-256 of the content of a file, in hexadecimal. Merged files name their inputs by it.
func Hash(path string) (string, error) {
	f, _, err := openRegular(path)
	if err != nil {
		return "", fmt.Errorf("checkpoint: hashing %q: %w", path, err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("checkpoint: hashing %q: %w", path, cause(err))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
