package fetch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxNetrc is the largest netrc in bytes.
const maxNetrc = 1 << 20

// login is who asks a host, and with which password.
type login struct{ user, password string }

// readNetrc finds the login of a host in a netrc: the first entry for it, else the default.
// With a user it is the entry of that user. ok is false when there is none.
func readNetrc(file, host, user string) (found login, ok bool, err error) {
	f, err := os.Open(file)
	if err != nil {
		return login{}, false, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxNetrc+1))
	if err != nil {
		return login{}, false, err
	}
	if len(text) > maxNetrc {
		return login{}, false, fmt.Errorf("it has more than %d bytes", maxNetrc)
	}
	entries, err := parseNetrc(string(text))
	if err != nil {
		return login{}, false, err
	}
	for _, e := range entries {
		if (e.machine == "" || strings.EqualFold(e.machine, host)) && (user == "" || e.user == user) {
			return e.login, true, nil
		}
	}
	return login{}, false, nil
}

// netrcEntry is what a netrc says of a machine; the default has no name.
type netrcEntry struct {
	machine string
	login
}

// parseNetrc reads a netrc as curl and Python's module netrc do: words, of which those in
// quotes may have spaces; "#" begins a comment; a macro ends with an empty line. Errors
// name lines, never words: any of these may be a secret.
func parseNetrc(text string) ([]netrcEntry, error) {
	var entries []netrcEntry
	words := netrcWords{text: text, line: 1}
	for {
		word, ok := words.next()
		if !ok {
			return entries, words.err
		}
		switch word {
		case "default":
			entries = append(entries, netrcEntry{})
			continue
		case "macdef":
			words.skipMacro()
			continue
		}
		value, ok := words.next()
		switch {
		case words.err != nil:
			return nil, words.err
		case !ok:
			return nil, fmt.Errorf("its line %d ends too early", words.line)
		}
		switch {
		case word == "machine":
			if value == "" {
				return nil, fmt.Errorf("its line %d names no machine", words.line)
			}
			entries = append(entries, netrcEntry{machine: value})
		case len(entries) == 0:
			return nil, fmt.Errorf("its line %d has something before the first machine", words.line)
		case word == "login":
			entries[len(entries)-1].user = value
		case word == "password":
			entries[len(entries)-1].password = value
		case word == "account":
		default:
			return nil, fmt.Errorf("its line %d has a word that netrc does not know", words.line)
		}
	}
}

// netrcWords are the words of a netrc that are still to be read.
type netrcWords struct {
	text string
	line int
	err  error
}

func (w *netrcWords) next() (string, bool) {
	for {
		trimmed := strings.TrimLeft(w.text, " \t\r\n")
		w.line += strings.Count(w.text[:len(w.text)-len(trimmed)], "\n")
		w.text = trimmed
		if !strings.HasPrefix(trimmed, "#") {
			break
		}
		w.cut(strings.IndexByte(trimmed, '\n'))
	}
	switch {
	case w.text == "":
		return "", false
	case w.text[0] == '"':
		return w.quoted()
	}
	return w.cut(strings.IndexAny(w.text, " \t\r\n")), true
}

// quoted reads a word in quotes, in which "\" takes the next character as it is.
func (w *netrcWords) quoted() (string, bool) {
	var b strings.Builder
	for i := 1; i < len(w.text); i++ {
		switch w.text[i] {
		case '"':
			w.cut(i + 1)
			return b.String(), true
		case '\\':
			i++
		}
		if i < len(w.text) {
			b.WriteByte(w.text[i])
		}
	}
	w.err = errors.New("a quote in it does not end")
	w.text = ""
	return "", false
}

// cut takes the text up to an index off, or all of it.
func (w *netrcWords) cut(at int) string {
	if at < 0 {
		at = len(w.text)
	}
	word := w.text[:at]
	w.line += strings.Count(word, "\n")
	w.text = w.text[at:]
	return word
}

func (w *netrcWords) skipMacro() {
	end := strings.Index(w.text, "\n\n")
	w.cut(end)
}
