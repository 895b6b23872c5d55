package main

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strings"
)

// owner is a package that holds a file.
type owner struct{ section, name string }

// contents calls visit for each file that the indexes name, with its packages.
func contents(indexes []string, visit func(path string, owners []owner)) error {
	for _, index := range indexes {
		if err := contentsOf(index, visit); err != nil {
			return fmt.Errorf("reading %s: %w", index, err)
		}
	}
	return nil
}

func contentsOf(index string, visit func(path string, owners []owner)) error {
	f, err := os.Open(index)
	if err != nil {
		return err
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	return parse(unpacked, visit)
}

// parse reads an index of files: a path, which may hold spaces, then its packages as
// SECTION/NAME, separated by commas
// (https://wiki.debian.org/DebianRepository/Format, "Contents" indices).
func parse(index io.Reader, visit func(path string, owners []owner)) error {
	lines := bufio.NewScanner(index)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		cut := strings.LastIndexAny(line, " \t")
		if cut < 0 {
			return fmt.Errorf("the line %q has no packages", line)
		}
		var owners []owner
		for one := range strings.SplitSeq(line[cut+1:], ",") {
			slash := strings.LastIndex(one, "/")
			section := one[:max(slash, 0)]
			owners = append(owners, owner{section[strings.LastIndex(section, "/")+1:], one[slash+1:]})
		}
		visit(strings.TrimRight(line[:cut], " \t"), owners)
	}
	return lines.Err()
}
