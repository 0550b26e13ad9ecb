package dataset

import (
	"fmt"
	"slices"
	"strings"
)

// A file is one file of a source, known by the size and the SHA-256 of its decompressed content.
type file struct {
	base   string
	size   int
	sha256 string
}

// names are the spellings under which the file is accepted, the common one first.
func (f file) names() []string {
	names := []string{f.base + ".gz", f.base}
	if dotted := strings.Replace(f.base, "-idx", ".idx", 1); dotted != f.base {
		names = append(names, dotted+".gz", dotted)
	}
	return names
}

// A source is what is known about one image set.
type source struct {
	name       string
	folders    []string // below a directory that the user names, before the directory itself
	images     [2]file  // by Split: idx files
	labels     [2]file
	batches    [2][]file // by Split: files of records, instead
	form       recordForm
	archive    file // in which the batches are published; its digest is not needed, theirs are
	classNames []string
	inModule   bool   // its files come with the module GoMNIST
	cache      string // its folder in the user's cache, where that is not its name
	systemDirs []string
	mirrors    []string
}

// files are those of one split.
func (s *source) files(split Split) []file {
	if s.batches[split] != nil {
		return s.batches[split]
	}
	return []file{s.images[split], s.labels[split]}
}

func (s *source) allFiles() []file { return slices.Concat(s.files(Train), s.files(Test)) }

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

// Digests of the files within the archives that Krizhevsky publishes (MD5 c32a1d4a... and 03b5dce0... of the archives).
var cifar10 = source{
	name:    "cifar10",
	folders: []string{"cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "cifar10"},
	batches: [2][]file{
		{
			{"data_batch_1.bin", 10000 * 3073, "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"},
			{"data_batch_2.bin", 10000 * 3073, "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"},
			{"data_batch_3.bin", 10000 * 3073, "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"},
			{"data_batch_4.bin", 10000 * 3073, "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"},
			{"data_batch_5.bin", 10000 * 3073, "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"},
		},
		{{"test_batch.bin", 10000 * 3073, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"}},
	},
	form:    cifar10Form,
	archive: file{base: "cifar-10-binary.tar.gz", size: 170052171},
	classNames: []string{
		"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
	},
	mirrors: cifarMirrors,
}

var cifar100 = source{
	name:    "cifar100",
	folders: []string{"cifar-100-binary", "cifar100/cifar-100-binary", "cifar100"},
	batches: [2][]file{
		{{"train.bin", 50000 * 3074, "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"}},
		{{"test.bin", 10000 * 3074, "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"}},
	},
	form:    cifar100Form,
	archive: file{base: "cifar-100-binary.tar.gz", size: 168513733},
	classNames: strings.Fields(`apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
		caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl
		hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree
		orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea
		seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
		tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm`),
	mirrors: cifarMirrors,
}

// cifar100Coarse is cifar100 with its coarse labels.
var cifar100Coarse = func() source {
	s := cifar100
	s.name, s.cache, s.form = "cifar100-coarse", cifar100.name, cifar100CoarseForm
	s.classNames = strings.Fields(`aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
		household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores
		medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2`)
	return s
}()

var cifarMirrors = []string{
	"https://www.cs.toronto.edu/~kriz/",
	"https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/",
}

var sources = []*source{&mnist, &fashionMNIST, &cifar10, &cifar100, &cifar100Coarse}

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
		for _, f := range s.allFiles() {
			if f.sha256 == digest {
				return s.name + "'s " + f.base, true
			}
		}
	}
	return "", false
}
