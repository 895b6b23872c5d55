package project

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// iniValue is a value of an INI file, as Python's configparser has them: lines that are
// indented continue it.
type iniValue struct {
	section, key string
	// text is the value, with a line feed between its lines; line and column are those of
	// its first character that is no blank.
	text         string
	line, column int
	// parts are the lines of the value that are not empty, each with its place.
	parts []iniPart
}

type iniPart struct {
	text         string
	line, column int
}

// iniValues reads an INI file. Lines that are neither a section nor a value are passed over.
func iniValues(body string) []iniValue {
	var all []iniValue
	section, number := "", 0
	var open *iniValue
	for line := range strings.Lines(body) {
		number++
		line = strings.TrimRight(line, "\r\n")
		bare := strings.TrimSpace(line)
		switch {
		case bare == "", bare[0] == '#', bare[0] == ';':
		case line[0] == ' ' || line[0] == '\t':
			if open != nil {
				open.add(bare, number, column(line, bare))
			}
		case bare[0] == '[':
			section, open = strings.TrimSpace(strings.Trim(bare, "[]")), nil
		default:
			i := strings.IndexAny(line, "=:")
			if i < 0 {
				open = nil
				continue
			}
			all = append(all, iniValue{section: section, key: strings.ToLower(strings.TrimSpace(line[:i]))})
			open = &all[len(all)-1]
			if value := strings.TrimSpace(line[i+1:]); value != "" {
				open.add(value, number, utf8.RuneCountInString(line[:i+1+strings.Index(line[i+1:], value)])+1)
			}
		}
	}
	return all
}

// column is where a line's text begins.
func column(line, bare string) int {
	return 1 + utf8.RuneCountInString(line[:strings.Index(line, bare)])
}

func (v *iniValue) add(line string, number, column int) {
	if i := strings.Index(line, " #"); i >= 0 {
		line = strings.TrimSpace(line[:i])
	}
	if len(v.parts) == 0 {
		v.text, v.line, v.column = line, number, column
	} else {
		v.text += "\n" + line
	}
	v.parts = append(v.parts, iniPart{line, number, column})
}

// tox reads which Pythons tox tests with: the names of environments, and basepython.
func (r *Repository) tox(t text) []Statement {
	var all []Statement
	for _, v := range iniValues(t.body) {
		section, inSetup := strings.CutPrefix(v.section, "tox:")
		switch {
		case strings.HasSuffix(t.name, "setup.cfg") && !inSetup:
		case section == "tox" && (v.key == "envlist" || v.key == "env_list"):
			for _, part := range v.parts {
				all = append(all, t.environments(part.line, part.column, part.text)...)
			}
		case strings.HasPrefix(section, "testenv") && (v.key == "basepython" || v.key == "base_python"):
			for _, part := range v.parts {
				// A condition may stand before it: py311: python3.11.
				name := part.text[strings.LastIndexByte(part.text, ' ')+1:]
				if w, ok := byName(name); ok && name != "" {
					all = append(all, t.statement(part.line, part.column, v.key+" "+name, w))
				}
			}
		}
	}
	return group(t.name, all)
}

var (
	// A factor that names a Python: py311, py3.13, 3.13, py3.
	toxFactor = regexp.MustCompile(`^(?:py|python)?(3)\.?([0-9]{1,2})?t?$|^(?:pypy)(\d)`)
	toxSplit  = regexp.MustCompile(`[^,\s{}]*(?:\{[^{}]*\}[^,\s{}]*)+|[^,\s{}]+`)
	toxBraces = regexp.MustCompile(`\{([^{}]*)\}`)
)

// maxEnvironments bounds what one line of tox expands to.
const maxEnvironments = 500

// environments reads names of tox's environments: py311, py{312,313}-django{4,5}.
func (t text) environments(line, column int, list string) []Statement {
	var all []Statement
	for _, at := range toxSplit.FindAllStringIndex(list, -1) {
		for _, name := range expand(list[at[0]:at[1]], maxEnvironments) {
			for factor := range strings.SplitSeq(name, "-") {
				w, ok := factorPython(factor)
				if !ok {
					continue
				}
				all = append(all, t.statement(line, column+utf8.RuneCountInString(list[:at[0]]), "tox "+name, w))
			}
		}
	}
	return all
}

// factorPython is the Python that a factor of tox names.
func factorPython(factor string) (Wanted, bool) {
	m := toxFactor.FindStringSubmatch(factor)
	switch {
	case m == nil, m[1] == "":
		return Wanted{}, false
	case m[2] == "":
		return byNumber("3")
	}
	return byNumber("3." + m[2])
}

// expand lays out braces: py{312,313} is py312 and py313. A range such as {12-14} is
// three numbers (tox 4.25).
func expand(name string, most int) []string {
	at := toxBraces.FindStringSubmatchIndex(name)
	if at == nil {
		return []string{name}
	}
	var all []string
	for choice := range strings.SplitSeq(name[at[2]:at[3]], ",") {
		for _, one := range numbers(strings.TrimSpace(choice)) {
			if len(all) >= most {
				return all
			}
			all = append(all, expand(name[:at[0]]+one+name[at[1]:], most-len(all))...)
		}
	}
	return all
}

var toxRange = regexp.MustCompile(`^([0-9]{1,3})-([0-9]{1,3})$`)

// numbers lays out a range of numbers; anything else stands for itself.
func numbers(choice string) []string {
	m := toxRange.FindStringSubmatch(choice)
	if m == nil {
		return []string{choice}
	}
	var all []string
	for n := m[1]; ; n = next(n) {
		all = append(all, n)
		if n == m[2] || len(all) > maxEnvironments {
			return all
		}
	}
}
