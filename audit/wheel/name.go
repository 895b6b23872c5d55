package wheel

import (
	"errors"
	"fmt"
	"iter"
	"net/textproto"
	"regexp"
	"strings"
)

// ErrName is wrapped by errors about file names that are not a wheel's.
var ErrName = errors.New("not a wheel's file name")

// Name is a wheel's file name, taken apart (PEP 427).
type Name struct {
	Distribution, Version, Build string
	// Python, ABI and Platform are the compressed tag sets, as they stand (PEP 425).
	Python, ABI, Platform string
}

var namePart = regexp.MustCompile(`^[A-Za-z0-9_.!+]+$`)

// ParseName takes a wheel's file name apart.
func ParseName(file string) (Name, error) {
	stem, ok := strings.CutSuffix(file, ".whl")
	parts := strings.Split(stem, "-")
	if !ok || len(parts) != 5 && len(parts) != 6 {
		return Name{}, fmt.Errorf("%q: %w", file, ErrName)
	}
	for _, p := range parts {
		if !namePart.MatchString(p) {
			return Name{}, fmt.Errorf("%q: %w", file, ErrName)
		}
	}
	n := Name{Distribution: parts[0], Version: parts[1]}
	if len(parts) == 6 {
		if n.Build = parts[2]; n.Build[0] < '0' || n.Build[0] > '9' {
			return Name{}, fmt.Errorf("%q: build number %q: %w", file, n.Build, ErrName)
		}
	}
	tags := parts[len(parts)-3:]
	n.Python, n.ABI, n.Platform = tags[0], tags[1], tags[2]
	return n, nil
}

// Tags are those that it stands for.
func (n Name) Tags() ([]Tag, error) { return ParseTags(n.Python + "-" + n.ABI + "-" + n.Platform) }

var separators = regexp.MustCompile(`[-_.]+`)

// Normalize gives a distribution's name the one spelling that compares (PEP 503).
func Normalize(name string) string {
	return separators.ReplaceAllString(strings.ToLower(name), "-")
}

// DistInfo takes the name of a .dist-info directory apart: NAME-VERSION.dist-info.
func DistInfo(dir string) (name, version string, ok bool) {
	stem, ok := strings.CutSuffix(dir, ".dist-info")
	if !ok || strings.Contains(stem, "/") {
		return "", "", false
	}
	name, version, ok = strings.Cut(stem, "-")
	return name, version, ok && name != "" && version != ""
}

// maxHeader bounds METADATA and WHEEL, in bytes: descriptions are long.
const maxHeader = 8 << 20

// ErrHeader is wrapped by errors about METADATA and WHEEL files that break their format.
var ErrHeader = errors.New("malformed metadata")

// Header is the fields of METADATA or WHEEL, by their names in canonical form.
type Header = textproto.MIMEHeader

// ParseHeader reads the fields of METADATA or WHEEL, which have the form of mail
// headers ("Core metadata specifications", PyPA); a description after them is left out.
// As Python's email.parser, by which installers read them, it takes any bytes in a value:
// licences that were pasted into one have form feeds, and other things that mail has not.
func ParseHeader(data []byte) (Header, error) {
	if len(data) > maxHeader {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrHeader, len(data), maxHeader)
	}
	h := Header{}
	var name string
	var value []byte
	add := func() {
		if name != "" {
			h.Add(name, string(value))
		}
	}
	for line := range headerLines(data) {
		if line[0] == ' ' || line[0] == '\t' {
			if name == "" {
				return nil, fmt.Errorf("%w: it begins with the rest of a field: %.100q", ErrHeader, line)
			}
			if len(value) > 0 {
				value = append(value, ' ')
			}
			value = append(value, strings.Trim(line, " \t")...)
			continue
		}
		add()
		field, rest, ok := strings.Cut(line, ":")
		if !ok || !fieldName.MatchString(field) {
			return nil, fmt.Errorf("%w: this line is no field: %.100q", ErrHeader, line)
		}
		name, value = field, []byte(strings.Trim(rest, " \t"))
	}
	add()
	return h, nil
}

// fieldName matches the name of a field (RFC 5322, section 3.6.8).
var fieldName = regexp.MustCompile(`^[!-9;-~]+$`)

// headerLines gives the lines before the first that is empty.
func headerLines(data []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		rest := string(data)
		for rest != "" {
			end := strings.IndexAny(rest, "\r\n")
			if end < 0 {
				yield(rest)
				return
			}
			if end == 0 || !yield(rest[:end]) {
				return
			}
			if strings.HasPrefix(rest[end:], "\r\n") {
				end++
			}
			rest = rest[end+1:]
		}
	}
}
