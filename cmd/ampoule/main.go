// Command ampoule builds a CPython interpreter and its wheels together and
// publishes the pair as one digest.
package main

import (
	"os"
	"runtime/debug"

	_ "ampoule/cmd/ampoule/begin" // before all others
	"ampoule/cmd/ampoule/cli"
)

func main() {
	s := &cli.Session{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ(),
		LimitMemory: func(bytes int64) { debug.SetMemoryLimit(bytes) },
	}
	os.Exit(cli.Main(s, os.Args[1:]))
}
