package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// encode writes the table: its first line names the suites; then, for each answer, a
// line "=" with the packages of each suite, separated by "|" (or those of all suites
// alike), and a line for each name that has this answer. A name begins with its kind:
//
//	h header, as it is included        l library, as in -lNAME
//	d directory of headers             c CMake package, in lower case
//	p pkg-config name                  x program
func encode(suites []string, answers []map[string][]string) ([]byte, error) {
	keys := map[string]bool{}
	for _, of := range answers {
		for key := range of {
			keys[key] = true
		}
	}
	groups := map[string][]string{}
	for key := range keys {
		answer := joined(key, answers)
		groups[answer] = append(groups[answer], key)
	}
	var text bytes.Buffer
	fmt.Fprintln(&text, strings.Join(suites, " "))
	for _, answer := range slices.Sorted(maps.Keys(groups)) {
		slices.Sort(groups[answer])
		fmt.Fprintf(&text, "=%s\n%s\n", answer, strings.Join(groups[answer], "\n"))
	}
	return packed(text.Bytes())
}

// joined writes the packages that a name has in each suite.
func joined(key string, answers []map[string][]string) string {
	parts := make([]string, len(answers))
	for i, of := range answers {
		parts[i] = strings.Join(of[key], ",")
	}
	if len(slices.Compact(slices.Clone(parts))) == 1 {
		return parts[0]
	}
	return strings.Join(parts, "|")
}

// packed compresses the text.
func packed(text []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
