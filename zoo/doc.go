// Package zoo builds known architectures as graphs, initialises their parameters, and recognises them in checkpoints that carry no graph.
//
// A [Config] describes an architecture in a few numbers. Its JSON form, see [Config.Encode] and [ParseConfig], is what a trained file carries
// in its metadata under [MetadataKey], so that the file describes itself. [Build] makes the graph, [Init] the parameters, and [Detect] reads
// a Config off the shapes of tensors.
//
// The architecture "mlp" is a chain of fully connected layers, each but the last followed by an optional layer normalisation, an activation
// and an optional dropout. Parameters have the names and shapes that PyTorch's users give them: fc1.weight of shape [out, in], fc1.bias,
// norm1.weight, and so on.
//
// The convolutional architectures are those of Git Re-Basin and of torchvision, with a width that may be any positive number and a choice of norms:
// "vgg11", "vgg13", "vgg16", "vgg19"; "resnet20" and other depths 6n+2, for CIFAR; "resnet18", "resnet34", "resnet50", "resnet101", for ImageNet.
// Their tensors have torchvision's names. Layer normalisation of images normalises each position over the channels.
//
//	cfg := zoo.Config{Arch: "mlp", Input: []int{1, 28, 28}, Classes: 10} // three hidden layers of 512 units
//	g, err := zoo.Build(cfg)
//	params, err := zoo.Init(g, cfg, seed)
package zoo
