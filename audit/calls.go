package audit

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// libraryCall is a call in Python code that loads a library by a name which is written there.
type libraryCall struct {
	// line is that of the call, from 1.
	line int
	// function is the last name of what is called: find_library, CDLL.
	function string
	// names are the texts among the arguments: any of them will do, but for
	// require_version, whose first names a namespace and second its version.
	names []string
}

// loadingFunctions load a library by its first texts.
var loadingFunctions = []string{"find_library", "CDLL", "PyDLL", "LoadLibrary", "dlopen", "require_version"}

// Bounds of what is read of one file: tokens of a call, and calls.
const (
	maxCallTokens = 200
	maxCalls      = 200
)

// libraryCalls finds such calls in Python code, without running or parsing it: by its tokens
// (Python Language Reference, 2). Text in comments and strings is none. Calls in a block
// whose condition names another system, and names of libraries of such, are left out.
func libraryCalls(source string) []libraryCall {
	var calls []libraryCall
	s := pyScanner{text: source, line: 1}
	foreign := foreignBlocks{}
	var before pyToken
	for {
		tok := s.next()
		if tok.kind == pyEnd || len(calls) == maxCalls {
			return calls
		}
		if tok.first {
			foreign.begin(tok, source)
		}
		if tok.kind == pyOther && tok.text == "(" && before.kind == pyName {
			function := strings.TrimLeft(before.text, "_")
			if slices.Contains(loadingFunctions, function) && !foreign.inside() {
				names := argumentTexts(s)
				if ours := namesHere(names); len(ours) > 0 {
					calls = append(calls, libraryCall{before.line, function, ours})
				}
			}
		}
		before = tok
	}
}

// argumentTexts collects the texts that are arguments of a call, also in lists of them. The
// scanner stands behind the parenthesis and is a copy. Texts that are computed with are none.
func argumentTexts(s pyScanner) []string {
	var texts []string
	depth := 1
	last := pyToken{kind: pyOther, text: "("}
	for range maxCallTokens {
		tok := s.next()
		switch {
		case tok.kind == pyEnd:
			return nil
		case tok.kind == pyString:
			after := s
			next := after.next()
			alone := last.kind == pyOther && strings.Contains("([,=", last.text) && next.kind == pyOther && strings.Contains(")],", next.text)
			if alone && tok.plain {
				texts = append(texts, tok.text)
			}
		case tok.kind == pyOther && strings.Contains("([{", tok.text):
			depth++
			if last.kind == pyName {
				return texts // the result of another call
			}
		case tok.kind == pyOther && strings.Contains(")]}", tok.text):
			depth--
			if depth == 0 {
				return texts
			}
		}
		last = tok
	}
	return texts
}

// namesHere leaves out the names of libraries of other systems: all of them if one of them
// has a path, which is no name.
func namesHere(names []string) []string {
	return slices.DeleteFunc(names, func(name string) bool {
		lower := strings.ToLower(name)
		return name == "" || strings.ContainsAny(name, "/\\ \n") || strings.Contains(lower, ".dll") || strings.Contains(lower, ".dylib") || strings.HasSuffix(lower, ".framework") ||
			ofOtherSystems[strings.TrimSuffix(lower, ".drv")]
	})
}

// ofOtherSystems are libraries of Windows and macOS by the names that code has for them.
var ofOtherSystems = setOf(`advapi32 crypt32 gdi32 iphlpapi kernel32 msvcrt ntdll ole32 oleaut32 psapi setupapi shell32 shlwapi user32 winmm ws2_32 ucrtbase
	appkit applicationservices carbon cocoa corefoundation coregraphics coremidi coreservices foundation iokit objc quartz quartzcore security system systemconfiguration opengl`)

func setOf(words string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(words) {
		set[word] = true
	}
	return set
}

// foreignBlocks follows the blocks of code whose condition names another system.
type foreignBlocks struct {
	// columns are those of the conditions that code is in, outermost first.
	columns []int
}

func (f *foreignBlocks) inside() bool { return len(f.columns) > 0 }

// begin looks at the first token of a logical line: it ends blocks that it is not deeper than,
// and may begin one.
func (f *foreignBlocks) begin(tok pyToken, source string) {
	for len(f.columns) > 0 && tok.column <= f.columns[len(f.columns)-1] {
		f.columns = f.columns[:len(f.columns)-1]
	}
	if tok.kind != pyName || tok.text != "if" && tok.text != "elif" {
		return
	}
	condition, _, _ := strings.Cut(source[tok.at:min(len(source), tok.at+400)], "\n")
	for _, no := range []string{"!=", "not ", "linux", "Linux", "posix"} {
		if strings.Contains(condition, no) {
			return
		}
	}
	for _, system := range []string{"win32", "darwin", "Darwin", "cygwin", "Windows", `"nt"`, "'nt'", "WINDOWS", "MACOS", "android"} {
		if strings.Contains(condition, system) {
			f.columns = append(f.columns, tok.column)
			return
		}
	}
}

