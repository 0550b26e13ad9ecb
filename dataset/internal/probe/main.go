// Command probe opens both splits of MNIST and prints their sizes and checksums: the tests build it in the ways that programs are built, to see
// that each finds its data. With the argument -offline it downloads nothing.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"slices"

	"github.com/rebasin/rebasin/dataset"
)

func main() {
	opt := dataset.Options{
		Offline: slices.Contains(os.Args[1:], "-offline"),
		Log:     func(s string) { fmt.Fprintln(os.Stderr, s) },
	}
	for _, split := range []dataset.Split{dataset.Train, dataset.Test} {
		set, err := dataset.Open(context.Background(), "mnist", split, opt)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("%s %s %d %08x\n", set.Name(), split, set.Len(), checksum(set))
	}
}

// checksum is the CRC-32 of the float pixels and labels of a set, in order.
func checksum(set *dataset.Set) uint32 {
	const batch = 1000
	shape := set.Shape()
	x := make([]float32, batch*shape[0]*shape[1]*shape[2])
	labels := make([]int32, batch)
	indices := make([]int, set.Len())
	for i := range indices {
		indices[i] = i
	}
	var sum uint32
	var bytes []byte
	for part := range slices.Chunk(indices, batch) {
		set.Fill(part, x, labels)
		bytes, _ = binary.Append(bytes[:0], binary.LittleEndian, x) // fixed-size data cannot fail
		sum = crc32.Update(sum, crc32.IEEETable, bytes)
		bytes, _ = binary.Append(bytes[:0], binary.LittleEndian, labels)
		sum = crc32.Update(sum, crc32.IEEETable, bytes)
	}
	return sum
}
