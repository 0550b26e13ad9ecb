package dataset

import (
	"fmt"
	"slices"
	"strings"
)

// A file is one idx file of a source, known by the size and the SHA-256 of its decompressed content.
type file struct {
	base   string
	size   int
	sha256 string
}

// names are the spellings under which the file is accepted, the common one first.
func (f file) names() []string {
	dotted := strings.Replace(f.base, "-idx", ".idx", 1)
	return []string{f.base + ".gz", f.base, dotted + ".gz", dotted}
}

// A source is what is known about one image set.
type source struct {
	name       string
	folders    []string // below a directory that the user names, before the directory itself
	images     [2]file  // by Split
	labels     [2]file
	classNames []string
	inModule   bool // its files come with the module GoMNIST
	systemDirs []string
	mirrors    []string
}

// Digests of the files that LeCun, Cortes and Burges published (gzip MD5 f68b3c2d..., 9fb629c4... for the images).
var mnist = source{
	name:    "mnist",
	folders: []string{"mnist", "MNIST/raw"},
	images: [2]file{
		{"train-images-idx3-ubyte", 16 + 60000*784, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"},
		{"t10k-images-idx3-ubyte", 16 + 10000*784, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"},
	},
	labels: [2]file{
		{"train-labels-idx1-ubyte", 8 + 60000, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"},
		{"t10k-labels-idx1-ubyte", 8 + 10000, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"},
	},
	classNames: []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"},
	inModule:   true,
	mirrors: []string{
		"https://ossci-datasets.s3.amazonaws.com/mnist/",
		"https://storage.googleapis.com/cvdf-datasets/mnist/",
	},
}

var fashionMNIST = source{
	name:    "fashion-mnist",
	folders: []string{"fashion-mnist", "FashionMNIST/raw"},
	images: [2]file{
		{"train-images-idx3-ubyte", 16 + 60000*784, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"},
		{"t10k-images-idx3-ubyte", 16 + 10000*784, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"},
	},
	labels: [2]file{
		{"train-labels-idx1-ubyte", 8 + 60000, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"},
		{"t10k-labels-idx1-ubyte", 8 + 10000, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"},
	},
	classNames: []string{
		"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
	},
	systemDirs: []string{"/usr/share/datasets/fashion-mnist"},
	mirrors: []string{
		"https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
		// The authors' bucket speaks no https; the digest guards what it sends.
		"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
	},
}

var sources = []*source{&mnist, &fashionMNIST}

// Names lists the image sets that [Open] knows.
func Names() []string {
	names := make([]string, len(sources))
	for i, s := range sources {
		names[i] = s.name
	}
	return names
}

func lookup(name string) (*source, error) {
	if i := slices.IndexFunc(sources, func(s *source) bool { return s.name == name }); i >= 0 {
		return sources[i], nil
	}
	return nil, fmt.Errorf("dataset: unknown data set %q: known are %s", name, strings.Join(Names(), ", "))
}

// owner names the source and file whose content has the given digest: for saying that a file is sound but another set's.
func owner(digest string) (string, bool) {
	for _, s := range sources {
		for _, f := range slices.Concat(s.images[:], s.labels[:]) {
			if f.sha256 == digest {
				return s.name + "'s " + f.base, true
			}
		}
	}
	return "", false
}
