package wheel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
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
func ParseHeader(data []byte) (Header, error) {
	if len(data) > maxHeader {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrHeader, len(data), maxHeader)
	}
	fields := append(bytes.Clone(data), "\n\n"...)
	h, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(fields))).ReadMIMEHeader()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	return h, nil
}
