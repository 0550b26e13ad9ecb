// Command rebasin aligns and merges neural networks that were trained apart. See the README.
package main

import (
	"os"

	"github.com/rebasin/rebasin/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
}
