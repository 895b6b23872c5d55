package project

import (
	"iter"
	"slices"
	"strings"
	"unicode/utf8"
)

// word is a word of a line, and the column of its first character, from 1.
type word struct {
	text   string
	column int
}

// lines gives the words of each line that has some, by its number from 1. What follows
// a # is a comment.
func lines(body string) iter.Seq2[int, []word] {
	return func(yield func(int, []word) bool) {
		number := 0
		for line := range strings.Lines(body) {
			number++
			line, _, _ = strings.Cut(line, "#")
			if found := words(line); len(found) > 0 && !yield(number, found) {
				return
			}
		}
	}
}

// words takes a line apart at blanks.
func words(line string) []word {
	var all []word
	at := 0
	for field := range strings.FieldsSeq(line) {
		start := at + strings.Index(line[at:], field)
		all = append(all, word{field, 1 + utf8.RuneCountInString(line[:start])})
		at = start + len(field)
	}
	return all
}

// place is the line and column of an offset in bytes.
func place(body string, offset int) (line, column int) {
	before := body[:offset]
	start := strings.LastIndexByte(before, '\n') + 1
	return 1 + strings.Count(before, "\n"), 1 + utf8.RuneCountInString(before[start:])
}

// shorten cuts a text that is told.
func shorten(what string) string {
	const most = 80
	if len(what) <= most {
		return what
	}
	return strings.ToValidUTF8(what[:most], "") + "…"
}

func sorted(texts []string) []string {
	slices.Sort(texts)
	return texts
}

func first(texts []string, n int) []string { return texts[:min(n, len(texts))] }
