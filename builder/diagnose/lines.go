package diagnose

import (
	"bufio"
	"errors"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// lineBytes is how much of a line counts.
	lineBytes = 4 << 10
	// shownBytes is how much of it a cause shows.
	shownBytes = 300
)

// eachLine calls visit with each line that is not empty, cleaned.
func eachLine(log io.Reader, visit func(string)) error {
	r := bufio.NewReaderSize(log, lineBytes)
	for {
		part, cut, err := r.ReadLine()
		line := cleaned(string(part))
		for cut && err == nil {
			_, cut, err = r.ReadLine()
		}
		if line != "" {
			visit(line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// escapes are the control sequences of terminals (ECMA-48): CSI, OSC and the short ones.
var escapes = regexp.MustCompile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[ -/]*[0-~])")

// cleaned returns a line as a terminal would finally show it, without what controls
// the terminal, and without the frame that pip draws around the output of others.
func cleaned(line string) string {
	if strings.ContainsRune(line, '\x1b') {
		line = escapes.ReplaceAllString(line, "")
	}
	line = strings.TrimRight(line, "\r")
	line = line[strings.LastIndexByte(line, '\r')+1:]
	if strings.ContainsFunc(line, unseen) {
		line = strings.Map(func(r rune) rune {
			switch {
			case r == '\t':
				return ' '
			case unseen(r):
				return -1
			}
			return r
		}, line)
	}
	return strings.TrimSpace(strings.TrimLeft(line, " │"))
}

// unseen reports whether a terminal shows nothing for a character: it controls it, or the
// direction of text, or is none.
func unseen(r rune) bool {
	if r < utf8.RuneSelf {
		return r < ' ' || r == 0x7f
	}
	return r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf)
}

// shortened returns the part of a line that a cause shows.
func shortened(line string) string {
	if len(line) <= shownBytes {
		return line
	}
	const more = "…"
	end := shownBytes - len(more)
	for !utf8.RuneStart(line[end]) {
		end--
	}
	return line[:end] + more
}