// The kinds of tokens that matter here.
const (
	pyEnd = iota
	pyName
	pyString
	pyOther
)

// pyToken is a token of Python code.
type pyToken struct {
	kind int
	// text is a name, a string's content without its escapes read, or one character.
	text string
	line int
	// at is its place, column that in its line, both in bytes.
	at, column int
	// first says that a logical line begins with it, plain that a string is a text whose
	// value is what stands there.
	first, plain bool
}

// pyScanner reads the tokens of Python code. A copy reads ahead.
type pyScanner struct {
	text string
	at   int
	line int
	// start is where the line begins, depth how many brackets are open.
	start, depth int
	// begun says that the logical line has a token.
	begun bool
}

// next reads a token. What is no Python ends in tokens that mean nothing.
func (s *pyScanner) next() pyToken {
	s.skip()
	tok := pyToken{line: s.line, at: s.at, column: s.at - s.start, first: !s.begun && s.depth == 0}
	if s.at >= len(s.text) {
		return tok
	}
	s.begun = true
	if length, quote := stringPrefix(s.text[s.at:]); quote > 0 {
		prefix := strings.ToLower(s.text[s.at : s.at+length])
		s.at += length
		tok.kind = pyString
		tok.text = s.readString(quote, strings.Contains(prefix, "r"))
		tok.plain = !strings.ContainsAny(prefix, "fbt") && !strings.Contains(tok.text, "\\")
		return tok
	}
	if length := nameLength(s.text[s.at:]); length > 0 {
		tok.kind, tok.text = pyName, s.text[s.at:s.at+length]
		s.at += length
		return tok
	}
	tok.kind, tok.text = pyOther, s.text[s.at:s.at+1]
	switch tok.text {
	case "(", "[", "{":
		s.depth++
	case ")", "]", "}":
		s.depth = max(0, s.depth-1)
	}
	s.at++
	return tok
}

// skip passes blanks, comments and the ends of lines.
func (s *pyScanner) skip() {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '\n':
			s.newLine(s.at + 1)
			if s.depth == 0 {
				s.begun = false
			}
		case c == ' ' || c == '\t' || c == '\r' || c == '\f':
			s.at++
		case c == '#':
			if end := strings.IndexByte(s.text[s.at:], '\n'); end >= 0 {
				s.at += end
			} else {
				s.at = len(s.text)
			}
		case c == '\\' && strings.HasPrefix(s.text[s.at+1:], "\n"):
			s.newLine(s.at + 2)
		default:
			return
		}
	}
}

func (s *pyScanner) newLine(at int) { s.at, s.start, s.line = at, at, s.line+1 }

// readString reads a string behind its prefix; quote is the length of its quotes.
func (s *pyScanner) readString(quote int, raw bool) string {
	mark := s.text[s.at : s.at+quote]
	s.at += quote
	from := s.at
	for s.at < len(s.text) {
		switch {
		case strings.HasPrefix(s.text[s.at:], mark):
			text := s.text[from:s.at]
			s.at += quote
			return text
		case s.text[s.at] == '\\' && s.at+1 < len(s.text):
			s.at++
			if s.text[s.at] != '\n' {
				s.at++
			}
		case s.text[s.at] == '\n':
			if quote == 1 && (raw || s.text[s.at-1] != '\\') {
				return s.text[from:s.at] // it has no end
			}
			s.newLine(s.at + 1)
		default:
			s.at++
		}
	}
	return s.text[from:]
}

// stringPrefix reports how long the prefix of a string is, and its quotes: 0 where there is
// no string.
func stringPrefix(text string) (length, quote int) {
	for length < len(text) && length < 2 && strings.IndexByte("rRbBuUfFtT", text[length]) >= 0 {
		length++
	}
	rest := text[length:]
	switch {
	case strings.HasPrefix(rest, `"""`), strings.HasPrefix(rest, "'''"):
		return length, 3
	case strings.HasPrefix(rest, `"`), strings.HasPrefix(rest, "'"):
		return length, 1
	}
	return 0, 0
}

// nameLength is the length of the name or number that a text begins with.
func nameLength(text string) int {
	for i, r := range text {
		if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) || r == utf8.RuneError {
			return i
		}
	}
	return len(text)
}
