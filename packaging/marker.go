package packaging

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Environment has the values of the variables that markers ask for, by their names (PEP
// 508, "Environment Markers").
type Environment map[string]string

// LinuxEnvironment is that of a CPython on Linux; full is X.Y.Z, machine x86_64 or aarch64.
func LinuxEnvironment(full, machine string) Environment {
	parts := strings.SplitN(full, ".", 3)
	return Environment{
		"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "platform_machine": machine,
		"platform_python_implementation": "CPython", "implementation_name": "cpython",
		"python_version": strings.Join(parts[:min(2, len(parts))], "."), "python_full_version": full, "implementation_version": full,
		// What a kernel says of itself is not known beforehand.
		"platform_release": "", "platform_version": "",
	}
}

// MarkerVariables are the variables of markers, sorted, without "extra".
var MarkerVariables = slices.Sorted(maps.Keys(LinuxEnvironment("", "")))

// extraVariable is the extra that wants a requirement; it has a value in the metadata of
// distributions alone.
const extraVariable = "extra"

// The sets that markers of lock files ask for (PEP 751, "Environment markers").
const (
	extrasVariable = "extras"
	groupsVariable = "dependency_groups"
)

// versionVariables are those that are compared as versions.
var versionVariables = []string{"implementation_version", "platform_release", "python_full_version", "python_version"}

// oldVariables are other spellings, which setuptools took once and sdists still have.
var oldVariables = map[string]string{
	"os.name": "os_name", "sys.platform": "sys_platform", "platform.version": "platform_version",
	"platform.machine": "platform_machine", "platform.python_implementation": "platform_python_implementation",
	"python_implementation": "platform_python_implementation",
}

// Marker is a condition on the environment (PEP 508).
type Marker struct {
	text  string
	extra bool
	holds func(scope) bool
}

// scope is what a marker is asked in: an environment, and the extras and dependency groups
// that are wanted.
type scope struct {
	env            Environment
	extras, groups []string
}

// ParseLockMarker reads a marker as lock files have it: beside the environment it may ask
// for members of the sets extras and dependency_groups (PEP 751). The error is a
// [*SyntaxError].
func ParseLockMarker(text string) (*Marker, error) {
	if len(text) > maxRequirement {
		return nil, &SyntaxError{What: "a marker is too long"}
	}
	p := &parser{rest: "; " + text, sets: true}
	m, err := p.marker()
	if err != nil {
		return nil, err
	}
	return m, nil
}

// HoldsIn reports whether the marker holds where all of the extras and groups are wanted.
// Unlike [Marker.Holds], it takes extras for one set: `extra == "x"` asks whether x is in
// it, and `extra != "x"` whether it is not.
func (m *Marker) HoldsIn(env Environment, extras, groups []string) bool {
	return m.holds(scope{env: env, extras: extras, groups: groups})
}

// String gives the marker with single spaces, texts in double quotes where they hold none,
// and the names of today.
func (m *Marker) String() string { return m.text }

// AsksForExtra reports whether the marker depends on the extra that wants the requirement.
func (m *Marker) AsksForExtra() bool { return m.extra }

// Holds reports whether the marker holds in an environment, for one of the extras where
// any are asked for.
func (m *Marker) Holds(env Environment, extras []string) bool {
	if !m.extra || len(extras) == 0 {
		return m.holds(scope{env: env})
	}
	return slices.ContainsFunc(extras, func(extra string) bool { return m.holds(scope{env: env, extras: []string{extra}}) })
}

// maxNesting bounds parentheses, as the library packaging does.
const maxNesting = 200

var (
	markerVariable = regexp.MustCompile(`^[a-z_.]+`)
	markerOperator = regexp.MustCompile(`^(===|~=|==|!=|<=|>=|<|>|in\b|not[ \t]+in\b)`)
	markerText     = regexp.MustCompile(`^("[^"\\]*"|'[^'\\]*')`)
	markerWord     = map[string]*regexp.Regexp{"and": regexp.MustCompile(`^and\b`), "or": regexp.MustCompile(`^or\b`)}
)

// marker reads "; MARKER" and what must follow it: nothing.
func (p *parser) marker() (*Marker, *SyntaxError) {
	if p.rest == "" {
		return nil, nil
	}
	if !p.takeByte(';') {
		return nil, p.unexpected(`";" or the end`)
	}
	m, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.rest != "" {
		return nil, p.unexpected(`"and", "or" or the end`)
	}
	return &m, nil
}

func (p *parser) or(depth int) (Marker, *SyntaxError) {
	return p.chain("or", func() (Marker, *SyntaxError) {
		return p.chain("and", func() (Marker, *SyntaxError) { return p.term(depth) })
	})
}

// chain reads operands with a word between two.
func (p *parser) chain(word string, operand func() (Marker, *SyntaxError)) (Marker, *SyntaxError) {
	all, err := operand()
	if err != nil {
		return Marker{}, err
	}
	operands := []func(scope) bool{all.holds}
	for p.take(markerWord[word]) != "" {
		next, err := operand()
		if err != nil {
			return Marker{}, err
		}
		all.text += " " + word + " " + next.text
		all.extra = all.extra || next.extra
		operands = append(operands, next.holds)
	}
	if len(operands) > 1 {
		isOr := word == "or"
		all.holds = func(in scope) bool {
			return slices.ContainsFunc(operands, func(holds func(scope) bool) bool { return holds(in) == isOr }) == isOr
		}
	}
	return all, nil
}

func (p *parser) term(depth int) (Marker, *SyntaxError) {
	if !p.takeByte('(') {
		return p.comparison()
	}
	if depth >= maxNesting {
		return Marker{}, &SyntaxError{What: "the marker is nested too deeply"}
	}
	inner, err := p.or(depth + 1)
	if err == nil && !p.takeByte(')') {
		err = p.unexpected(`")"`)
	}
	inner.text = "(" + inner.text + ")"
	return inner, err
}

func (p *parser) comparison() (Marker, *SyntaxError) {
	left, err := p.operand()
	if err != nil {
		return Marker{}, err
	}
	operator := strings.Join(strings.Fields(p.take(markerOperator)), " ")
	if operator == "" {
		return Marker{}, p.unexpected("a comparison")
	}
	right, err := p.operand()
	if err != nil {
		return Marker{}, err
	}
	if left.isVariable == right.isVariable {
		return Marker{}, &SyntaxError{What: fmt.Sprintf("the marker compares %s with %s", left.text, right.text), Advice: "a marker compares a variable with a text"}
	}
	variable, value := left.value, right.value
	if right.isVariable {
		variable, value = right.value, left.value
	}
	m := Marker{text: left.text + " " + operator + " " + right.text, extra: variable == extraVariable}
	switch variable {
	case extraVariable:
		m.holds = func(in scope) bool { return compareExtra(in.extras, left, operator, right) }
	case extrasVariable, groupsVariable:
		isMember, isNegated := right.isVariable && operator == "in", right.isVariable && operator == "not in"
		if !isMember && !isNegated {
			return Marker{}, &SyntaxError{What: fmt.Sprintf("%q stands where TEXT in %s belongs", m.text, variable)}
		}
		m.holds = func(in scope) bool { return slices.Contains(in.set(variable), NormalName(value)) == isMember }
	default:
		m.holds = func(in scope) bool { return compare(variable, left.in(in.env), operator, right.in(in.env)) }
	}
	return m, nil
}

// set is the value of a variable that is a set.
func (s scope) set(variable string) []string {
	if variable == groupsVariable {
		return s.groups
	}
	return s.extras
}

// compareExtra compares the extras that are wanted with a text. Where none is wanted, the
// variable is empty.
func compareExtra(extras []string, left operand, operator string, right operand) bool {
	if len(extras) == 0 {
		extras = []string{""}
	}
	isAny := func(operator string) bool {
		return slices.ContainsFunc(extras, func(extra string) bool {
			env := Environment{extraVariable: extra}
			return compare(extraVariable, left.in(env), operator, right.in(env))
		})
	}
	switch operator {
	case "!=":
		return !isAny("==")
	case "not in":
		return !isAny("in")
	}
	return isAny(operator)
}

// operand is one side of a comparison: a variable's name, or a text.
type operand struct {
	// text is how it is written, value the name or the text.
	text, value string
	isVariable  bool
}

func (o operand) in(env Environment) string {
	if o.isVariable {
		return env[o.value]
	}
	return o.value
}

func (p *parser) operand() (operand, *SyntaxError) {
	if text := p.take(markerText); text != "" {
		inner := text[1 : len(text)-1]
		if !strings.Contains(inner, `"`) {
			text = `"` + inner + `"`
		}
		return operand{text: text, value: inner}, nil
	}
	before := *p
	name := p.take(markerVariable)
	if today, ok := oldVariables[name]; ok {
		name = today
	}
	switch {
	case slices.Contains(MarkerVariables, name), name == extraVariable, p.sets && (name == extrasVariable || name == groupsVariable):
		return operand{name, name, true}, nil
	case name != "":
		return operand{}, &SyntaxError{What: fmt.Sprintf("%q is no marker variable", name), Variable: name}
	}
	return operand{}, before.unexpected("a marker's variable or quoted text")
}

// compare compares as versions what is one where the variable is, and as texts otherwise:
// these have no order (dependency specifiers, "Environment markers").
func compare(variable, left, operator, right string) bool {
	switch {
	case variable == extraVariable:
		left, right = NormalName(left), NormalName(right)
	case slices.Contains(versionVariables, variable):
		if s, ok := newSpecifier(operator, strings.TrimSpace(right)); ok && operator != "in" && operator != "not in" {
			v, err := ParseVersion(left)
			return err == nil && s.Contains(v)
		}
	}
	switch operator {
	case "in":
		return strings.Contains(right, left)
	case "not in":
		return !strings.Contains(right, left)
	case "==", "<=", ">=":
		return left == right
	case "!=":
		return left != right
	}
	return false
}
