// Command ampoule builds a CPython interpreter and its wheels together and
// publishes the pair as one digest.
package main

import (
	"os"

	"ampoule/cmd/ampoule/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
