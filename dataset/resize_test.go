package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// What Pillow 9.4 makes, with Image.resize(size, Image.BILINEAR), of the grey image of 5 columns and 4 rows with (37y² + 91x + 13xy) mod 256 at (y, x).
func TestResizeAsPillow(t *testing.T) {
	src := make([]uint8, 20)
	for i := range src {
		y, x := i/5, i%5
		src[i] = uint8(37*y*y + 91*x + 13*x*y)
	}
	for _, tt := range []struct {
		width, height int
		want          []uint8
	}{
		{8, 7, []uint8{
			0, 40, 97, 154, 130, 27, 68, 108, 13, 55, 115, 175, 154, 54, 98, 140, 34, 80, 144, 209, 193, 98, 146, 191, 93, 85, 82, 151, 181, 170,
			159, 151, 143, 90, 29, 91, 160, 234, 163, 103, 102, 117, 134, 109, 137, 215, 149, 92, 77, 134, 199, 120, 122, 203, 140, 85,
		}},
		{3, 2, []uint8{64, 152, 118, 106, 140, 152}},
		{5, 9, []uint8{
			0, 91, 182, 17, 108, 6, 99, 193, 30, 123, 23, 122, 221, 63, 162, 43, 134, 238, 101, 192, 93, 75, 186, 168, 151, 142, 16, 133, 235, 109,
			120, 86, 109, 231, 97, 89, 174, 89, 216, 88, 77, 207, 81, 211, 85,
		}},
		{2, 6, []uint8{79, 87, 104, 125, 122, 163, 97, 162, 114, 152, 137, 141}},
	} {
		got := make([]uint8, tt.width*tt.height)
		newResizer(4, 5, tt.height, tt.width).planes(got, src, 1, new([]uint8))
		if !slices.Equal(got, tt.want) {
			t.Errorf("%dx%d: %v, want %v", tt.width, tt.height, got, tt.want)
		}
	}
	got := make([]uint8, 32*32)
	newResizer(4, 5, 32, 32).planes(got, src, 1, new([]uint8))
	sum := sha256.Sum256(got)
	if digest := hex.EncodeToString(sum[:]); digest != "6236c03c216f7c5ae7fae1d59776901e5b59de70ce2684b03b694f95d5ea2291" {
		t.Errorf("32x32: SHA-256 %s", digest)
	}
}

// A plane of one value stays one, whatever the sizes; the own size changes nothing.
func TestResizeKeeps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.IntRange(1, 40)
		h, w, toH, toW := side.Draw(t, "h"), side.Draw(t, "w"), side.Draw(t, "to h"), side.Draw(t, "to w")
		v := rapid.Byte().Draw(t, "value")
		got := make([]uint8, 2*toH*toW)
		newResizer(h, w, toH, toW).planes(got, slices.Repeat([]uint8{v}, 2*h*w), 2, new([]uint8))
		if slices.Min(got) != v || slices.Max(got) != v {
			t.Fatalf("%dx%d of %d to %dx%d is %v", h, w, v, toH, toW, got)
		}
		src := make([]uint8, h*w)
		for i := range src {
			src[i] = rapid.Byte().Draw(t, "pixel")
		}
		same := make([]uint8, h*w)
		newResizer(h, w, h, w).planes(same, src, 1, new([]uint8))
		if !slices.Equal(same, src) {
			t.Fatalf("%dx%d to its own size: %v of %v", h, w, same, src)
		}
	})
}

// A set of any kind is brought to a size and to channels.
func TestReshaped(t *testing.T) {
	set := noise(t, 6, 1, 4, 5)
	for _, opt := range []Options{{Resize: 7}, {Channels: 3}, {Resize: 3, Channels: 3}, {Channels: 1}, {}} {
		got, err := reshaped("noise", set.imageShape(), set.pixels, set.labels, set.classNames, opt)
		if err != nil {
			t.Fatal(err)
		}
		h, w, channels := 4, 5, max(opt.Channels, 1)
		if opt.Resize > 0 {
			h, w = opt.Resize, opt.Resize
		}
		if want := []int{channels, h, w}; !slices.Equal(got.Shape(), want) || got.Len() != 6 || got.Label(4) != 1 {
			t.Fatalf("%+v: %d images of %v", opt, got.Len(), got.Shape())
		}
		for i := range 6 {
			want := make([]uint8, h*w)
			newResizer(4, 5, h, w).planes(want, set.pixels[i*20:][:20], 1, new([]uint8))
			for c := range channels {
				if plane := got.pixels[(i*channels+c)*h*w:][:h*w]; !slices.Equal(plane, want) {
					t.Errorf("%+v: plane %d of image %d is %v, want %v", opt, c, i, plane, want)
				}
			}
		}
	}
	if _, err := reshaped("noise", set.imageShape(), set.pixels, make([]int32, 1<<20), set.classNames, Options{Resize: maxSide}); err == nil {
		t.Error("no error")
	} else if want := fmt.Sprintf("dataset: noise: %d images of 1x%dx%d are more than 8 GiB", 1<<20, maxSide, maxSide); err.Error() != want {
		t.Errorf("error %v, want %v", err, want)
	}
	coloured := noise(t, 2, 3, 2, 2)
	grey, err := reshaped("noise", coloured.imageShape(), coloured.pixels, coloured.labels, coloured.classNames, Options{Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		p := coloured.pixels[i/4*12+i%4:]
		if want := luma(p[0], p[4], p[8]); grey.pixels[i] != want {
			t.Errorf("grey of (%d, %d, %d) is %d, want %d", p[0], p[4], p[8], grey.pixels[i], want)
		}
	}
}
