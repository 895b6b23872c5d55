package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"ampoule/address"
	"ampoule/cmd/ampoule/display"
	"ampoule/faults"
	"ampoule/recipes"
)

// report tells an error: an "error:" line, then a "hint:" line for each hint that
// the error, or any that it wraps, carries. Faults of files are told one by one.
func report(w io.Writer, err error) {
	if err == nil || is[*ChildError](err) || is[*toldError](err) {
		return
	}
	var wrong recipes.Faults
	if errors.As(err, &wrong) && !is[*InterruptedError](err) {
		for _, f := range wrong[:min(len(wrong), maxFaults)] {
			line(w, "error", f.String())
			line(w, "hint", f.Hint)
		}
		if more := len(wrong) - maxFaults; more > 0 {
			line(w, "error", fmt.Sprintf("and %d more faults", more))
		}
		return
	}
	line(w, "error", err.Error())
	if is[*InterruptedError](err) {
		return
	}
	told := faults.Hints(err)
	for _, hint := range told[:min(len(told), maxHints)] {
		line(w, "hint", hint)
	}
	if more := len(told) - maxHints; more > 0 {
		line(w, "hint", fmt.Sprintf("and %d more like these", more))
	}
}

// An error is read by a person, on one screen, whatever foreign text it repeats.
const (
	// maxFaults and maxHints are how many faults of files, and how many hints, are told.
	maxFaults, maxHints = 20, 5
	// headLines and tailLines are how many lines of a longer message are told of its start
	// and of its end, where tools say what it comes down to.
	headLines, tailLines = 30, 10
	// maxWidth bounds a line, in bytes.
	maxWidth = 2000
)

// short leaves the start and the end of a message that is too long to be read.
func short(message string) string {
	lines := strings.Split(message, "\n")
	if more := len(lines) - headLines - tailLines; more > 1 {
		cut := fmt.Sprintf("… %d lines …", more)
		lines = slices.Concat(lines[:headLines], []string{cut}, lines[len(lines)-tailLines:])
	}
	for i, line := range lines {
		if len(line) > maxWidth {
			lines[i] = strings.ToValidUTF8(line[:maxWidth], "") + fmt.Sprintf("… (%d bytes)", len(line))
		}
	}
	return strings.Join(lines, "\n")
}

// line writes a message behind its word, further lines as they are.
func line(w io.Writer, word, message string) {
	if message != "" {
		fmt.Fprintf(w, "%s: %s\n", word, display.Clean(short(address.Redact(strings.TrimRight(message, "\n"))), true))
	}
}
