package packaging

import (
	"errors"
	"fmt"
	"iter"
	"net/textproto"
	"regexp"
	"strings"
)

// Limits of METADATA, PKG-INFO and WHEEL, far above those of the largest ones known.
const (
	// MaxMetadata is in bytes: descriptions are long.
	MaxMetadata = 8 << 20
	// MaxFields is the number of fields.
	MaxFields = 100_000
)

// ErrMetadata is wrapped by errors about METADATA, PKG-INFO and WHEEL files that break
// their format.
var ErrMetadata = errors.New("malformed metadata")

// Metadata is the fields of METADATA, PKG-INFO or WHEEL. Their names are in canonical form
// (Requires-Dist), by which Get and Values find them.
type Metadata = textproto.MIMEHeader

// ParseMetadata reads the fields of METADATA, PKG-INFO or WHEEL, which have the form of
// mail headers (PyPA, "Core metadata specifications"; PEP 566, PEP 643). The description
// after them is left out. As Python's email.parser, by which installers read them, it takes
// any bytes in a value: licences that were pasted into one have form feeds, and other things
// that mail has not. The lines of a folded value are joined by a space.
//
// A line that is no field is an error; the fields before and after it are returned with that.
// The error wraps [ErrMetadata].
func ParseMetadata(data []byte) (Metadata, error) {
	if len(data) > MaxMetadata {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrMetadata, len(data), MaxMetadata)
	}
	fields, count := Metadata{}, 0
	var first error
	var name string
	var value []byte
	wrong := func(format string, line string) {
		if first == nil {
			first = fmt.Errorf("%w: "+format+": %.100q", ErrMetadata, line)
		}
	}
	add := func() {
		if name != "" {
			fields.Add(name, string(value))
			count++
		}
	}
	for line := range headerLines(data) {
		if line[0] == ' ' || line[0] == '\t' {
			if name == "" {
				wrong("it begins with the rest of a field", line)
				continue
			}
			if len(value) > 0 {
				value = append(value, ' ')
			}
			value = append(value, strings.Trim(line, " \t")...)
			continue
		}
		add()
		if count == MaxFields {
			return nil, fmt.Errorf("%w: more than %d fields", ErrMetadata, MaxFields)
		}
		field, rest, ok := strings.Cut(line, ":")
		if !ok || !fieldName.MatchString(field) {
			wrong("this line is no field", line)
			name, value = "", nil
			continue
		}
		name, value = field, []byte(strings.Trim(rest, " \t"))
	}
	add()
	return fields, first
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

// WheelFile is what the file WHEEL says of its wheel (PyPA, "Binary distribution format").
type WheelFile struct {
	// Version is that of the format, as it stands.
	Version string
	// Purelib says that the wheel's files are for every machine.
	Purelib bool
	// TagSets are the compressed tag sets, as they stand.
	TagSets []string
}

// ParseWheelFile reads a WHEEL. The error wraps [ErrMetadata].
func ParseWheelFile(data []byte) (WheelFile, error) {
	fields, err := ParseMetadata(data)
	if err != nil {
		return WheelFile{}, err
	}
	return WheelFile{
		Version: fields.Get("Wheel-Version"),
		Purelib: strings.EqualFold(fields.Get("Root-Is-Purelib"), "true"),
		TagSets: fields.Values("Tag"),
	}, nil
}

// Tags are those that the file has, in its order. The error wraps [ErrTag].
func (w WheelFile) Tags() ([]Tag, error) {
	var all []Tag
	for _, set := range w.TagSets {
		tags, err := ParseTags(set)
		if err != nil {
			return nil, err
		}
		all = append(all, tags...)
		if len(all) > maxTags {
			return nil, fmt.Errorf("more than %d tags: %w", maxTags, ErrTag)
		}
	}
	return all, nil
}
