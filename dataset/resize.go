package dataset

import (
	"fmt"
	"image"
	"math"
	"slices"
	"sync"
)

// reshaped makes a set of images that are brought to the size and the channels that opt asks for.
func reshaped(name string, from imageShape, pixels []uint8, labels []int32, classNames []string, opt Options) (*Set, error) {
	to := shapeOf(image.Config{Height: from.height, Width: from.width}, opt)
	if opt.Channels == 0 {
		to.channels = from.channels
	}
	if to == from {
		return newSet(name, from, pixels, labels, classNames, opt.Normalize)
	}
	if to.size() > maxSetBytes/max(len(labels), 1) {
		return nil, fmt.Errorf("dataset: %s: %d images of %dx%dx%d are more than %d GiB", name, len(labels), to.channels, to.height, to.width, maxSetBytes>>30)
	}
	resize := newResizer(from.height, from.width, to.height, to.width)
	out := make([]uint8, len(labels)*to.size())
	scratch := sync.Pool{New: func() any { return new([]uint8) }}
	each(len(labels), func(i int) bool {
		own, dst := pixels[i*from.size():][:from.size()], out[i*to.size():][:to.size()]
		if to.channels < from.channels {
			own = brightness(own)
		}
		channels := min(from.channels, to.channels)
		rows := scratch.Get().(*[]uint8)
		resize.planes(dst, own, channels, rows)
		scratch.Put(rows)
		for filled := channels * to.height * to.width; filled < len(dst); { // grey is repeated
			filled += copy(dst[filled:], dst[:filled])
		}
		return true
	})
	return newSet(name, to, out, labels, classNames, opt.Normalize)
}

// brightness makes one plane of three.
func brightness(pixels []uint8) []uint8 {
	plane := len(pixels) / 3
	grey := make([]uint8, plane)
	for i := range grey {
		grey[i] = luma(pixels[i], pixels[plane+i], pixels[2*plane+i])
	}
	return grey
}

// resizeBits is the precision of weights: sums of 255 times weights that add up to one stay within 31 bits.
const resizeBits = 22

// A resizer brings images of one size to another, bilinear: a pixel of the result is the mean of the source's under a triangle about its place,
// which is as wide as two pixels of the coarser of the two images, so that shrinking leaves nothing out. Rows are resized before columns, and rounded
// to whole values between: integers throughout, the same on every machine.
type resizer struct {
	height, width        int // of the source
	toHeight, toWidth    int
	vertical, horizontal []taps
}

// taps are the weights, in units of 2⁻²², of source pixels from first on.
type taps struct {
	first   int
	weights []int32
}

func newResizer(height, width, toHeight, toWidth int) *resizer {
	return &resizer{height, width, toHeight, toWidth, tapsFor(height, toHeight), tapsFor(width, toWidth)}
}

// tapsFor computes the weights of n source pixels for each of m.
func tapsFor(n, m int) []taps {
	scale := float64(n) / float64(m)
	radius := max(scale, 1)
	all := make([]taps, m)
	for i := range all {
		centre := (float64(i) + .5) * scale
		lo, hi := max(int(centre-radius+.5), 0), min(int(centre+radius+.5), n)
		raw, sum := make([]float64, hi-lo), 0.
		for k := range raw {
			raw[k] = max(1-math.Abs((float64(lo+k)-centre+.5)/radius), 0)
			sum += raw[k]
		}
		weights := make([]int32, len(raw))
		for k, v := range raw {
			weights[k] = int32(v/sum*(1<<resizeBits) + .5)
		}
		all[i] = taps{lo, weights}
	}
	return all
}

// planes resizes each plane of an image. Scratch is memory between the two passes, and grows to what that takes.
func (r *resizer) planes(dst, src []uint8, channels int, scratch *[]uint8) {
	rows := slices.Grow((*scratch)[:0], r.height*r.toWidth)[:r.height*r.toWidth]
	*scratch = rows
	for c := range channels {
		from, to := src[c*r.height*r.width:], dst[c*r.toHeight*r.toWidth:]
		for y := range r.height {
			for x, t := range r.horizontal {
				rows[y*r.toWidth+x] = t.mean(from[y*r.width+t.first:], 1)
			}
		}
		for y, t := range r.vertical {
			for x := range r.toWidth {
				to[y*r.toWidth+x] = t.mean(rows[t.first*r.toWidth+x:], r.toWidth)
			}
		}
	}
}

// mean is the weighted mean of values that stand stride apart.
func (t taps) mean(values []uint8, stride int) uint8 {
	sum := int32(1 << (resizeBits - 1))
	for k, w := range t.weights {
		sum += int32(values[k*stride]) * w
	}
	return uint8(min(max(sum>>resizeBits, 0), 255))
}
