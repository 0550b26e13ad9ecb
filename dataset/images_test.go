package dataset

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// A picture is a file of an image archive.
type picture struct {
	name    string
	content []byte
}

// flat is a PNG of one colour.
func flat(t testing.TB, width, height int, c color.Color) []byte {
	t.Helper()
	m := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		m.Set(i%width, i/width, c)
	}
	return encoded(t, m)
}

func encoded(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var (
	red   = color.NRGBA{R: 255, A: 255}
	green = color.NRGBA{G: 255, A: 255}
	blue  = color.NRGBA{B: 255, A: 255}
)

// pets is a sound archive: two classes, three images to train on and two to test with, and what systems leave beside them.
func pets(t testing.TB) []picture {
	return []picture{
		{"train/dog/b.png", flat(t, 4, 3, green)},
		{"train/dog/a.PNG", flat(t, 4, 3, blue)},
		{"train/cat/0.png", flat(t, 4, 3, red)},
		{"test/dog/0.png", flat(t, 4, 3, green)},
		{"test/cat/0.png", flat(t, 4, 3, red)},
		{"train/cat/notes.txt", []byte("purr")},
		{"train/cat/._0.png", []byte("a resource fork")},
		{"train/.thumbnails/x.png", []byte("hidden")},
		{"README.md", []byte("pets")},
	}
}

func zipped(t testing.TB, pictures []picture) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, p := range pictures {
		w, err := z.Create(p.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(p.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// inZip and inFolder write pictures to a new place and return it.
func inZip(t testing.TB, pictures []picture) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "pets.zip")
	writeFile(t, at, zipped(t, pictures))
	return at
}

func inFolder(t testing.TB, pictures []picture) string {
	t.Helper()
	at := t.TempDir()
	for _, p := range pictures {
		if strings.HasSuffix(p.name, "/") {
			if err := os.MkdirAll(filepath.Join(at, p.name), 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		writeFile(t, filepath.Join(at, filepath.FromSlash(p.name)), p.content)
	}
	return at
}

// content is all pixels, unscaled, and all labels of a set.
func content(s *Set) (pixels []uint8, labels []int) {
	for i := range s.Len() {
		size := s.imageShape().size()
		pixels = append(pixels, s.pixels[s.index[i]*size:][:size]...)
		labels = append(labels, s.Label(i))
	}
	return pixels, labels
}

// Folder and zip, with or without one more folder around them, are the same set: classes by their names, images by class and name.
func TestImages(t *testing.T) {
	wrapped := pets(t)
	for i := range wrapped {
		wrapped[i].name = "pets-1.0/" + wrapped[i].name
	}
	for name, at := range map[string]string{"folder": inFolder(t, pets(t)), "zip": inZip(t, pets(t)), "wrapped": inZip(t, wrapped)} {
		set, err := Open(context.Background(), at, Train, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if set.Name() != at || !slices.Equal(set.Shape(), []int{3, 3, 4}) || !slices.Equal(set.ClassNames(), []string{"cat", "dog"}) {
			t.Errorf("%s: %q of %v with %q", name, set.Name(), set.Shape(), set.ClassNames())
		}
		pixels, labels := content(set)
		if !slices.Equal(labels, []int{0, 1, 1}) {
			t.Errorf("%s: labels %v", name, labels)
		}
		want := slices.Concat(slices.Repeat([]uint8{255}, 12), make([]uint8, 24), // red
			make([]uint8, 24), slices.Repeat([]uint8{255}, 12), // blue
			make([]uint8, 12), slices.Repeat([]uint8{255}, 12), make([]uint8, 12)) // green
		if !slices.Equal(pixels, want) {
			t.Errorf("%s: pixels %v", name, pixels)
		}
		test, err := Open(context.Background(), at, Test, Options{Channels: 1, Resize: 2})
		if err != nil {
			t.Fatal(err)
		}
		pixels, labels = content(test)
		if !slices.Equal(labels, []int{0, 1}) || !slices.Equal(pixels, []uint8{76, 76, 76, 76, 150, 150, 150, 150}) {
			t.Errorf("%s: small and grey, %v of classes %v", name, pixels, labels)
		}
	}
}

// Every kind of image that the decoders give reads as its colours do.
func TestColours(t *testing.T) {
	box := image.Rect(0, 0, 5, 4)
	colourOf := func(x, y int) color.NRGBA { return color.NRGBA{uint8(50 * x), uint8(60 * y), uint8(20*x + 30*y), 255} }
	paint := func(m interface{ Set(int, int, color.Color) }) {
		for y := range 4 {
			for x := range 5 {
				m.Set(x, y, colourOf(x, y))
			}
		}
	}
	nrgba, rgba, deep := image.NewNRGBA(box), image.NewRGBA(box), image.NewNRGBA64(box)
	grey, palette := image.NewGray(box), image.NewPaletted(box, color.Palette{red, green, blue, color.White})
	clear := image.NewNRGBA(box)
	for _, m := range []interface{ Set(int, int, color.Color) }{nrgba, rgba, deep, grey, palette} {
		paint(m)
	}
	for y := range 4 {
		for x := range 5 {
			c := colourOf(x, y)
			c.A = 100
			clear.Set(x, y, c)
		}
	}
	for name, m := range map[string]image.Image{
		"NRGBA": nrgba, "RGBA": rgba, "NRGBA64": deep, "Gray": grey, "Paletted": palette, "transparent": clear,
		"cut": nrgba.SubImage(image.Rect(1, 1, 5, 4)),
	} {
		b := m.Bounds()
		shape := imageShape{3, b.Dy(), b.Dx()}
		pixels, brightness := make([]uint8, shape.size()), make([]uint8, shape.size()/3)
		planes(pixels, m, shape)
		planes(brightness, m, imageShape{1, b.Dy(), b.Dx()})
		for y := range shape.height {
			for x := range shape.width {
				c, _ := color.NRGBAModel.Convert(m.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA)
				i, plane := y*shape.width+x, shape.height*shape.width
				if got := (color.NRGBA{pixels[i], pixels[plane+i], pixels[2*plane+i], c.A}); got != c {
					t.Errorf("%s: pixel (%d, %d) is %v, want %v", name, x, y, got, c)
				}
				if got := float64(brightness[i]) - (.299*float64(c.R) + .587*float64(c.G) + .114*float64(c.B)); got < -.51 || got > .51 { // rounded
					t.Errorf("%s: brightness of %v is %d", name, c, brightness[i])
				}
			}
		}
	}
}

// A JPEG in colour, and a grey one among coloured ones.
func TestJPEG(t *testing.T) {
	smooth, grey := image.NewRGBA(image.Rect(0, 0, 16, 16)), image.NewGray(image.Rect(0, 0, 16, 16))
	for i := range 256 {
		smooth.Set(i%16, i/16, color.NRGBA{uint8(8 * (i % 16)), 100, uint8(8 * (i / 16)), 255})
		grey.Set(i%16, i/16, color.Gray{uint8(8 * (i % 16))})
	}
	var pictures []picture
	for i, m := range []image.Image{smooth, grey} {
		var b bytes.Buffer
		if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 100}); err != nil {
			t.Fatal(err)
		}
		pictures = append(pictures, picture{fmt.Sprintf("test/a/%d.jpg", i), b.Bytes()}, picture{fmt.Sprintf("test/b/%d.jpeg", i), b.Bytes()})
	}
	set, err := Open(context.Background(), inZip(t, pictures), Test, Options{})
	if err != nil {
		t.Fatal(err)
	}
	pixels, _ := content(set)
	for i := range 256 {
		for c, want := range []int{8 * (i % 16), 100, 8 * (i / 16), 8 * (i % 16), 8 * (i % 16), 8 * (i % 16)} {
			if got := int(pixels[c*256+i]); got < want-10 || got > want+10 { // chroma of JPEG is stored at half the size
				t.Fatalf("value %d of pixel %d is %d, was %d", c, i, got, want)
			}
		}
	}
}

// headerPNG is the header of an image, and nothing else.
func headerPNG(width, height uint32) []byte {
	header := binary.BigEndian.AppendUint32([]byte("IHDR"), width)
	header = append(binary.BigEndian.AppendUint32(header, height), 8, 2, 0, 0, 0)
	b := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), header...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(header))
}

// Each way to be wrong is one error, which names the image.
func TestImagesRefuse(t *testing.T) {
	sound := pets(t)
	with := func(extra ...picture) []picture { return slices.Concat(sound, extra) }
	half := flat(t, 4, 3, red)
	half = half[:len(half)-20]
	tests := map[string]struct {
		pictures []picture
		opt      Options
		want     string
	}{
		"nothing":        {[]picture{{"x.png", half}}, Options{}, "no images: they are looked for as train/CLASS/NAME"},
		"no such split":  {sound[3:5], Options{}, `there is no folder "train"`},
		"empty class":    {with(picture{"train/cow/", nil}, picture{"test/cow/0.png", flat(t, 4, 3, red)}), Options{}, `class "cow" has no images in "train"`},
		"test only":      {with(picture{"test/cow/0.png", flat(t, 4, 3, red)}), Options{}, `class "cow" has no images in "train"`},
		"cut":            {with(picture{"train/cat/1.png", half}), Options{}, `image "train/cat/1.png": `},
		"no image":       {with(picture{"train/cat/1.png", []byte("meow")}), Options{}, `image "train/cat/1.png": image: unknown format`},
		"none readable":  {[]picture{{"train/a/0.png", half}, {"train/b/0.png", half}}, Options{SkipCorrupt: true}, "none of the 2 images can be read"},
		"first cut":      {with(picture{"train/cat/!.png", []byte("meow")}), Options{}, `image "train/cat/!.png": image: unknown format`},
		"first of two":   {with(picture{"train/dog/z.png", half}, picture{"train/cat/z.png", []byte("meow")}), Options{}, `image "train/cat/z.png": `},
		"mixed":          {with(picture{"train/dog/c.png", flat(t, 3, 4, red)}), Options{}, `images of mixed sizes: "train/cat/0.png" is 4x3, "train/dog/c.png" is 3x4: resize them to one`},
		"mixed, lenient": {with(picture{"train/dog/c.png", flat(t, 3, 4, red)}), Options{SkipCorrupt: true}, "images of mixed sizes"},
		"huge":           {with(picture{"train/dog/c.png", headerPNG(1<<15, 1<<15)}), Options{SkipCorrupt: true}, `image "train/dog/c.png": it is 32768x32768; more than 16777216 pixels are not read`},
		"long":           {with(picture{"train/dog/c.png", headerPNG(1, 1<<24)}), Options{SkipCorrupt: true, Resize: 4}, `it is 1x16777216; sides of more than 32768 pixels are not read`},
		"side":           {sound, Options{Resize: -1}, "resizing to a side of -1"},
		"channels":       {sound, Options{Channels: 2}, "images of 2 channels"},
		"normalization":  {sound, Options{Normalize: &Normalization{Mean: []float32{1, 2}, Std: []float32{1}}}, "2 values of mean for 3 channels"},
	}
	for name, tt := range tests {
		for place, at := range map[string]string{"folder": inFolder(t, tt.pictures), "zip": inZip(t, tt.pictures)} {
			_, err := Open(context.Background(), at, Train, tt.opt)
			if err == nil || !strings.HasPrefix(err.Error(), "dataset: ") || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s in a %s: error %v, want %q in it", name, place, err, tt.want)
			}
		}
	}
}

