package wheel

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	pep440 "github.com/aquasecurity/go-pep440-version"
)

// ErrRequirement is wrapped by errors about texts that are no dependency specifiers.
var ErrRequirement = errors.New("not a requirement")

// Requirement is a dependency specifier (PEP 508).
type Requirement struct {
	// Name is as it stands; Extras are normalised.
	Name   string
	Extras []string
	// Versions are the versions that it admits (PEP 440), as they stand: ">=1,<3". A URL
	// stands for one file, whatever its version.
	Versions, URL string
	marker        expression
}

// Environment is what markers ask for (PEP 508, "Environment Markers").
type Environment map[string]string

// LinuxEnvironment is that of a CPython on Linux; full is X.Y.Z, machine x86_64 or
// aarch64.
func LinuxEnvironment(full, machine string) Environment {
	parts := strings.SplitN(full, ".", 3)
	return Environment{
		"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "platform_machine": machine,
		"platform_python_implementation": "CPython", "implementation_name": "cpython",
		"python_version": strings.Join(parts[:min(2, len(parts))], "."), "python_full_version": full, "implementation_version": full,
		// What a kernel says of itself is not known beforehand.
		"platform_release": "", "platform_version": "", "extra": "",
	}
}

var (
	requirementStart = regexp.MustCompile(`^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?\s*`)
	extraName        = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
)

// maxRequirement bounds a requirement, in bytes.
const maxRequirement = 16 << 10

// ParseRequirement reads a dependency specifier, as Requires-Dist has it.
func ParseRequirement(text string) (Requirement, error) {
	fail := func(why string) (Requirement, error) {
		return Requirement{}, fmt.Errorf("%.100q: %s: %w", text, why, ErrRequirement)
	}
	m := requirementStart.FindStringSubmatch(text)
	if m == nil || len(text) > maxRequirement {
		return fail("no name")
	}
	r := Requirement{Name: strings.TrimRight(m[1], "._-")}
	for _, extra := range strings.Split(m[2], ",") {
		extra = strings.TrimSpace(extra)
		switch {
		case extraName.MatchString(extra):
			r.Extras = append(r.Extras, Normalize(extra))
		case extra != "":
			return fail("extra")
		}
	}
	rest, marker, marked := text[len(m[0]):], "", false
	if url, ok := strings.CutPrefix(rest, "@"); ok {
		// A URL may have a semicolon; the one before a marker stands after white space.
		r.URL, marker, marked = strings.Cut(strings.TrimSpace(url), " ;")
		if r.URL = strings.TrimSpace(r.URL); r.URL == "" {
			return fail("no URL")
		}
	} else {
		rest, marker, marked = strings.Cut(rest, ";")
		rest = strings.TrimSpace(rest)
		if inner, ok := strings.CutPrefix(rest, "("); ok {
			if rest, ok = strings.CutSuffix(inner, ")"); !ok {
				return fail("parenthesis without end")
			}
		}
		if r.Versions = strings.TrimSpace(rest); r.Versions != "" {
			if _, err := pep440.NewSpecifiers(r.Versions); err != nil {
				return fail("versions")
			}
		}
	}
	if marked {
		p := &markerParser{rest: marker}
		r.marker = p.or(0)
		if p.skip(); p.err == nil && p.rest != "" {
			p.err = errors.New("more behind the marker")
		}
		if p.err != nil {
			return fail("marker: " + p.err.Error())
		}
	}
	return r, nil
}

// Applies tells whether the requirement counts in an environment, for a distribution that
// was asked for with the given extras, which are normalised.
func (r Requirement) Applies(env Environment, extras []string) bool {
	if r.marker == nil || r.marker(env) {
		return true
	}
	return slices.ContainsFunc(extras, func(extra string) bool {
		with := maps.Clone(env)
		with["extra"] = extra
		return r.marker(with)
	})
}

// Admits tells whether a version is one that the requirement wants. What is installed
// may be a pre-release, whatever is wanted.
func (r Requirement) Admits(version string) bool {
	if r.Versions == "" {
		return true
	}
	v, err := pep440.Parse(version)
	if err != nil {
		return false
	}
	s, err := pep440.NewSpecifiers(r.Versions, pep440.WithPreRelease(true))
	if err != nil || !s.Check(v) {
		return false
	}
	// "<2" does not admit pre-releases of 2 itself (PEP 440, "Exclusive ordered comparison").
	for _, clause := range strings.Split(r.Versions, ",") {
		limit, ok := strings.CutPrefix(strings.TrimSpace(clause), "<")
		if !ok || strings.HasPrefix(limit, "=") {
			continue
		}
		above, err := pep440.Parse(strings.TrimSpace(limit))
		if err == nil && v.IsPreRelease() && !above.IsPreRelease() && sameBase(v, above) {
			return false
		}
	}
	return true
}

