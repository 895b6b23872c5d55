package project

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// setupText is a text of a setup.py, with its place.
type setupText struct {
	text         string
	line, column int
}

// setup is what is understood of a setup.py without running it: literal texts and lists
// of them that setup() is called with, by keyword or by a name that stands for one.
type setup struct {
	name     string
	pythons  []setupText
	requires []setupText
	// extras are those of extras_require, by name, without what they require.
	extras []setupText
	// computed are the keywords whose values are no literals: nobody knows them without
	// running the file.
	computed []setupText
	called   bool
}

// scanSetup reads a setup.py as text.
func scanSetup(body string) setup {
	p := &setupScan{tokens: pythonTokens(body), names: map[string][]setupText{}}
	for p.at < len(p.tokens) {
		p.step()
	}
	return p.found
}

// pyToken is a token of Python: a name, a text, or one character of anything else.
type pyToken struct {
	kind         pyKind
	text         string
	line, column int
}

type pyKind int

const (
	pyName pyKind = iota
	pyText
	pyOther
	pyEnd // of a logical line
)

// pythonTokens takes Python's text apart, as far as literals and names need it. Texts
// with values in them (f"…") and bytes are no literals here.
func pythonTokens(body string) []pyToken {
	var all []pyToken
	line, start, depth := 1, 0, 0
	for i := 0; i < len(body); {
		c, size := utf8.DecodeRuneInString(body[i:])
		column := 1 + utf8.RuneCountInString(body[start:i])
		switch {
		case c == '\n':
			if depth == 0 {
				all = append(all, pyToken{pyEnd, "", line, column})
			}
			i++
			line, start = line+1, i
		case c == '#':
			for i < len(body) && body[i] != '\n' {
				i++
			}
		case c == '"' || c == '\'':
			value, end := pythonText(body, i)
			all = append(all, pyToken{pyText, value, line, column})
			if n := strings.Count(body[i:end], "\n"); n > 0 {
				line, start = line+n, i+strings.LastIndexByte(body[i:end], '\n')+1
			}
			i = end
		case c == '_' || unicode.IsLetter(c):
			end := i
			for end < len(body) {
				r, n := utf8.DecodeRuneInString(body[end:])
				if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
					break
				}
				end += n
			}
			word := body[i:end]
			if end < len(body) && (body[end] == '"' || body[end] == '\'') && len(word) <= 2 && strings.Trim(strings.ToLower(word), "rbuft") == "" {
				if lower := strings.ToLower(word); lower != "r" && lower != "u" {
					all = append(all, pyToken{pyOther, word, line, column})
				}
			} else {
				all = append(all, pyToken{pyName, word, line, column})
			}
			i = end
		default:
			if strings.ContainsRune("([{", c) {
				depth++
			} else if strings.ContainsRune(")]}", c) && depth > 0 {
				depth--
			}
			if c != ' ' && c != '\t' && c != '\r' && c != '\\' {
				all = append(all, pyToken{pyOther, string(c), line, column})
			}
			i += size
		}
	}
	return append(all, pyToken{pyEnd, "", line, 1})
}

// pythonText reads a text that begins with a quote, and where it ends. Escapes stand as
// they are: names and versions have none.
func pythonText(body string, from int) (value string, end int) {
	quote := body[from : from+1]
	if strings.HasPrefix(body[from:], strings.Repeat(quote, 3)) {
		quote = strings.Repeat(quote, 3)
	}
	i := from + len(quote)
	for i < len(body) {
		switch {
		case strings.HasPrefix(body[i:], quote):
			return body[from+len(quote) : i], i + len(quote)
		case body[i] == '\\' && i+1 < len(body):
			i += 2
		case body[i] == '\n' && len(quote) == 1:
			return body[from+1 : i], i
		default:
			i++
		}
	}
	return body[min(from+len(quote), len(body)):], len(body)
}

type setupScan struct {
	tokens []pyToken
	at     int
	names  map[string][]setupText
	// depth is how many brackets are open since those of setup(); 0 is outside of it.
	depth int
	found setup
}

func (p *setupScan) peek(n int) pyToken {
	if p.at+n < len(p.tokens) {
		return p.tokens[p.at+n]
	}
	return pyToken{kind: pyEnd}
}