// A zip can be wrong in ways that a folder cannot.
func TestZipsRefuse(t *testing.T) {
	sound := zipped(t, []picture{{"train/a/0.png", flat(t, 4, 3, red)}})
	flipped := bytes.Clone(sound)
	flipped[len("PK")+28+len("train/a/0.png")+20] ^= 1
	var bomb bytes.Buffer
	z := zip.NewWriter(&bomb)
	w, err := z.Create("train/a/0.png")
	if err != nil {
		t.Fatal(err)
	}
	for range 65 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	// The directory at the end claims less than there is.
	lying := bytes.Clone(bomb.Bytes())
	at := bytes.LastIndex(lying, []byte("PK\x01\x02")) + 24
	binary.LittleEndian.PutUint32(lying[at:], 100)
	for name, tt := range map[string]struct {
		content []byte
		want    string
	}{
		"flipped": {flipped, `image "train/a/0.png": `},
		"cut":     {sound[:len(sound)-5], "neither a folder nor a zip of images"},
		"no zip":  {[]byte("train/a/0.png"), "neither a folder nor a zip of images"},
		"twice":   {zipped(t, []picture{{"train/a/0.png", flat(t, 4, 3, red)}, {"train/a/0.png", flat(t, 4, 3, red)}}), `"train/a/0.png" is there twice`},
		"bomb":    {bomb.Bytes(), fmt.Sprintf(`image "train/a/0.png": it has %d bytes, more than %d`, 65<<20, 64<<20)},
		"lying":   {lying, `image "train/a/0.png": `},
	} {
		at := filepath.Join(t.TempDir(), "x.zip")
		writeFile(t, at, tt.content)
		_, err := Open(context.Background(), at, Train, Options{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q in it", name, err, tt.want)
		}
	}
	if _, err := Open(context.Background(), filepath.Join(t.TempDir(), "none.zip"), Train, Options{}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("error %v", err)
	}
}

// Corrupt images are left out when that is asked for, and counted; the others are what they were.
func TestSkipCorrupt(t *testing.T) {
	pictures := pets(t)
	for i := range 5 {
		pictures = append(pictures, picture{fmt.Sprintf("train/cat/%c%d.png", "!z"[i%2], i), []byte("meow")})
	}
	want, wantLabels := content(mustOpen(t, inZip(t, pets(t)), Options{}))
	for _, at := range []string{inFolder(t, pictures), inZip(t, pictures)} {
		var said messages
		got, labels := content(mustOpen(t, at, Options{SkipCorrupt: true, Log: said.log}))
		if !slices.Equal(got, want) || !slices.Equal(labels, wantLabels) {
			t.Errorf("without the corrupt ones, images are %v of %v", got, labels)
		}
		if !said.contains("skipped 5 of 8 images that cannot be read") || !said.contains(`skipped image "train/cat/!0.png": `) || len(said) != 4 {
			t.Errorf("it said %q", said)
		}
	}
}

func mustOpen(t *testing.T, at string, opt Options) *Set {
	t.Helper()
	set, err := Open(context.Background(), at, Train, opt)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestImagesCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, inZip(t, pets(t)), Train, Options{}); err != context.Canceled {
		t.Errorf("error %v", err)
	}
}

