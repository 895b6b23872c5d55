package packaging

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ErrFileName is wrapped by errors about file names that are not those of wheels or sdists.
var ErrFileName = errors.New("not a distribution's file name")

// WheelName is a wheel's file name, taken apart (PyPA, "Binary distribution format"; PEP 427).
// Its parts are as they stand.
type WheelName struct {
	Distribution, Version, Build string
	// Python, ABI and Platform are the compressed tag sets (PEP 425).
	Python, ABI, Platform string
}

// WheelSuffix ends the file name of a wheel.
const WheelSuffix = ".whl"

var (
	wheelProject = regexp.MustCompile(`^[A-Za-z0-9_.]+$`)
	wheelPart    = regexp.MustCompile(`^[A-Za-z0-9_.!+]+$`)
)

// ParseWheelName takes a wheel's file name apart. Older tools write versions that PEP 440
// does not have, so a version may be any text without "-". The error wraps [ErrFileName].
func ParseWheelName(file string) (WheelName, error) {
	wrong := func(why string) (WheelName, error) {
		return WheelName{}, fmt.Errorf("%.300q: %s: %w", file, why, ErrFileName)
	}
	stem, ok := strings.CutSuffix(file, WheelSuffix)
	if !ok {
		return wrong("it does not end in " + WheelSuffix)
	}
	parts := strings.Split(stem, "-")
	if len(parts) != 5 && len(parts) != 6 {
		return wrong("a wheel's name has 5 or 6 parts with a dash between two")
	}
	for i, p := range parts {
		if !wheelPart.MatchString(p) || i == 0 && !wheelProject.MatchString(p) {
			return wrong(fmt.Sprintf("%.100q is no part of it", p))
		}
	}
	n := WheelName{Distribution: parts[0], Version: parts[1]}
	if len(parts) == 6 {
		n.Build = parts[2]
		if n.Build[0] < '0' || n.Build[0] > '9' {
			return wrong(fmt.Sprintf("the build number %.100q does not begin with a digit", n.Build))
		}
	}
	tags := parts[len(parts)-3:]
	n.Python, n.ABI, n.Platform = tags[0], tags[1], tags[2]
	if _, err := ParseTags(n.tagSet()); err != nil {
		return wrong(err.Error())
	}
	return n, nil
}

func (n WheelName) tagSet() string { return n.Python + "-" + n.ABI + "-" + n.Platform }

// Tags are those that the name stands for; none of a name that [ParseWheelName] did not give.
func (n WheelName) Tags() []Tag {
	tags, err := ParseTags(n.tagSet())
	if err != nil {
		return nil
	}
	return tags
}

// sdistSuffixes end the file names of sdists: PEP 625's, and the one of before.
var sdistSuffixes = []string{".tar.gz", ".zip"}

func cutSdistSuffix(file string) (stem string, ok bool) {
	for _, suffix := range sdistSuffixes {
		if stem, ok := strings.CutSuffix(file, suffix); ok {
			return stem, true
		}
	}
	return "", false
}

// ParseSdistName takes an sdist's file name apart, NAME-VERSION.tar.gz (PEP 625), where the
// version is one of PEP 440 and has no "-". The name is as it stands. The error wraps
// [ErrFileName].
func ParseSdistName(file string) (name string, version Version, err error) {
	stem, ok := cutSdistSuffix(file)
	if i := strings.LastIndexByte(stem, '-'); ok && i > 0 {
		if version, err = ParseVersion(stem[i+1:]); err == nil {
			return stem[:i], version, nil
		}
	}
	return "", Version{}, fmt.Errorf("%.300q is no sdist: %w", file, ErrFileName)
}

// SdistVersion is the version in the file name of an sdist of one distribution, as it stands.
// Older tools wrote names and versions with "-" in them, so that only the name of the
// distribution tells where it ends. It is false for a file that is no sdist of that.
func SdistVersion(file, name string) (version string, ok bool) {
	stem, ok := cutSdistSuffix(file)
	if !ok {
		return "", false
	}
	name = NormalName(name)
	for i := range len(stem) {
		if stem[i] == '-' && NormalName(stem[:i]) == name {
			return stem[i+1:], true
		}
	}
	return "", false
}

// InfoSuffix ends the name of the directory that says what an installed distribution is.
const InfoSuffix = ".dist-info"

// ParseInfoDir takes the name of such a directory apart: NAME-VERSION.dist-info.
func ParseInfoDir(dir string) (name, version string, ok bool) {
	stem, ok := strings.CutSuffix(dir, InfoSuffix)
	if !ok || strings.Contains(stem, "/") {
		return "", "", false
	}
	name, version, ok = strings.Cut(stem, "-")
	return name, version, ok && name != "" && version != ""
}
