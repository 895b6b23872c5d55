package explain

import (
	"slices"
	"strings"
)

// Where a kind's literals stand in a text, its pattern is looked for, and nowhere else: in
// a window of some lines around. A long text has many; the first and the last ones count,
// so that any text takes bounded time.
const (
	// maxWindows bounds the windows of a kind at each end of a text.
	maxWindows = 6
	// linesBefore and linesAfter are the lines of a window beside the literal's own.
	linesBefore, linesAfter = 2, 8
	// bytesBefore and bytesAfter bound them.
	bytesBefore, bytesAfter = 2 << 10, 4 << 10
)

// source is a text that is looked through, and the same in lower case.
type source struct{ text, lower string }

func newSource(text string) source { return source{text, lowered(text)} }

// find is where the kind's pattern is in a text, with its groups, or nil.
func (k *matcher) find(s source) []int {
	var tried []string
	for _, w := range k.literals.windows(s) {
		window := s.text[w.from:w.to]
		if slices.Contains(tried, window) {
			continue
		}
		tried = append(tried, window)
		if at := k.regexp.FindStringSubmatchIndex(window); at != nil {
			for i := range at {
				if at[i] >= 0 {
					at[i] += w.from
				}
			}
			return at
		}
	}
	return nil
}

// span is a part of a text.
type span struct{ from, to int }

// windows are the parts of a text around the pieces, the first ones and the last ones, in
// their order.
func (l literals) windows(s source) []span {
	var found []span
	for next := 0; len(found) < maxWindows; {
		at, n := l.first(s.lower[next:])
		if at < 0 {
			return found
		}
		w := s.around(next+at, n)
		found, next = append(found, w), max(w.to, next+at+n)
	}
	last := found[len(found)-1].to
	for end := len(s.text); len(found) < 2*maxWindows && end > last; {
		at, n := l.last(s.lower[last:end])
		if at < 0 {
			break
		}
		w := s.around(last+at, n)
		found, end = slices.Insert(found, maxWindows, w), min(w.from, last+at)
	}
	return found
}

// first is where the first of the pieces is in a text, and its length; -1 when none is.
func (l literals) first(lower string) (at, n int) {
	at = -1
	for _, piece := range l {
		within := lower
		if at >= 0 {
			within = lower[:min(len(lower), at+len(piece))]
		}
		if i := strings.Index(within, piece); i >= 0 && (at < 0 || i < at) {
			at, n = i, len(piece)
		}
	}
	return at, n
}

// last is where the last of the pieces is in a text, and its length; -1 when none is.
func (l literals) last(lower string) (at, n int) {
	at = -1
	for _, piece := range l {
		if i := strings.LastIndex(lower[max(0, at):], piece); i >= 0 && max(0, at)+i >= at {
			at, n = max(0, at)+i, len(piece)
		}
	}
	return at, n
}

// around is the window of what stands at a place.
func (s source) around(at, n int) span {
	from, low := at, max(0, at-bytesBefore)
	for range linesBefore + 1 {
		i := strings.LastIndexByte(s.text[low:from], '\n')
		if i < 0 {
			from = low
			break
		}
		from = low + i
	}
	if from > low || from < len(s.text) && s.text[from] == '\n' {
		from++
	}
	to, high := at+n, min(len(s.text), at+n+bytesAfter)
	for range linesAfter + 1 {
		i := strings.IndexByte(s.text[to:high], '\n')
		if i < 0 {
			to = high
			break
		}
		to += i + 1
	}
	return span{min(from, at), to}
}

// lowered is a text with the letters of ASCII in lower case, each at its place.
func lowered(text string) string {
	b := []byte(text)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