func TestIsPath(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFile(t, "pictures/x", nil)
	for name, want := range map[string]bool{
		"mnist": false, "cifar10": false, "": false, "nosuch": false, "pictures": true, "./nosuch": true, "nosuch.zip": true, "a/b": true,
	} {
		if IsPath(name) != want {
			t.Errorf("IsPath(%q) = %v", name, !want)
		}
	}
}

// imagesVariable names a zip of the 60,000 images of CIFAR-10, which is too large to be committed.
const imagesVariable = "REBASIN_CIFAR10_IMAGES"

func TestRealImages(t *testing.T) {
	at := os.Getenv(imagesVariable)
	if at == "" {
		t.Skipf("$%s names no zip of the images of CIFAR-10, train/CLASS/*.jpg and test/CLASS/*.jpg", imagesVariable)
	}
	for split, n := range []int{Train: 50000, Test: 10000} {
		set, err := Open(context.Background(), at, Split(split), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if set.Len() != n || !slices.Equal(set.Shape(), []int{3, 32, 32}) || !slices.Equal(set.ClassNames(), cifar10.classNames) {
			t.Errorf("%v: %d images of %v with %q", Split(split), set.Len(), set.Shape(), set.ClassNames())
		}
		for class := range 10 {
			if got := set.SubsetLabels(class).Len(); got != n/10 {
				t.Errorf("%v: %d images of class %d", Split(split), got, class)
			}
		}
		if split == int(Train) {
			checkUsual(t, set, UsualNormalization("cifar10"))
		}
	}
}

// checkUsual compares the pixels of a set with the mean and deviation that are usual for it.
func checkUsual(t *testing.T, set *Set, norm *Normalization) {
	t.Helper()
	plane := set.shape[1] * set.shape[2]
	for c := range set.shape[0] {
		var counts [256]int
		for i := range set.Len() {
			for _, v := range set.pixels[(i*set.shape[0]+c)*plane:][:plane] {
				counts[v]++
			}
		}
		var sum, squares float64
		for v, n := range counts {
			x := float64(v) / 255
			sum += float64(n) * x
			squares += float64(n) * x * x
		}
		n := float64(set.Len() * plane)
		mean := sum / n
		std := squares/n - mean*mean
		want := float64(norm.Std[c])
		if d := mean - float64(norm.Mean[c]); d < -2e-3 || d > 2e-3 || std < (want-2e-3)*(want-2e-3) || std > (want+2e-3)*(want+2e-3) { // JPEG loses some
			t.Errorf("channel %d: mean %v, variance %v, usual are %v and %v²", c, mean, std, norm.Mean[c], want)
		}
	}
}

// FuzzZip opens whatever bytes as a zip of images: an error or a set whose parts fit, and never more memory than the limits allow.
func FuzzZip(f *testing.F) {
	f.Add(zipped(f, pets(f)), false)
	f.Add(zipped(f, []picture{{"train/a/0.png", headerPNG(1<<15, 1<<15)}}), true)
	f.Add(zipped(f, []picture{{"x/train/a/0.png", flat(f, 2, 2, red)}, {"x/train/b/0.png", []byte("meow")}}), true)
	f.Fuzz(func(t *testing.T, b []byte, skip bool) {
		z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		files, folders := listZip(z)
		set, err := setOfImages(context.Background(), "x.zip", files, folders, Train, Options{SkipCorrupt: skip})
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("error of several lines: %q", err)
			}
			return
		}
		if set.Len() == 0 || len(set.pixels) != set.Len()*set.imageShape().size() {
			t.Fatalf("%d images of %v in %d bytes", set.Len(), set.Shape(), len(set.pixels))
		}
		for i := range set.Len() {
			if set.Label(i) >= set.Classes() {
				t.Fatalf("label %d of %d classes", set.Label(i), set.Classes())
			}
		}
	})
}

