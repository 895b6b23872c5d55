package artifact

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"ampoule/packaging"
)

// Namespace begins the names of labels and annotations that are Ampoule's own.
const Namespace = "dev.ampoule."

// Names of labels of an image's configuration. [Labels] says what they hold.
const (
	LabelRecipe      = Namespace + "recipe"
	LabelKey         = Namespace + "key"
	LabelPython      = Namespace + "python"
	LabelFingerprint = Namespace + "fingerprint"
	LabelTree        = Namespace + "tree"
	LabelPrefix      = Namespace + "prefix"
	LabelRepeatable  = Namespace + "repeatable"
)

// Labels are what an image's configuration says of the artifact. Whoever writes them
// writes all; a field that has no value was not there.
type Labels struct {
	// Recipe is the recipe's name.
	Recipe string
	// Key is the artifact's: "sha256:" and hexadecimal digits.
	Key string
	// Python is CPython's version, such as 3.13.5.
	Python string
	// Fingerprint is the hash of the interpreter's measured link contract: "sha256:" and
	// hexadecimal digits.
	Fingerprint string
	// Tree is the hash of the tree, in the same form.
	Tree string
	// Prefix is the absolute directory at which the tree stands in the image.
	Prefix string
	// Repeatable is false for an interpreter whose optimisation was trained while it was
	// built: training differs from run to run.
	Repeatable *bool
}

// label is one label: its name, what its value must be, and the field that has it.
type label struct {
	name, want string
	get        func(*Labels) string
	// set reports whether the value has the label's form.
	set func(l *Labels, value string) bool
}

// labels are all labels, in the order in which people read them.
var labels = []label{
	text(LabelRecipe, "the name of a repository", IsRepository, func(l *Labels) *string { return &l.Recipe }),
	text(LabelKey, "sha256: and 64 hexadecimal digits", IsDigest, func(l *Labels) *string { return &l.Key }),
	text(LabelPython, "a version of CPython", isPythonVersion, func(l *Labels) *string { return &l.Python }),
	text(LabelFingerprint, "sha256: and 64 hexadecimal digits", IsDigest, func(l *Labels) *string { return &l.Fingerprint }),
	text(LabelTree, "sha256: and 64 hexadecimal digits", IsDigest, func(l *Labels) *string { return &l.Tree }),
	text(LabelPrefix, "a clean absolute directory", isPrefix, func(l *Labels) *string { return &l.Prefix }),
	{LabelRepeatable, "true or false", repeatable, setRepeatable},
}

// isPythonVersion reports whether a text is a version as CPython is released under, in the normal
// form of PEP 440.
func isPythonVersion(text string) bool {
	v, err := packaging.ParseVersion(text)
	return err == nil && v.String() == text && !v.HasLocal() && strings.Count(text, ".") == 2
}

func isPrefix(text string) bool { return path.IsAbs(text) && path.Clean(text) == text && text != "/" }

// text is a label whose value is kept as it is.
func text(name, want string, fits func(string) bool, field func(*Labels) *string) label {
	return label{name: name, want: want, get: func(l *Labels) string { return *field(l) }, set: func(l *Labels, value string) bool {
		*field(l) = value
		return fits(value)
	}}
}

func repeatable(l *Labels) string {
	if l.Repeatable == nil {
		return ""
	}
	return strconv.FormatBool(*l.Repeatable)
}

func setRepeatable(l *Labels, value string) bool {
	l.Repeatable = new(value == "true")
	return repeatable(l) == value
}

// LabelNames lists the labels of the contract, in the order in which people read them.
func LabelNames() []string {
	names := make([]string, len(labels))
	for i, l := range labels {
		names[i] = l.name
	}
	return names
}

// Encode writes the labels as an image's configuration has them. One without a value, or
// with one that [ParseLabels] would refuse, is an error.
func (l Labels) Encode() (map[string]string, error) {
	values := make(map[string]string, len(labels))
	for _, one := range labels {
		value := one.get(&l)
		if value == "" {
			return nil, fmt.Errorf("label %s has no value", one.name)
		}
		values[one.name] = value
	}
	_, err := ParseLabels(values)
	return values, err
}

// ParseLabels reads the labels of an image's configuration. An image need not have them,
// and other labels are none of its business; a value in another form than the
// contract's is an error, which names all such labels.
func ParseLabels(values map[string]string) (Labels, error) {
	var l Labels
	var err error
	for _, one := range labels {
		value, ok := values[one.name]
		if ok && !one.set(&l, value) {
			err = errors.Join(err, fmt.Errorf("label %s is %q, not %s", one.name, value, one.want))
		}
	}
	if err != nil {
		return Labels{}, err
	}
	return l, nil
}
