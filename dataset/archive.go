package dataset

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
)

// readTar returns the content of the regular files of a tar, gzipped or not, whose names, without folders, are wanted. All together may have at most
// limit bytes; nothing is allocated by what a header claims.
func readTar(ctx context.Context, r io.Reader, limit int, wanted func(name string) bool) (map[string][]byte, error) {
	plain := bufio.NewReaderSize(r, 1<<16)
	var content io.Reader = plain
	if magic, err := plain.Peek(2); err == nil && isGzip(magic) {
		z, err := gzip.NewReader(plain)
		if err != nil {
			return nil, fmt.Errorf("gzip header: %w", err)
		}
		content = z
	}
	const rest = 16 << 20 // for headers and the small files beside those wanted
	archive := tar.NewReader(io.LimitReader(content, int64(limit)+rest))
	files, left := map[string][]byte{}, limit
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("tar: %w", err)
		}
		name := path.Base(header.Name)
		if header.Typeflag != tar.TypeReg || !wanted(name) {
			continue
		}
		if _, ok := files[name]; ok {
			return nil, fmt.Errorf("tar: %q is there twice", name)
		}
		if header.Size > int64(left) {
			return nil, fmt.Errorf("tar: %q is too long: it has %d bytes, all files may have %d", name, header.Size, limit)
		}
		if files[name], err = io.ReadAll(archive); err != nil {
			return nil, fmt.Errorf("tar: %q: %w", name, err)
		}
		left -= len(files[name])
	}
}