// step looks at one token: an assignment, a call of setup, or a keyword of it.
func (p *setupScan) step() {
	t, behind := p.peek(0), p.peek(1).text
	switch {
	case t.kind == pyName && t.text == "setup" && behind == "(":
		p.depth, p.found.called = 1, true
		p.at += 2
	case t.kind == pyName && behind == "=" && p.peek(2).text != "=":
		p.at += 2
		p.assigned(t)
	case t.kind == pyText && p.depth == 2 && behind == ":" && setupKeywords[t.text]:
		// setup(**{"install_requires": […]})
		p.at += 2
		p.assigned(t)
	default:
		// A list that grows later is not what stands where it is made.
		if t.kind == pyName && (behind == "." || behind == "+" && p.peek(2).text == "=") {
			delete(p.names, t.text)
		}
		p.bracket(t)
		p.at++
	}
}

// bracket counts brackets within setup().
func (p *setupScan) bracket(t pyToken) {
	switch {
	case t.kind != pyOther || p.depth == 0:
	case strings.Contains("([{", t.text):
		p.depth++
	case strings.Contains(")]}", t.text):
		p.depth--
	}
}

var setupKeywords = map[string]bool{"name": true, "python_requires": true, "install_requires": true, "extras_require": true}

// assigned takes the value of a name or a keyword.
func (p *setupScan) assigned(name pyToken) {
	from := p.at
	value, ok := p.value(name.text == "extras_require")
	if !ok {
		p.at = from
	}
	if p.depth == 0 {
		delete(p.names, name.text)
		if ok {
			p.names[name.text] = value
		}
		return
	}
	if !setupKeywords[name.text] || p.depth > 1 && name.kind == pyName {
		return
	}
	if !ok {
		p.found.computed = append(p.found.computed, setupText{name.text, name.line, name.column})
		return
	}
	switch name.text {
	case "name":
		if len(value) > 0 {
			p.found.name = value[0].text
		}
	case "python_requires":
		p.found.pythons = append(p.found.pythons, value...)
	case "install_requires":
		p.found.requires = append(p.found.requires, value...)
	case "extras_require":
		p.found.extras = append(p.found.extras, value...)
	}
}

// value reads a literal text, a list or tuple of them, or a name that stands for one. Of
// a mapping it gives the keys. ok is false for anything else.
func (p *setupScan) value(mapping bool) (value []setupText, ok bool) {
	t := p.peek(0)
	switch {
	case t.kind == pyText:
		return []setupText{p.literal()}, p.valueEnds()
	case t.kind == pyName:
		value, ok = p.names[t.text]
		if ok {
			p.at++
		}
		return value, ok && p.valueEnds()
	case t.text == "[" || t.text == "(":
		p.at++
		for p.peek(0).kind == pyText {
			value = append(value, p.literal())
			if p.peek(0).text == "," {
				p.at++
			}
		}
		if end := p.peek(0).text; end != "]" && end != ")" {
			return nil, false
		}
		p.at++
		return value, p.valueEnds()
	case t.text == "{" && mapping:
		return p.keys(), true
	}
	return nil, false
}

// literal joins texts that stand beside each other, as Python does.
func (p *setupScan) literal() setupText {
	t := p.peek(0)
	joined := setupText{"", t.line, t.column}
	for p.peek(0).kind == pyText {
		joined.text += p.peek(0).text
		p.at++
	}
	return joined
}

// valueEnds reports whether nothing is done with a value that was read.
func (p *setupScan) valueEnds() bool {
	t := p.peek(0)
	return t.kind == pyEnd || t.text == "," || t.text == ")" || t.text == "}" || t.text == ";"
}

// keys gives the keys of a mapping.
func (p *setupScan) keys() []setupText {
	var all []setupText
	depth := 0
	for ; p.at < len(p.tokens); p.at++ {
		switch t := p.peek(0); {
		case t.kind == pyText && depth == 1 && p.peek(1).text == ":":
			all = append(all, setupText{t.text, t.line, t.column})
		case t.kind != pyOther:
		case t.text == "{", t.text == "[", t.text == "(":
			depth++
		case t.text == "}", t.text == "]", t.text == ")":
			depth--
			if depth == 0 {
				p.at++
				return all
			}
		}
	}
	return all
}
