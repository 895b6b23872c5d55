// Command gen makes the table of package diagnose from Debian's indexes of files:
//
//	go run ./builder/diagnose/internal/gen -o builder/diagnose/table.gz
//
// It asks apt for the indexes, from the mirror that this machine uses for Debian, and
// apt checks their signatures. The same indexes give the same bytes.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
)

func main() {
	out := flag.String("o", "builder/diagnose/table.gz", "`FILE` to write")
	suites := flag.String("suites", "bullseye,bookworm,trixie", "Debian `SUITES`, comma-separated")
	keyring := flag.String("keyring", "/usr/share/keyrings/debian-archive-keyring.gpg", "`FILE` with the archive's keys")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *out, strings.Split(*suites, ","), *keyring)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// run makes the table of the suites and writes it.
func run(ctx context.Context, out string, suites []string, keyring string) error {
	dir, err := os.MkdirTemp("", "contents")
	if err != nil {
		return fmt.Errorf("making directory for indexes: %w", err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, "warning:", err)
		}
	}()
	indexes, err := download(ctx, dir, suites, keyring)
	if err != nil {
		return err
	}
	answers := make([]map[string][]string, len(suites))
	for i, suite := range suites {
		if answers[i], err = choose(indexes[suite]); err != nil {
			return fmt.Errorf("reading the indexes of %s: %w", suite, err)
		}
	}
	table, err := encode(suites, answers)
	if err != nil {
		return err
	}
	return os.WriteFile(out, table, 0o644)
}
