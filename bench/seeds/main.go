// Command seeds chooses which inputs of a fuzzer stay in the repository: seeds [-root DIR]
// [-limit N] PACKAGE... It takes what fuzzing left in go's cache and the seeds that are there,
// runs the fuzzer on each input, and keeps those that together reach most: again and again
// the one that reaches most blocks of code that no other reached, the smallest of several.
// What the fuzzer's own code adds, and failures that were found once, are not chosen again.
// Seeds that are not chosen any more go to the cache.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		stop()
		os.Exit(1)
	}
}

// run chooses the seeds of each fuzzer of the packages and says what came of it.
func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("seeds", flag.ContinueOnError)
	root := flags.String("root", ".", "the directory of the module that has the packages")
	limit := flags.Int("limit", 30, "how many seeds a fuzzer may have")
	largest := flags.Int64("largest", 64<<10, "how many bytes a seed may have")
	if err := flags.Parse(args); err != nil {
		return err
	}
	g := goCommand{dir: *root}
	cache, err := g.output(ctx, "env", "GOCACHE")
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "seeds")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	for _, name := range flags.Args() {
		fuzzers, err := g.fuzzers(ctx, name, work)
		if err != nil {
			return err
		}
		for _, f := range fuzzers {
			f.cache = filepath.Join(strings.TrimSpace(cache), "fuzz", filepath.FromSlash(f.pkg), f.name)
			c, err := f.choose(ctx, *limit, *largest)
			if err != nil {
				return fmt.Errorf("choosing seeds of %s %s: %w", f.pkg, f.name, err)
			}
			fmt.Fprintf(out, "%s %s: %d of %d inputs reach %d of the %d blocks that all reach (%d without them)\n",
				f.pkg, f.name, c.chosen, c.of, c.reached, c.all, c.base)
		}
	}
	return nil
}
