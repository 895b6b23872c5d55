package project

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// pipelines reads which Pythons pipelines work with. What stands in one is not
// evaluated: the plain values of keys that name a Python are taken, wherever they stand.
// All that stands for one system is one group.
func (r *Repository) pipelines() []Statement {
	top := r.above()[len(r.above())-1]
	var github []Statement
	for _, name := range r.list(below(top, ".github/workflows")) {
		if strings.HasSuffix(name, ".yml") || strings.HasSuffix(name, ".yaml") {
			github = append(github, r.pipeline(below(top, ".github/workflows/"+name))...)
		}
	}
	all := group("GitHub's workflows", github)
	for _, name := range []string{".gitlab-ci.yml", ".circleci/config.yml", "bitbucket-pipelines.yml"} {
		all = append(all, group(name, r.pipeline(below(top, name)))...)
	}
	return all
}

// yamlKey finds a key with what stands behind it in its line, in block and in flow form.
var yamlKey = regexp.MustCompile(`(^|[\s{,])["']?([A-Za-z_][A-Za-z0-9_.-]*)["']?:(?:\s+|$)`)

// pythonKeys are the keys whose values are versions of Python, in lower case with "_"
// for "-".
var pythonKeys = map[string]bool{"python_version": true, "python_versions": true, "python": true, "py_version": true, "py": true}

// pipeline reads one file by its lines.
func (r *Repository) pipeline(name string) []Statement {
	t, ok := r.read(name, maxFile)
	if !ok {
		return nil
	}
	return (&yamlScan{text: t}).scan()
}

type yamlScan struct {
	text
	lines []string
	at    int
	found []Statement
}

func (s *yamlScan) scan() []Statement {
	s.lines = strings.Split(s.body, "\n")
	for s.at = 0; s.at < len(s.lines); s.at++ {
		s.line(withoutComment(s.lines[s.at]))
	}
	return s.found
}

// line looks for keys in a line. What stands deeper than a text of several lines is its
// own, such as a script.
func (s *yamlScan) line(line string) {
	for _, m := range yamlKey.FindAllStringSubmatchIndex(line, -1) {
		key := strings.ReplaceAll(strings.ToLower(line[m[4]:m[5]]), "-", "_")
		rest := strings.TrimSpace(line[m[1]:])
		switch {
		case key == "image" || key == "name" || key == "container":
			s.image(line, m[1], rest)
		case pythonKeys[key]:
			s.values(line, m[1], rest)
		case rest != "" && (rest[0] == '|' || rest[0] == '>'):
			for s.at+1 < len(s.lines) && deeper(s.lines[s.at+1], indent(line)) {
				s.at++
			}
		}
	}
}

// image takes the Python of an image.
func (s *yamlScan) image(line string, from int, rest string) {
	name := strings.Trim(strings.TrimRight(rest, "},"), `"'`)
	if w, ok := imagePython(name); ok {
		s.found = append(s.found, s.statement(s.at+1, 1+utf8.RuneCountInString(line[:from]), "image "+name, w))
	}
}

// values takes the versions that a key has: one, a list, or several lines.
func (s *yamlScan) values(line string, from int, rest string) {
	switch {
	case strings.HasPrefix(rest, "["):
		s.flow(line, from)
	case rest == "", rest[0] == '|', rest[0] == '>':
		depth := indent(line)
		for s.at+1 < len(s.lines) {
			next := withoutComment(s.lines[s.at+1])
			bare := strings.TrimSpace(next)
			item := strings.HasPrefix(bare, "-")
			if bare != "" && !deeper(next, depth) && !(item && indent(next) == depth) {
				return
			}
			s.at++
			if rest == "" && bare != "" && !item {
				return
			}
			s.take(next, 0, strings.TrimPrefix(bare, "-"))
		}
	default:
		if end := strings.IndexAny(rest, ",}"); end >= 0 && rest[0] != '"' && rest[0] != '\'' {
			rest = rest[:end]
		}
		s.take(line, from, rest)
	}
}

// flow takes a list in brackets, which may go over several lines.
func (s *yamlScan) flow(line string, from int) {
	for ; ; from = 0 {
		body, _, ended := strings.Cut(line[from:], "]")
		at := from
		for part := range strings.SplitSeq(body, ",") {
			s.take(line, at, strings.Trim(part, "[ \t"))
			at += len(part) + 1
		}
		if ended || s.at+1 >= len(s.lines) {
			return
		}
		s.at++
		line = withoutComment(s.lines[s.at])
	}
}

// take takes one version that stands in a line behind an offset. An expression and
// another Python say nothing.
func (s *yamlScan) take(line string, from int, value string) {
	value = strings.Trim(strings.TrimSpace(value), `"'`)
	if value == "" {
		return
	}
	column := from + strings.Index(line[from:], value)
	w, ok := byName(value)
	if ok && len(w.any) == 0 {
		return
	}
	if !ok {
		w, ok = byConstraint(value)
	}
	if ok {
		s.found = append(s.found, s.statement(s.at+1, 1+utf8.RuneCountInString(line[:column]), "python "+value, w))
	}
}

var yamlComment = regexp.MustCompile(`(^|\s)#.*$`)

func withoutComment(line string) string {
	return yamlComment.ReplaceAllString(strings.TrimRight(line, "\r"), "")
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// deeper reports whether a line belongs to a key that stands at an indentation.
func deeper(line string, depth int) bool {
	return strings.TrimSpace(line) == "" || indent(line) > depth
}
