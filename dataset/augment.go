package dataset

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Augmentation is a random change of the images that a network is trained on, new in every epoch. Pixels from beyond the image are black, that is 0
// before normalization.
type Augmentation string

const (
	// AugmentNone leaves images as they are; so does "".
	AugmentNone Augmentation = "none"
	// AugmentStandard pads every side by 4 pixels, crops the image's own size at a random place, and mirrors every second image: what networks
	// for CIFAR have been trained with since K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, CVPR 2016,
	// arXiv:1512.03385, section 4.2.
	AugmentStandard Augmentation = "standard"
	// AugmentPaper is what Git Re-Basin trains with (S. Ainsworth, J. Hayase, S. Srinivasa, ICLR 2023, arXiv:2209.04836, appendix A.4): the
	// image is resized by a factor from 0.8 to 1.2, its own size is cropped at a random place, mirrored with probability ½, and rotated by up to
	// 30° either way. As in the paper's code the three are one resampling, bilinear, and the logarithm of the factor is uniform. That code,
	// though, never shrinks an image, which this does.
	AugmentPaper Augmentation = "paper"
)

// The constants of the augmentations.
const (
	standardPad   = 4
	paperZoom     = 1.2 // and at least 0.8
	paperZoomLow  = .8
	paperRotation = 30 * math.Pi / 180
)

// Augmentations lists the values of [Augmentation].
func Augmentations() []string {
	return []string{string(AugmentNone), string(AugmentStandard), string(AugmentPaper)}
}

// Check is an error where a is none of the augmentations.
func (a Augmentation) Check() error {
	if a != "" && !slices.Contains(Augmentations(), string(a)) {
		return fmt.Errorf("dataset: unknown augmentation %q; there are %s", string(a), strings.Join(Augmentations(), ", "))
	}
	return nil
}

// Active tells whether a changes anything.
func (a Augmentation) Active() bool { return a != "" && a != AugmentNone }

// FillAugmented is Fill with every image changed at random. What image i becomes depends on a, seed, epoch and i alone: not on the batch that it is
// in, nor on what was filled before. It allocates nothing and is safe for concurrent use. It panics where samples are no images.
func (s *Set) FillAugmented(a Augmentation, seed uint64, epoch int, indices []int, x []float32, labels []int32) {
	if !a.Active() {
		s.Fill(indices, x, labels)
		return
	}
	if s.arrays != nil {
		panic(fmt.Sprintf("dataset: FillAugmented: %s has no images", s.name))
	}
	s.checkFill(len(indices), x, labels)
	size := s.shape[0] * s.shape[1] * s.shape[2]
	for row, i := range indices {
		at, d := s.index[i], drawsFor(seed, epoch, i)
		dst, src := x[row*size:][:size], s.pixels[at*size:][:size]
		if a == AugmentStandard {
			s.shift(dst, src, d.below(2*standardPad+1)-standardPad, d.below(2*standardPad+1)-standardPad, d.below(2) == 1)
		} else {
			s.resample(dst, src, s.paperMap(&d))
		}
		if labels != nil {
			labels[row] = s.labelAt(at)
		}
	}
}

// An AugmentedSet is a set as one epoch of a training with augmentation sees it, the same images whenever they are filled. It is safe for concurrent use.
type AugmentedSet struct {
	*Set
	augmentation Augmentation
	seed         uint64
	epoch        int
}

// Augmented is the set in one epoch of a training with augmentation and seed: what [Set.FillAugmented] fills.
func (s *Set) Augmented(a Augmentation, seed uint64, epoch int) *AugmentedSet {
	return &AugmentedSet{s, a, seed, epoch}
}

// Fill is [Set.Fill] with every image changed at random.
func (s *AugmentedSet) Fill(indices []int, x []float32, labels []int32) {
	s.FillAugmented(s.augmentation, s.seed, s.epoch, indices, x, labels)
}

// shift writes the image that has at (y, x) what src has at (y+dy, x+dx), mirrored afterwards where that is asked for.
func (s *Set) shift(dst []float32, src []uint8, dy, dx int, mirror bool) {
	h, w := s.shape[1], s.shape[2]
	lo, hi := min(max(0, -dx), w), max(min(w, w-dx), 0) // columns with a source
	for c := range s.tables {
		table := &s.tables[c]
		for y := range h {
			row := dst[(c*h+y)*w:][:w]
			from := y + dy
			if from < 0 || from >= h || lo >= hi {
				fill(row, table[0])
				continue
			}
			fill(row[:lo], table[0])
			translate(row[lo:hi], src[(c*h+from)*w+lo+dx:][:hi-lo], table)
			fill(row[hi:], table[0])
			if mirror {
				slices.Reverse(row)
			}
		}
	}
}

func fill(row []float32, v float32) {
	for i := range row {
		row[i] = v
	}
}

