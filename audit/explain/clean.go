package explain

import (
	"encoding/json"
	"regexp"
	"strings"
)

var (
	// escapes are a terminal's control sequences (ECMA-48: CSI, and OSC up to its end).
	escapes = regexp.MustCompile("\x1b(?:\\[[0-9;?]*[A-Za-z]|\\][^\x07\x1b\n]*(?:\x07|\x1b\\\\)?)")
	spelled = strings.NewReplacer("‘", "'", "’", "'", "`", "'", "“", `"`, "”", `"`, "\u00a0", " ",
		// A carriage return that a message quotes stays visible; others end lines.
		"\r\n", "\n", "\r'", `\r'`, "\r:", `\r:`, "\r", "\n")
)

// plain is a text as the program wrote it whose output was logged: without a terminal's
// control sequences and the prefixes of loggers, with plain quotation marks.
func plain(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	unwrap(&b, spelled.Replace(escapes.ReplaceAllString(text, "")), 2)
	return b.String()
}

// unwrap writes each line of a text without its prefixes, and of a line that holds a JSON
// object what its strings say. Objects in such strings are unwrapped as deep as told.
func unwrap(b *strings.Builder, text string, deep int) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.ContainsAny(line, ":|[#│╎") {
			line = unprefixed(line)
		}
		if at := strings.Index(line, `{"`); at >= 0 && deep > 0 {
			if said, ok := saidBy(line[at:]); ok {
				b.WriteString(line[:at] + "\n")
				unwrap(b, said, deep-1)
				continue
			}
		}
		line = quotedCause.ReplaceAllString(strings.ReplaceAll(line, `\"`, `"`), "$1")
		if strings.Contains(line, `(most recent call last):\n`) {
			line = strings.ReplaceAll(line, `\n`, "\n")
		}
		b.WriteString(line + "\n")
	}
}

// quotedCause is the loader's message that TensorFlow quotes in a warning, after which it goes on.
var quotedCause = regexp.MustCompile(`(Could not load dynamic library '[^'\n]*'); dlerror: .*`)

// prefix is what loggers write before a line.
var prefix = regexp.MustCompile(`^\s{0,8}(?:` + strings.Join([]string{
	// docker compose and foreman: web-1  |
	`[A-Za-z][\w.@-]*\s{0,40}\| ?`,
	// Dates and times: RFC 3339, Python's logging, GitHub Actions, gunicorn in brackets.
	`\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)? ?(?:Z|UTC|[+-]\d\d:?\d\d)?\]?[:,]?\s+`,
	`\d\d:\d\d:\d\d(?:[.,]\d+)?\s+`,
	// syslog and journald: Nov 28 08:00:01 host gunicorn[12]:
	`[A-Z][a-z]{2}\s{1,2}\d{1,2} \d\d:\d\d:\d\d(?:\.\d+)? \S+ [\w.@/:()-]+(?:\[\d+\])?:\s`,
	// The same behind another date, and Heroku's app[web.1]:
	`(?:[\w.-]+ )?[\w.@/()-]+\[[\w.-]+\]: `,
	// uWSGI: Wed Jun  2 10:28:07 2021 -
	`[A-Z][a-z]{2} [A-Z][a-z]{2}\s{1,2}\d{1,2} \d\d:\d\d:\d\d \d{4} - `,
	// Apache: [Wed Jun 02 10:28:07.123456 2021] [wsgi:error] [pid 12:tid 34] [client 192.0.2.1:80]
	`\[(?:[A-Z][a-z]{2} [A-Z][a-z]{2}\s{1,2}\d{1,2} [\d:.]+ \d{4}|pid \d+(?::tid \d+)?|(?:client|remote) [^\]\s]+)\]\s*`,
	// Other tags and times in brackets: [web], [ERROR], [    1.234567]
	`\[\s{0,8}[\w.:-]+\] `,
	// BuildKit: #12 3.456
	`#\d+ \d+\.\d+\s`,
	// Kubernetes: stderr F, and klog's E1128 08:00:01.123456       1 file.go:12]
	`std(?:out|err) [FP] `,
	`[IWEF]\d{4} [\d:.]+\s+\d+ [\w.-]+:\d+\] `,
	// Azure's and GitHub's annotations, and pip's and uv's frames.
	`##\[\w+\]`, `::\w+(?: [^:\n]*)?::`, `[│╎] ?`,
}, "|") + `)`)

// maxPrefixes bounds how many prefixes stand before a line.
const maxPrefixes = 8

func unprefixed(line string) string {
	for range maxPrefixes {
		rest := prefix.ReplaceAllLiteralString(line, "")
		if rest == line {
			break
		}
		line = rest
	}
	return line
}

// saidBy are the strings of a JSON object that have words, a line or more each; false when
// the text does not begin with an object.
func saidBy(text string) (string, bool) {
	var b strings.Builder
	decoder := json.NewDecoder(strings.NewReader(text))
	for depth := 0; ; {
		token, err := decoder.Token()
		if err != nil {
			return "", false
		}
		switch t := token.(type) {
		case json.Delim:
			depth++
			if t == '}' || t == ']' {
				depth -= 2
			}
		case string:
			if strings.Contains(t, " ") {
				b.WriteString(spelled.Replace(escapes.ReplaceAllString(t, "")) + "\n")
			}
		}
		if depth == 0 {
			return b.String(), true
		}
	}
}