// sameBase tells whether two versions are of one release: 2.0.dev1 and 2.
func sameBase(a, b pep440.Version) bool {
	base, err := pep440.Parse(a.BaseVersion())
	if err != nil {
		return false
	}
	s, err := pep440.NewSpecifiers("==" + b.BaseVersion())
	return err == nil && s.Check(base)
}

// expression is a marker, or a part of one.
type expression func(Environment) bool

// markerParser reads markers by recursive descent (PEP 508, "Grammar").
type markerParser struct {
	rest string
	err  error
}

// maxNesting bounds parentheses.
const maxNesting = 32

func (p *markerParser) skip() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

func (p *markerParser) fail(why string) expression {
	if p.err == nil {
		p.err = fmt.Errorf("%s before %.20q", why, p.rest)
	}
	return func(Environment) bool { return false }
}

// word takes a keyword, if it is next.
func (p *markerParser) word(w string) bool {
	p.skip()
	rest, ok := strings.CutPrefix(p.rest, w)
	if !ok || rest != "" && !strings.ContainsAny(rest[:1], " \t\r\n('\"") {
		return false
	}
	p.rest = rest
	return true
}

func (p *markerParser) or(depth int) expression {
	left := p.and(depth)
	for p.err == nil && p.word("or") {
		a, b := left, p.and(depth)
		left = func(env Environment) bool { return a(env) || b(env) }
	}
	return left
}

func (p *markerParser) and(depth int) expression {
	left := p.term(depth)
	for p.err == nil && p.word("and") {
		a, b := left, p.term(depth)
		left = func(env Environment) bool { return a(env) && b(env) }
	}
	return left
}

func (p *markerParser) term(depth int) expression {
	p.skip()
	if rest, ok := strings.CutPrefix(p.rest, "("); ok {
		if depth >= maxNesting {
			return p.fail("too many parentheses")
		}
		p.rest = rest
		inner := p.or(depth + 1)
		if p.skip(); !strings.HasPrefix(p.rest, ")") {
			return p.fail("no closing parenthesis")
		}
		p.rest = p.rest[1:]
		return inner
	}
	left, leftIsName := p.value()
	op := p.operator()
	right, rightIsName := p.value()
	if p.err != nil {
		return p.fail("")
	}
	if leftIsName == rightIsName {
		return p.fail("no comparison of a variable with a text")
	}
	name := left
	if rightIsName {
		name = right
	}
	return func(env Environment) bool {
		l, r := left, right
		if leftIsName {
			l = env[left]
		} else {
			r = env[right]
		}
		return compare(name, l, op, r)
	}
}

// oldNames are other spellings of variables, which setuptools took once.
var oldNames = map[string]string{
	"os.name": "os_name", "sys.platform": "sys_platform", "platform.version": "platform_version",
	"platform.machine": "platform_machine", "platform.python_implementation": "platform_python_implementation",
	"python_implementation": "platform_python_implementation",
}

var variable = regexp.MustCompile(`^[a-z_.]+`)

// value takes a text in quotes, or a variable's name.
func (p *markerParser) value() (text string, isName bool) {
	p.skip()
	if p.rest != "" && (p.rest[0] == '\'' || p.rest[0] == '"') {
		quote := p.rest[:1]
		text, rest, ok := strings.Cut(p.rest[1:], quote)
		if !ok {
			p.fail("text without end")
			return "", false
		}
		p.rest = rest
		return text, false
	}
	name := variable.FindString(p.rest)
	p.rest = p.rest[len(name):]
	if new, ok := oldNames[name]; ok {
		name = new
	}
	if _, ok := LinuxEnvironment("", "")[name]; !ok {
		p.fail("no variable")
	}
	return name, true
}

func (p *markerParser) operator() string {
	p.skip()
	for _, op := range []string{"===", "<=", ">=", "==", "!=", "~=", "<", ">"} {
		if rest, ok := strings.CutPrefix(p.rest, op); ok {
			p.rest = rest
			return op
		}
	}
	switch {
	case p.word("in"):
		return "in"
	case p.word("not"):
		if p.word("in") {
			return "not in"
		}
	}
	p.fail("no operator")
	return ""
}

// versions are the variables that are compared as versions.
var versions = []string{"python_version", "python_full_version", "implementation_version"}

// compare compares as versions where one of those is asked for, and as texts otherwise
// (PEP 508).
func compare(name, left, op, right string) bool {
	if name == "extra" {
		left, right = Normalize(left), Normalize(right)
	}
	switch op {
	case "in":
		return strings.Contains(right, left)
	case "not in":
		return !strings.Contains(right, left)
	}
	if slices.Contains(versions, name) {
		v, err := pep440.Parse(left)
		if err == nil {
			if s, err := pep440.NewSpecifiers(op+right, pep440.WithPreRelease(true)); err == nil {
				return s.Check(v)
			}
		}
	}
	switch op {
	case "==", "===":
		return left == right
	case "!=":
		return left != right
	case "<":
		return left < right
	case "<=":
		return left <= right
	case ">":
		return left > right
	case ">=":
		return left >= right
	}
	return false
}