// An affine map takes a pixel of the result to a place in the source, both measured from the centre of their first pixel, in units of 2⁻¹⁶ pixels:
// integers, which add up to the same on every machine.
type affine struct {
	y0, x0 int // the source of pixel (0, 0)
	dyy    int // what a step down adds to y
	dyx    int // and to x
	dxy    int // what a step right adds to y
	dxx    int // and to x
}

const affineBits = 16

// paperMap draws the resampling of AugmentPaper. Seen from the result, the image is rotated first, then mirrored, then cropped and resized.
func (s *Set) paperMap(d *draws) affine {
	h, w := float64(s.shape[1]), float64(s.shape[2])
	zoom := paperZoomLow * math.Pow(paperZoom/paperZoomLow, d.unit())
	// The crop lies anywhere within the image or, where that is smaller, the image within the crop.
	cy := (2*d.unit() - 1) * math.Abs(h*zoom-h) / 2
	cx := (2*d.unit() - 1) * math.Abs(w*zoom-w) / 2
	flip := 1.
	if d.below(2) == 1 {
		flip = -1
	}
	sin, cos := math.Sincos((2*d.unit() - 1) * paperRotation)
	fixed := func(v float64) int { return int(math.RoundToEven(v / zoom * (1 << affineBits))) }
	m := affine{dyy: fixed(cos), dxy: fixed(sin), dyx: fixed(-flip * sin), dxx: fixed(flip * cos)}
	// The centre of the result is the centre of the crop.
	half := func(extent int) int { return (extent - 1) << affineBits / 2 }
	m.y0 = half(s.shape[1]) + fixed(cy) - (m.dyy*(s.shape[1]-1)+m.dxy*(s.shape[2]-1))/2
	m.x0 = half(s.shape[2]) + fixed(cx) - (m.dyx*(s.shape[1]-1)+m.dxx*(s.shape[2]-1))/2
	return m
}

// resample writes the image with each pixel taken from where m says, bilinear between the four pixels there.
func (s *Set) resample(dst []float32, src []uint8, m affine) {
	h, w := s.shape[1], s.shape[2]
	for y := range h {
		sy, sx := m.y0+y*m.dyy, m.x0+y*m.dyx
		for x := range w {
			iy, ix := sy>>affineBits, sx>>affineBits
			fy, fx := weight(sy), weight(sx)
			sy, sx = sy+m.dxy, sx+m.dxx
			at := y*w + x
			if iy >= 0 && ix >= 0 && iy < h-1 && ix < w-1 {
				for c := range s.tables {
					p := src[c*h*w+iy*w+ix:]
					q := p[w : w+2]
					dst[c*h*w+at] = s.between(c, fy, fx, p[0], p[1], q[0], q[1])
				}
				continue
			}
			for c := range s.tables {
				plane := src[c*h*w:][:h*w]
				dst[c*h*w+at] = s.between(c, fy, fx, pixel(plane, h, w, iy, ix), pixel(plane, h, w, iy, ix+1),
					pixel(plane, h, w, iy+1, ix), pixel(plane, h, w, iy+1, ix+1))
			}
		}
	}
}

// weight is how far a place is beyond the pixel before it, in units of 2⁻⁸.
func weight(at int) int { return at >> (affineBits - 8) & 0xff }

// pixel is black beyond the image.
func pixel(plane []uint8, h, w, y, x int) uint8 {
	if y < 0 || x < 0 || y >= h || x >= w {
		return 0
	}
	return plane[y*w+x]
}

// between is the float of the mean of four pixels, two above and two below, at weights fy and fx of 2⁻⁸.
func (s *Set) between(c, fy, fx int, above0, above1, below0, below1 uint8) float32 {
	above := int(above0)<<8 + (int(above1)-int(above0))*fx
	below := int(below0)<<8 + (int(below1)-int(below0))*fx
	v := above<<8 + (below-above)*fy
	line := &s.lines[c]
	return float32(float32(v)*line.scale) + line.offset
}

// draws is a stream of random numbers: SplitMix64 (G. Steele, D. Lea, C. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014,
// doi:10.1145/2660193.2660195), which costs nothing to begin, as every image does.
type draws uint64

// drawsFor begins the stream of one image in one epoch.
func drawsFor(seed uint64, epoch, index int) draws {
	d := draws(seed)
	for _, part := range []uint64{uint64(epoch), uint64(index)} {
		d = draws(d.next() ^ part)
	}
	return draws(d.next())
}

func (d *draws) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// unit is uniform in [0, 1).
func (d *draws) unit() float64 { return float64(d.next()>>11) / (1 << 53) }

// below is uniform in 0..n-1; n is small, and the bias of n/2⁶⁴ with it.
func (d *draws) below(n int) int { return int(d.next() % uint64(n)) }