// TestCorruptImagesHaveNoSize: what the header of an image says that cannot be decoded is nothing to hold the others to, wherever it stands.
func TestCorruptImagesHaveNoSize(t *testing.T) {
	want, wantLabels := content(mustOpen(t, inZip(t, pets(t)), Options{}))
	for _, name := range []string{"train/cat/!.png", "train/dog/z.png"} {
		at := inZip(t, append(pets(t), picture{name, headerPNG(4000, 3000)}))
		var said messages
		set, err := Open(context.Background(), at, Train, Options{SkipCorrupt: true, Log: said.log})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, labels := content(set); !slices.Equal(got, want) || !slices.Equal(labels, wantLabels) || !said.contains("skipped 1 of 4 images") {
			t.Errorf("%s: images are %v of %v, said %q", name, got, labels, said)
		}
		if _, err := Open(context.Background(), at, Train, Options{}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("image %q: ", name)) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// greyPNG is a PNG of one brightness.
func greyPNG(t testing.TB, width, height int, v uint8) []byte {
	t.Helper()
	m := image.NewGray(image.Rect(0, 0, width, height))
	for i := range m.Pix {
		m.Pix[i] = v
	}
	return encoded(t, m)
}

// TestMemoryFollowsImages: one real image and 300 headers that claim 3 GiB take no such memory.
func TestMemoryFollowsImages(t *testing.T) {
	const side = 1900
	pictures := []picture{{"train/a/0.png", greyPNG(t, side, side, 9)}, {"test/a/0.png", headerPNG(side, side)}}
	for i := range 300 {
		pictures = append(pictures, picture{fmt.Sprintf("train/a/1-%03d.png", i), headerPNG(side, side)})
	}
	at := inFolder(t, pictures)
	for _, skip := range []bool{false, true} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		set, err := Open(context.Background(), at, Train, Options{SkipCorrupt: skip})
		runtime.ReadMemStats(&after)
		if skip != (err == nil) || skip && set.Len() != 1 {
			t.Errorf("skipping %v: error %v", skip, err)
		}
		if bytes := after.TotalAlloc - before.TotalAlloc; bytes > 200<<20 {
			t.Errorf("skipping %v: %d bytes were allocated", skip, bytes)
		}
	}
}

// TestImagesInRounds decodes more than is decoded at once, with corrupt images between.
func TestImagesInRounds(t *testing.T) {
	const side, n = 1000, 17 // 3 MB each
	var pictures []picture
	for i := range n {
		class := "ab"[i*2/n]
		pictures = append(pictures, picture{fmt.Sprintf("train/%c/%02d.png", class, i), greyPNG(t, side, side, uint8(10*i+1))})
		if i%3 == 0 {
			pictures = append(pictures, picture{fmt.Sprintf("train/%c/%02d-.png", class, i), headerPNG(side, side)})
		}
	}
	set := mustOpen(t, inFolder(t, pictures), Options{SkipCorrupt: true})
	if set.Len() != n || cap(set.pixels) > 2*n*3*side*side {
		t.Fatalf("%d images, memory of %d bytes", set.Len(), cap(set.pixels))
	}
	pixels, labels := content(set)
	for i := range n {
		image := pixels[i*3*side*side:][:3*side*side]
		if labels[i] != i*2/n || slices.Min(image) != uint8(10*i+1) || slices.Max(image) != uint8(10*i+1) {
			t.Errorf("image %d has label %d and pixels from %d to %d", i, labels[i], slices.Min(image), slices.Max(image))
		}
	}
}

// TestResizersAreKept: images of one size share the weights that they are resized with, others do not.
func TestResizersAreKept(t *testing.T) {
	var s imageScratch
	from, to := imageShape{3, 40, 30}, imageShape{3, 8, 8}
	first := s.resizer(from, to)
	if s.resizer(from, to) != first || first.height != 40 || first.width != 30 || first.toHeight != 8 || first.toWidth != 8 {
		t.Errorf("the resizer is %+v", first)
	}
	for _, sizes := range [][2]imageShape{{{3, 41, 30}, to}, {{3, 40, 31}, to}, {from, {3, 9, 8}}, {from, {3, 8, 9}}} {
		s = imageScratch{last: first}
		if r := s.resizer(sizes[0], sizes[1]); r == first || r.height != sizes[0].height || r.toWidth != sizes[1].width {
			t.Errorf("from %v to %v there is the resizer of other sizes", sizes[0], sizes[1])
		}
	}
}
