// Command measure drives the program ampoule as a person would, and records what
// that took: the catalogue, the packages that people install most, the loop that
// they live in, and the same work by docker build.
package main

import (
	"os"

	"ampoule/bench/internal/command"
)

func main() {
	os.Exit(command.Main(os.Args[1:], os.Stdout, os.Stderr))
}
