package ci

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// hidden stands for a secret.
const hidden = "***"

// minSecret is the length in bytes below which a value is no secret: to hide it would make
// the rest unreadable.
const minSecret = 6

// secretName matches names of variables whose values nobody is to read; notSecret those
// that only say where such a value is.
var (
	secretName = regexp.MustCompile(`(?i)token|secret|passw|passphrase|credential|api_?key|private|(?:^|_)key$`)
	notSecret  = regexp.MustCompile(`(?i)_(?:file|path|dir|id)$`)
)

// Secrets lists what of an environment is secret: the values of variables with names such
// as API_TOKEN, each line for itself, and the passwords of addresses. The environment is as
// os.Environ has it.
func Secrets(environ []string) []string {
	var found []string
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		if u, err := url.Parse(value); err == nil && u.User != nil {
			if password, ok := u.User.Password(); ok {
				found = append(found, password)
			}
		}
		if secretName.MatchString(name) && !notSecret.MatchString(name) {
			for line := range strings.Lines(value) {
				found = append(found, strings.TrimSpace(line))
			}
		}
	}
	found = slices.DeleteFunc(found, func(s string) bool { return len(s) < minSecret })
	slices.Sort(found)
	return slices.Compact(found)
}

// masking are the replacements that hide secrets.
func masking(secrets []string) []Replacement {
	var rules []Replacement
	for _, s := range secrets {
		rules = append(rules, Replacement{From: s, To: hidden})
	}
	return rules
}

// mask hides secrets in a text.
func mask(text string, secrets []string) string {
	var b strings.Builder
	f := newFilter(&b, masking(secrets))
	// A strings.Builder takes everything.
	_ = f.take([]byte(text), true)
	return b.String()
}

// masked is a stream without secrets.
type masked struct{ *filter }

// Close writes what was held back.
func (m masked) Close() error { return m.flush() }
