// Command size prints how large the project is, in figures that two commits can be compared
// by: size [DIR|COMMIT]... A directory is read as it is; a commit is read from the repository
// around the working directory. Without arguments it is the working directory.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
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

// run prints the figures of each argument, one column for each.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		args = []string{"."}
	}
	var all []figures
	for _, arg := range args {
		f, err := sizeOf(ctx, arg)
		if err != nil {
			return fmt.Errorf("measuring %s: %w", arg, err)
		}
		all = append(all, f)
	}
	return show(out, args, all)
}
