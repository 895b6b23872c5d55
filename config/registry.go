package config

import (
	"errors"
	"fmt"
	"regexp"
)

// Serving says how the store's registry is served.
type Serving struct {
	// Mutable are patterns of tags that may be moved; in them, * stands for any text.
	Mutable []string `toml:"mutable"`
}

// tagPattern matches a tag (distribution-spec, "Pulling manifests") in which parts are *.
var tagPattern = regexp.MustCompile(`^[a-zA-Z0-9_*][a-zA-Z0-9._*-]{0,127}$`)

// CheckTagPattern says what is wrong with a pattern of tags.
func CheckTagPattern(pattern string) error {
	if !tagPattern.MatchString(pattern) {
		return fmt.Errorf("%q is no tag, nor one with * for any text", pattern)
	}
	return nil
}

func (r *reading) checkRegistry() error {
	var wrong []error
	for i, pattern := range r.parsed.Registry.Mutable {
		if err := CheckTagPattern(pattern); err != nil {
			wrong = append(wrong, &Error{Where: r.where("registry", "mutable", index(i)), Msg: "registry.mutable: " + err.Error(), Help: `write, for example, mutable = ["latest", "channel-*"]`})
		}
	}
	return errors.Join(wrong...)
}
