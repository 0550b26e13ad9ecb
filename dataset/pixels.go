package dataset

import (
	"image"
	"image/color"
)

// planes writes an image as one plane for each channel: red, green and blue, or their luma alone. Transparency is left out.
func planes(dst []uint8, m image.Image, shape imageShape) {
	plane := shape.height * shape.width
	at := colourReader(m)
	b := m.Bounds()
	for y := range shape.height {
		for x := range shape.width {
			red, green, blue := at(b.Min.X+x, b.Min.Y+y)
			i := y*shape.width + x
			if shape.channels == 1 {
				dst[i] = luma(red, green, blue)
				continue
			}
			dst[i], dst[plane+i], dst[2*plane+i] = red, green, blue
		}
	}
}

// luma is the brightness of a colour as ITU-R BT.601 weighs it, with the weights and the rounding that image libraries share: (19595 R + 38470 G +
// 7471 B) / 2¹⁶. That of a grey is the grey itself.
func luma(red, green, blue uint8) uint8 {
	return uint8((19595*uint32(red) + 38470*uint32(green) + 7471*uint32(blue) + 1<<15) >> 16)
}

// colourReader returns what reads a pixel of the image, fast for the kinds that PNG and JPEG give.
func colourReader(m image.Image) func(x, y int) (red, green, blue uint8) {
	switch m := m.(type) {
	case *image.YCbCr:
		return func(x, y int) (uint8, uint8, uint8) {
			luma, chroma := m.YOffset(x, y), m.COffset(x, y)
			return color.YCbCrToRGB(m.Y[luma], m.Cb[chroma], m.Cr[chroma])
		}
	case *image.Gray:
		return func(x, y int) (uint8, uint8, uint8) {
			v := m.Pix[m.PixOffset(x, y)]
			return v, v, v
		}
	case *image.RGBA:
		// The PNG reader gives this for images without transparency.
		if m.Opaque() {
			return func(x, y int) (uint8, uint8, uint8) {
				p := m.Pix[m.PixOffset(x, y):]
				return p[0], p[1], p[2]
			}
		}
	case *image.NRGBA:
		return func(x, y int) (uint8, uint8, uint8) {
			p := m.Pix[m.PixOffset(x, y):]
			return p[0], p[1], p[2]
		}
	}
	return func(x, y int) (uint8, uint8, uint8) {
		c, _ := color.NRGBAModel.Convert(m.At(x, y)).(color.NRGBA)
		return c.R, c.G, c.B
	}
}
