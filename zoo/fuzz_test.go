package zoo_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rebasin/rebasin/zoo"
)

// Descriptions come from files: none may panic, and what is accepted survives writing and reading.
func FuzzParseConfig(f *testing.F) {
	f.Add(`{"arch":"mlp","input":[1,28,28],"classes":10}`)
	f.Add(`{"arch":"mlp","input":[784],"hidden":[32,32],"classes":10,"no_bias":true,"norm":"layer","dropout":0.5,"init":"torch"}`)
	f.Add(`{"arch":"mlp","input":[2147483648,2147483648],"width":4194304,"classes":1,"activation":"prelu"}`)
	f.Add(`{"arch":"mlp","input":[4],"hidden":[3],"classes":2,"layers":["norm1","h1"],"norm":"layer"}`)
	f.Add(`{"arch":"vgg11","input":[3,32,32],"classes":10,"width":0.25,"norm":"group","classifier":7,"dropout":0.5}`)
	f.Add(`{"arch":"resnet20","input":[1,28,28],"classes":10,"width":1e300,"shortcut":"pad","norm":"none","no_bias":true}`)
	f.Add(`{"arch":"resnet50","input":[3,2147483648,2147483648],"classes":1000,"norm":"layer"}`)
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := zoo.ParseConfig(text)
		if err != nil {
			return
		}
		again, err := cfg.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := zoo.ParseConfig(again)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(cfg, back); d != "" {
			t.Fatal(d)
		}
		if strings.HasPrefix(cfg.Arch, "resnet") && len(cfg.Arch) > len("resnet50") {
			return // deep ones take their time
		}
		g, err := zoo.Build(cfg)
		if err != nil {
			return
		}
		if _, err := g.InferShapes(); err != nil {
			t.Fatalf("a network that was built has no shapes: %v", err)
		}
	})
}
