package explain

import (
	"regexp/syntax"
	"strings"
)

// literals are pieces of text in lower case of which each text has one that a pattern
// matches.
type literals []string

func literalsOf(pattern string) literals {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	return required(parsed)
}

// required are the literals of an expression: of a sequence those of the part that tells
// most, of alternatives those of all.
func required(e *syntax.Regexp) literals {
	switch e.Op {
	case syntax.OpLiteral:
		if lower := strings.ToLower(string(e.Rune)); len(lower) > 2 && isASCII(lower) {
			return literals{lower}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return required(e.Sub[0])
	case syntax.OpConcat:
		var best literals
		for _, sub := range e.Sub {
			if l := required(sub); len(l) > 0 && l.shortest() > best.shortest() {
				best = l
			}
		}
		return best
	case syntax.OpAlternate:
		var all literals
		for _, sub := range e.Sub {
			l := required(sub)
			if len(l) == 0 {
				return nil
			}
			all = append(all, l...)
		}
		return all
	}
	return nil
}

// shortest is the length of the shortest piece, 0 when there is none.
func (l literals) shortest() int {
	n := 0
	for i, piece := range l {
		if i == 0 || len(piece) < n {
			n = len(piece)
		}
	}
	return n
}

// isASCII reports whether lower case is the same for every spelling of a piece. The Kelvin
// sign and the long s, which Unicode folds to k and s, are no letters of any message.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
