package dataset

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestParseIDX(t *testing.T) {
	got, err := parseIDX(idxBytes([]byte("abcdef"), 1, 2, 3))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Dims, []int{1, 2, 3}) || string(got.Data) != "abcdef" {
		t.Errorf("got %v %q", got.Dims, got.Data)
	}
}

func TestParseIDXRefuses(t *testing.T) {
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "needs 4 bytes, file has 0"},
		{"text", []byte("<!DOCTYPE html>"), "not an idx file"},
		{"floats", []byte{0, 0, 0x0d, 1, 0, 0, 0, 0}, "element type is 0x0d"},
		{"no axes", []byte{0, 0, 8, 0, 1}, "has 0 axes"},
		{"many axes", []byte{0, 0, 8, 255}, "has 255 axes"},
		{"header cut", []byte{0, 0, 8, 3, 0, 0, 0, 1}, "needs 16 bytes, file has 8"},
		{"data cut", idxBytes([]byte("abcde"), 2, 3), "[2 3] do not fit the 5 bytes"},
		{"data beyond", idxBytes([]byte("abcdefg"), 2, 3), "do not fit the 7 bytes"},
		{"huge", idxBytes([]byte("abc"), 1<<32-1, 1<<32-1, 1<<32-1), "do not fit the 3 bytes"},
		// 2^32-1 squared, times 2 and plus something, wraps around in 64 bits; 2^31 * 2^31 * 4 is 0 modulo 2^64.
		{"wraps to zero", idxBytes(nil, 1<<31, 1<<31, 4), "do not fit the 0 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseIDX(tt.file)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestInflate(t *testing.T) {
	content := bytes.Repeat([]byte("pixels"), 100)
	packed := gzipped(t, content)
	badSum := bytes.Clone(packed)
	badSum[len(badSum)-8] ^= 1
	for _, stored := range [][]byte{content, packed} {
		if got, err := inflate(stored, len(content)); err != nil || !bytes.Equal(got, content) {
			t.Errorf("inflate of %d bytes: %d bytes, %v", len(stored), len(got), err)
		}
	}
	tests := []struct {
		name   string
		stored []byte
		size   int
		want   string
	}{
		{"plain short", content[:599], 600, "ends early: 599 bytes of 600"},
		{"plain long", content, 599, "too long"},
		{"gzip header cut", packed[:5], 600, "gzip header"},
		{"gzip cut", packed[:len(packed)-9], 600, "ends early"},
		{"gzip trailer cut", packed[:len(packed)-4], 600, "the end of the gzip stream is missing"},
		{"gzip short", packed, 601, "ends early: 600 decompressed bytes of 601"},
		{"gzip long", packed, 599, "too long: more than 599"},
		{"gzip sum", badSum, 600, "checksum"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := inflate(tt.stored, tt.size)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

// FuzzIDX feeds hostile files to the decompressor and the parser: whatever they accept, they accept whole.
func FuzzIDX(f *testing.F) {
	f.Add(idxBytes([]byte("abcdef"), 1, 2, 3))
	f.Add(gzipped(f, idxBytes([]byte("abcdef"), 6)))
	f.Fuzz(func(t *testing.T, b []byte) {
		const size = 64
		if content, err := inflate(b, size); err == nil {
			if len(content) != size {
				t.Fatalf("inflate returned %d bytes, want %d", len(content), size)
			}
			b = content
		}
		array, err := parseIDX(b)
		if err != nil {
			return
		}
		dims := make([]uint32, len(array.Dims))
		product := 1
		for i, d := range array.Dims {
			dims[i] = uint32(d)
			product *= d
		}
		if product != len(array.Data) {
			t.Fatalf("extents %v of %d bytes", array.Dims, len(array.Data))
		}
		if again := idxBytes(array.Data, dims...); !bytes.Equal(again, b) {
			t.Fatalf("%x reads as %x", b, again)
		}
	})
}
