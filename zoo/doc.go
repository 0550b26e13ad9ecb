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
//	cfg := zoo.Config{Arch: "mlp", Input: []int{1, 28, 28}, Classes: 10} // three hidden layers of 512 units
//	g, err := zoo.Build(cfg)
//	params, err := zoo.Init(g, cfg, seed)
package zoo
