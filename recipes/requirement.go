package recipes

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Requirement is one requirement or constraint.
type Requirement struct {
	// Name is normalised (PEP 503).
	Name string
	// Spec is the whole requirement in canonical PEP 508 text, without hashes:
	// normalised name, sorted extras, sorted specifiers without spaces, marker with
	// single spaces.
	Spec string
	// Hashes are the acceptable hashes as ALGORITHM:HEX, sorted. When there are any,
	// at least one is a sha256; one of these is to be met.
	Hashes []string
	// Constraint marks a constraint: it limits versions and requires nothing.
	Constraint bool
	// Position is where the requirement begins.
	Position
}

// maxRequirement bounds the length of one requirement, in bytes, hashes apart.
const maxRequirement = 4096

// specError tells why a text is no requirement.
type specError struct{ what, hint string }

var (
	requirementName = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?`)
	specifierStart  = regexp.MustCompile(`^(===|~=|==|!=|<=|>=|<|>)\s*`)
	specifierText   = regexp.MustCompile(`^[^\s,;)]+`)
	// pep440 is the expression of PEP 440, appendix B: 1 is the public, 2 the local part.
	pep440 = regexp.MustCompile(`(?i)^(v?(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*(?:[-_.]?(?:alpha|a|beta|b|preview|pre|c|rc)[-_.]?[0-9]*)?` +
		`(?:-[0-9]+|[-_.]?(?:post|rev|r)[-_.]?[0-9]*)?(?:[-_.]?dev[-_.]?[0-9]*)?)(\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?$`)
	wildcard = regexp.MustCompile(`^(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*\.\*$`)
)

func isVersion(text string) bool { return pep440.MatchString(text) }

// specParser reads a requirement from left to right; rest is what is left.
type specParser struct {
	rest string
	// extra says that a marker may ask for the extra that wants the requirement.
	extra bool
}

// RequirementError says why a text is no requirement by name.
type RequirementError struct{ What, Advice string }

func (e *RequirementError) Error() string { return e.What }

// Hint says what is wanted instead; it may be empty.
func (e *RequirementError) Hint() string { return e.Advice }

// ParseRequirement reads a requirement that something other than a requirements file
// has, such as an sdist's own metadata: a name, extras, versions and a marker (PEP
// 508). Addresses, paths, options and variables are no requirements; the error is a
// [*RequirementError].
func ParseRequirement(text string) (Requirement, error) {
	r, err := parseRequirement(text)
	if err != nil {
		return Requirement{}, &RequirementError{err.what, err.hint}
	}
	return r, nil
}

// ParseDependency reads a requirement that a distribution's metadata states
// (Requires-Dist): as [ParseRequirement] does, but its marker may name the extra that
// wants it (core metadata specifications, "Provides-Extra").
func ParseDependency(text string) (Requirement, error) {
	r, err := parseSpec(text, true)
	if err != nil {
		return Requirement{}, &RequirementError{err.what, err.hint}
	}
	return r, nil
}

// parseRequirement reads a requirement by name, as PEP 508 has it. It knows the
// whole grammar but URLs, and refuses what that does not have.
func parseRequirement(text string) (Requirement, *specError) { return parseSpec(text, false) }

// parseSpec does it. The variable extra has a value in metadata alone.
func parseSpec(text string, extra bool) (Requirement, *specError) {
	if err := refuseForeign(text); err != nil {
		return Requirement{}, err
	}
	p := &specParser{rest: strings.TrimSpace(text), extra: extra}
	name := p.take(requirementName)
	if name == "" {
		return Requirement{}, &specError{fmt.Sprintf("%q is no requirement", shorten(text)), "a requirement begins with the name of a distribution"}
	}
	r := Requirement{Name: NormalName(name)}
	extras, err := p.extras()
	if err != nil {
		return Requirement{}, err
	}
	specifiers, err := p.specifiers()
	if err != nil {
		return Requirement{}, err
	}
	marker, err := p.marker()
	if err != nil {
		return Requirement{}, err
	}
	r.Spec = r.Name + extras + specifiers + marker
	return r, nil
}

var urlStart = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)

// refuseForeign refuses what pip takes for a requirement and is not one by name.
func refuseForeign(text string) *specError {
	trimmed := strings.TrimSpace(text)
	name, rest, direct := strings.Cut(trimmed, "@")
	switch {
	case strings.HasPrefix(trimmed, "-"):
		option, _ := cutOption(trimmed)
		what, hint := refusedOption(option)
		return &specError{what, hint}
	case len(text) > maxRequirement:
		return &specError{"a requirement is too long", ""}
	case strings.ContainsFunc(trimmed, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }):
		return &specError{"a requirement has a control character", ""}
	case strings.Contains(trimmed, "${"):
		return &specError{fmt.Sprintf("%q takes a value from the environment", shorten(text)), "write the value: a build depends on nothing outside of its files"}
	case direct && requirementName.FindString(strings.TrimSpace(name)) != "" && !strings.ContainsAny(name, ";\"'") && strings.TrimSpace(rest) != "":
		return &specError{fmt.Sprintf("%s is required from a URL", strings.TrimSpace(name)), "require it by name and version; what an index has not, put into an index of your own"}
	case urlStart.MatchString(trimmed):
		return &specError{fmt.Sprintf("%q is a URL", shorten(text)), "require the distribution by name and version"}
	case strings.HasPrefix(trimmed, ".") || strings.HasPrefix(trimmed, "/") || strings.HasPrefix(trimmed, "~"):
		return &specError{fmt.Sprintf("%q is a path", shorten(text)), "require the distribution by name and version"}
	case requirementName.FindString(trimmed) == trimmed && (strings.HasSuffix(trimmed, ".whl") || strings.HasSuffix(trimmed, ".tar.gz") || strings.HasSuffix(trimmed, ".zip")):
		return &specError{fmt.Sprintf("%q is a file", shorten(text)), "require the distribution by name and version"}
	}
	return nil
}

func shorten(text string) string {
	if r := []rune(text); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return text
}

// take removes what the expression matches at the beginning, and white space after it.
func (p *specParser) take(expression *regexp.Regexp) string {
	got := expression.FindString(p.rest)
	p.rest = strings.TrimLeft(p.rest[len(got):], " \t")
	return strings.TrimRight(got, " \t")
}

// takeByte removes c, and white space after it, if it comes next.
func (p *specParser) takeByte(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = strings.TrimLeft(p.rest[1:], " \t")
	return true
}

func (p *specParser) unexpected(wanted string) *specError {
	if p.rest == "" {
		return &specError{"a requirement ends where " + wanted + " belongs", ""}
	}
	return &specError{fmt.Sprintf("%q stands where %s belongs", shorten(p.rest), wanted), ""}
}

func (p *specParser) extras() (string, *specError) {
	if !p.takeByte('[') {
		return "", nil
	}
	var extras []string
	for !p.takeByte(']') {
		if len(extras) > 0 && !p.takeByte(',') {
			return "", p.unexpected(`"," or "]"`)
		}
		extra := p.take(requirementName)
		if extra == "" {
			return "", p.unexpected("the name of an extra")
		}
		extras = append(extras, NormalName(extra))
	}
	if len(extras) == 0 {
		return "", nil
	}
	slices.Sort(extras)
	return "[" + strings.Join(slices.Compact(extras), ",") + "]", nil
}

func (p *specParser) specifiers() (string, *specError) {
	inBrackets := p.takeByte('(')
	var all []string
	for p.rest != "" && p.rest[0] != ';' && p.rest[0] != ')' {
		if len(all) > 0 && !p.takeByte(',') {
			return "", p.unexpected(`",", ";" or the end`)
		}
		one, err := p.specifier()
		if err != nil {
			return "", err
		}
		all = append(all, one)
	}
	switch {
	case inBrackets && !p.takeByte(')'):
		return "", p.unexpected(`")"`)
	case inBrackets && len(all) == 0:
		return "", &specError{"the brackets hold no version", ""}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ","), nil
}

func (p *specParser) specifier() (string, *specError) {
	operator := p.take(specifierStart)
	if operator == "" {
		err := p.unexpected("one of == != ~= <= >= < > ===")
		if strings.HasPrefix(p.rest, "=") {
			err.hint = "one version is spelled NAME==VERSION"
		}
		if strings.HasPrefix(p.rest, "--hash") {
			err.hint = "hashes stand in a requirements file"
		}
		return "", err
	}
	version := p.take(specifierText)
	if !versionFits(operator, version) {
		return "", &specError{fmt.Sprintf("%q is no version for %s", shorten(version), operator), "PEP 440 says how versions are written"}
	}
	return operator + version, nil
}

// versionFits knows which versions each operator takes (PEP 440, version specifiers).
func versionFits(operator, version string) bool {
	m := pep440.FindStringSubmatch(version)
	switch operator {
	case "===":
		return version != ""
	case "==", "!=":
		return m != nil || wildcard.MatchString(version)
	case "~=":
		return m != nil && m[2] == "" && strings.Contains(version, ".")
	default:
		return m != nil && m[2] == ""
	}
}

// marker reads "; MARKER" and what must follow it: nothing.
func (p *specParser) marker() (string, *specError) {
	if p.rest == "" {
		return "", nil
	}
	if !p.takeByte(';') {
		return "", p.unexpected(`";" or the end`)
	}
	words, err := p.markerOr(0)
	if err != nil {
		return "", err
	}
	if p.rest != "" {
		return "", p.unexpected(`"and", "or" or the end`)
	}
	return "; " + words, nil
}

var (
	markerVariable = regexp.MustCompile(`^[a-z_.]+`)
	markerOperator = regexp.MustCompile(`^(===|~=|==|!=|<=|>=|<|>|in\b|not\s+in\b)`)
	markerString   = regexp.MustCompile(`^("[^"\\]*"|'[^'\\]*')`)
	markerWord     = map[string]*regexp.Regexp{"and": regexp.MustCompile(`^and\b`), "or": regexp.MustCompile(`^or\b`)}
)

// markerVariables are the environment markers of PEP 508, without extra, which
// is for the metadata of distributions.
var markerVariables = []string{
	"implementation_name", "implementation_version", "os_name", "platform_machine", "platform_python_implementation",
	"platform_release", "platform_system", "platform_version", "python_full_version", "python_version", "sys_platform",
}

func (p *specParser) markerOr(depth int) (string, *specError) {
	return p.markerChain("or", func() (string, *specError) {
		return p.markerChain("and", func() (string, *specError) { return p.markerTerm(depth) })
	})
}

func (p *specParser) markerChain(word string, operand func() (string, *specError)) (string, *specError) {
	left, err := operand()
	for err == nil && p.take(markerWord[word]) != "" {
		var right string
		right, err = operand()
		left += " " + word + " " + right
	}
	return left, err
}

func (p *specParser) markerTerm(depth int) (string, *specError) {
	if p.takeByte('(') {
		if depth >= maxDepth {
			return "", &specError{"the marker is nested too deeply", ""}
		}
		inner, err := p.markerOr(depth + 1)
		if err == nil && !p.takeByte(')') {
			err = p.unexpected(`")"`)
		}
		return "(" + inner + ")", err
	}
	left, err := p.markerOperand()
	if err != nil {
		return "", err
	}
	operator := strings.Join(strings.Fields(p.take(markerOperator)), " ")
	if operator == "" {
		return "", p.unexpected("a comparison")
	}
	right, err := p.markerOperand()
	if err != nil {
		return "", err
	}
	if (left[0] == '"' || left[0] == '\'') == (right[0] == '"' || right[0] == '\'') {
		return "", &specError{fmt.Sprintf("the marker compares %s with %s", left, right), "a marker compares a variable with a text"}
	}
	return left + " " + operator + " " + right, nil
}

// markerOperand reads a variable, or a text, which it gives in double quotes if
// it holds none.
func (p *specParser) markerOperand() (string, *specError) {
	if text := p.take(markerString); text != "" {
		if inner := text[1 : len(text)-1]; !strings.Contains(inner, `"`) {
			return `"` + inner + `"`, nil
		}
		return text, nil
	}
	rest := *p
	name := p.take(markerVariable)
	switch {
	case slices.Contains(markerVariables, name), name == "extra" && p.extra:
		return name, nil
	case name == "extra":
		return "", &specError{`the marker variable "extra" has no value here`, "require NAME[EXTRA] instead"}
	case name != "":
		return "", &specError{fmt.Sprintf("%q is no marker variable", name), suggestion(name, markerVariables, "the variables")}
	}
	return "", rest.unexpected("a marker's variable or quoted text")
}
