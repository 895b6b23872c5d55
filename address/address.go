// Package address makes addresses fit to be seen: without the user names, passwords and
// tokens that may stand in them.
package address

import (
	"regexp"
	"strings"
	"unicode"
)

// hidden stands where something was left out.
const hidden = "***"

var (
	// authority is what stands between "//" and a path when it is well formed: a name or
	// an address, and a port (RFC 3986, 3.2).
	authority = regexp.MustCompile(`^(?:\[[0-9A-Fa-f:.]+\]|[^:@%\\\[\]]*)(?::[0-9]*)?$`)
	// digest is what may follow an "@" that ends no user information: the digest of an image.
	digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}(?:[^0-9a-zA-Z]|$)`)
	// halfDigest is a digest that was not written or copied to its end: no host has that name.
	halfDigest = regexp.MustCompile(`^sha256:[0-9a-zA-Z]*$`)
	// host is how what follows user information begins.
	host = regexp.MustCompile(`^(?:localhost|\[|[^/]*[.:/])`)
)

// Redact takes user information out of the addresses in a text. Where it is not clear how
// far that reaches, as with "/" or "@" in a password, more is left out rather than less. An
// address ends at white space, unless its host cannot be one.
func Redact(text string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "//")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString("//")
		word := rest
		if end := strings.IndexFunc(rest, unicode.IsSpace); end >= 0 {
			word = rest[:end]
		}
		line, _, _ := strings.Cut(rest, "\n")
		shown, taken := redact(word, line)
		b.WriteString(shown)
		text = rest[taken:]
	}
}

// One takes user information out of a text that is one address as a whole, with a scheme or
// without one.
func One(text string) string {
	if before, rest, found := strings.Cut(text, "//"); found {
		shown, taken := redact(rest, rest)
		return before + "//" + shown + rest[taken:]
	}
	at := lastAt(text)
	if at < 0 || !strings.Contains(text[:at], ":") && (halfDigest.MatchString(text[at+1:]) || !host.MatchString(text[at+1:])) {
		return text
	}
	return hidden + text[at:]
}

// redact returns what is shown of the beginning of an address behind its "//", and how much
// of it that stands for. The line is where the address may go on.
func redact(word, line string) (shown string, taken int) {
	if at := lastAt(word); at >= 0 {
		return hidden + "@", at + 1
	}
	end := strings.IndexAny(word, `/?#"'`+"`")
	if end < 0 {
		end = len(word)
	}
	if authority.MatchString(word[:end]) {
		return word[:end], end
	}
	if at := lastAt(line); at >= 0 {
		return hidden + "@", at + 1
	}
	return hidden, len(word)
}

// lastAt finds the last "@" that no digest follows; -1 where there is none.
func lastAt(text string) int {
	for at := strings.LastIndexByte(text, '@'); at >= 0; at = strings.LastIndexByte(text[:at], '@') {
		if !digest.MatchString(text[at+1:]) {
			return at
		}
	}
	return -1
}
