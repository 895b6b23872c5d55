package audit

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"ampoule/tree"
)

// sysconfig is what _sysconfigdata tells of how an interpreter was built, and what it
// hands to those who build for it.
type sysconfig struct {
	// file is its path in the tree.
	file string
	vars map[string]string
}

// Sysconfig returns the variables that the interpreter of a tree has in its _sysconfigdata:
// how it was built, and what it hands to those who build for it.
func Sysconfig(t *tree.Tree) (map[string]string, error) {
	home, err := findInstallation(t, "")
	if err != nil {
		return nil, err
	}
	config, err := readSysconfig(t, home)
	return config.vars, err
}

// suffixes are the ends of the names by which import finds extension modules, the most
// special first (Python/dynload_shlib.c of CPython; of 3.15 on as PEP 803 has it).
func (c sysconfig) suffixes() []string {
	var list []string
	if own := c.vars["EXT_SUFFIX"]; own != "" {
		list = append(list, own)
	}
	// A release build has no ALT_SOABI, or 0; a debug build has it with the quotes of C.
	if alt := strings.Trim(c.vars["ALT_SOABI"], `"`); alt != "" && alt != "0" {
		list = append(list, "."+alt+".so")
	}
	minor, ok := strings.CutPrefix(c.vars["VERSION"], "3.")
	if n, err := strconv.Atoi(minor); !ok || err != nil || n < 15 {
		return append(list, ".abi3.so", ".so")
	}
	stable := []string{"abi3", "abi3t"}
	if c.isSet("Py_GIL_DISABLED") {
		stable = stable[1:]
	}
	for _, abi := range stable {
		if machine := c.vars["MULTIARCH"]; machine != "" {
			list = append(list, "."+abi+"-"+machine+".so")
		}
		list = append(list, "."+abi+".so")
	}
	return append(list, ".so")
}

// isSet reports whether a variable of configure's is 1.
func (c sysconfig) isSet(name string) bool { return c.vars[name] == "1" }

// nativeFlag is a compiler's flag that makes code for the processor of the build machine,
// in a variable.
type nativeFlag struct{ file, variable, word string }

// nativeFlags lists them by variable.
func (c sysconfig) nativeFlags() []nativeFlag {
	var list []nativeFlag
	for _, name := range slices.Sorted(maps.Keys(c.vars)) {
		for _, word := range strings.Fields(c.vars[name]) {
			// CONFIG_ARGS has its words in quotes.
			word = strings.Trim(word, `'"`)
			if strings.HasSuffix(word, "-march=native") || strings.HasSuffix(word, "-mcpu=native") {
				list = append(list, nativeFlag{c.file, name, word})
			}
		}
	}
	return list
}

// readSysconfig reads the one _sysconfigdata of a standard library. It is Python source
// that sysconfig generates: a dict of names with texts and numbers, and it is read as
// that and nothing else.
func readSysconfig(t *tree.Tree, home installation) (sysconfig, error) {
	var found []tree.Entry
	for _, e := range t.Entries() {
		base := path.Base(e.Path)
		if path.Dir(e.Path) == home.lib && strings.HasPrefix(base, "_sysconfigdata_") && path.Ext(base) == ".py" {
			found = append(found, e)
		}
	}
	// Debian has the file of a cross build beside its own, and that of a debug build.
	if len(found) > 1 {
		own := "_sysconfigdata_" + home.flags + "_linux_"
		found = slices.DeleteFunc(found, func(e tree.Entry) bool { return !strings.HasPrefix(path.Base(e.Path), own) })
	}
	if len(found) != 1 {
		return sysconfig{}, fmt.Errorf("%w: %d files _sysconfigdata_*.py in %s", ErrMeasure, len(found), home.lib)
	}
	data, err := readText(found[0])
	if err != nil {
		return sysconfig{}, err
	}
	vars, err := parseSysconfig(data)
	if err != nil {
		return sysconfig{}, fmt.Errorf("%w: %s: %w", ErrMeasure, found[0].Path, err)
	}
	return sysconfig{found[0].Path, vars}, nil
}

// parseSysconfig reads "build_time_vars = {…}".
func parseSysconfig(data []byte) (map[string]string, error) {
	_, rest, ok := bytes.Cut(data, []byte("build_time_vars"))
	if !ok {
		return nil, fmt.Errorf("no build_time_vars")
	}
	p := &literal{rest: rest}
	p.want('=')
	p.want('{')
	vars := map[string]string{}
	for p.err == nil && !p.has('}') {
		name := p.text()
		p.want(':')
		vars[name] = p.value()
		if !p.has(',') {
			p.want('}')
			break
		}
	}
	return vars, p.err
}

// literal reads Python literals: texts, adjacent ones joined, and whole numbers.
type literal struct {
	rest []byte
	err  error
}

func (p *literal) fail(what string) {
	if p.err == nil {
		p.err = fmt.Errorf("%s before %.20q", what, p.rest)
	}
}

// has skips white space and reports whether a character follows, which it skips then.
func (p *literal) has(c byte) bool {
	p.rest = bytes.TrimLeft(p.rest, " \t\r\n")
	if len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *literal) want(c byte) {
	if p.err == nil && !p.has(c) {
		p.fail("no " + string(c))
	}
}

func (p *literal) value() string {
	p.rest = bytes.TrimLeft(p.rest, " \t\r\n")
	digits := 0
	for digits < len(p.rest) && (p.rest[digits] >= '0' && p.rest[digits] <= '9' || digits == 0 && p.rest[0] == '-') {
		digits++
	}
	if digits == 0 {
		return p.text()
	}
	number := string(p.rest[:digits])
	p.rest = p.rest[digits:]
	return number
}

// text reads one text or several that stand side by side.
func (p *literal) text() string {
	var b strings.Builder
	for n := 0; p.err == nil; n++ {
		switch {
		case p.has('\''):
			p.quoted(&b, '\'')
		case p.has('"'):
			p.quoted(&b, '"')
		case n == 0:
			p.fail("no text")
		default:
			return b.String()
		}
	}
	return ""
}

// escapes are those that repr() writes, and what follows each in hexadecimal digits.
var escapes = map[byte]struct {
	text   string
	digits int
}{
	'\\': {text: "\\"}, '\'': {text: "'"}, '"': {text: "\""}, 'n': {text: "\n"}, 'r': {text: "\r"}, 't': {text: "\t"},
	'x': {digits: 2}, 'u': {digits: 4}, 'U': {digits: 8},
}

func (p *literal) quoted(b *strings.Builder, quote byte) {
	for len(p.rest) > 0 {
		c := p.rest[0]
		p.rest = p.rest[1:]
		switch {
		case c == quote:
			return
		case c == '\n':
			p.fail("text without end")
			return
		case c != '\\':
			b.WriteByte(c)
		case !p.escape(b):
			p.fail("unknown escape")
			return
		}
	}
	p.fail("text without end")
}

func (p *literal) escape(b *strings.Builder) bool {
	if len(p.rest) == 0 {
		return false
	}
	e, ok := escapes[p.rest[0]]
	p.rest = p.rest[1:]
	if !ok || len(p.rest) < e.digits {
		return false
	}
	if e.digits == 0 {
		b.WriteString(e.text)
		return true
	}
	n, err := strconv.ParseUint(string(p.rest[:e.digits]), 16, 32)
	p.rest = p.rest[e.digits:]
	if err != nil || n > utf8.MaxRune {
		return false
	}
	b.WriteRune(rune(n))
	return true
}
