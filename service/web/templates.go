package web

import (
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// shared are the templates that all pages have.
var shared = []string{"templates/layout.html", "templates/parts.html"}

// readTemplates reads each page with what all have.
func (p *Pages) readTemplates() (map[string]*template.Template, error) {
	base, err := template.New("").Funcs(p.functions()).Option("missingkey=error").ParseFS(files, shared...)
	if err != nil {
		return nil, fmt.Errorf("reading templates: %w", err)
	}
	names, err := fs.Glob(files, "templates/pages/*.html")
	if err != nil {
		return nil, err
	}
	all := map[string]*template.Template{}
	for _, name := range names {
		t, err := base.Clone()
		if err == nil {
			t, err = t.ParseFS(files, name)
		}
		if err != nil {
			return nil, fmt.Errorf("reading templates: %w", err)
		}
		all[strings.TrimSuffix(path.Base(name), ".html")] = t
	}
	return all, nil
}

// functions are what templates may call.
func (p *Pages) functions() template.FuncMap {
	return template.FuncMap{
		"asset":     func(name string) string { return "/static/" + name + "?v=" + p.assets[name].sum },
		"short":     shortDigest,
		"size":      sizeText,
		"took":      took,
		"stamp":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"iso":       func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"ago":       func(t time.Time) string { return agoText(p.Now().Sub(t)) },
		"since":     func(t time.Time) string { return took(t, p.Now()) },
		"link":      linkPath,
		"query":     query,
		"join":      strings.Join,
		"plural":    plural,
		"signed":    signedSize,
		"share":     share,
		"word":      func(s State) string { return strings.ToUpper(string(s[:1])) + string(s[1:]) },
		"dict":      dict,
		"registry":  func() string { return p.Registry },
		"hasDigest": func(s string) bool { return digestForm.MatchString(s) },
	}
}

// dict makes the values of a part that wants several: a name, its value, and so on.
func dict(pairs ...any) (map[string]any, error) {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("naming values of a part: %v is no name", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// linkPath is a path of the service; what stands in it is escaped, but for slashes.
func linkPath(parts ...string) string {
	for i, part := range parts {
		words := strings.Split(part, "/")
		for j, word := range words {
			words[j] = url.PathEscape(word)
		}
		parts[i] = strings.Join(words, "/")
	}
	return "/" + strings.Join(parts, "/")
}

var digestForm = regexp.MustCompile(`^(.*?)(?:sha256:)?([0-9a-f]{64})$`)

// shownDigits is how many digits of a hash are shown.
const shownDigits = 12

// shortDigest shows a digest, or a reference that ends with one, by its first digits.
func shortDigest(text string) string {
	m := digestForm.FindStringSubmatch(text)
	if m == nil {
		return text
	}
	return m[1] + m[2][:shownDigits]
}

// sizeText is a number of bytes for people.
func sizeText(n int64) string {
	if n < units.KiB {
		return fmt.Sprintf("%d B", n)
	}
	return units.CustomSize("%.1f %s", float64(n), units.KiB, []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"})
}

func signedSize(from, to int64) string {
	switch d := to - from; {
	case d < 0:
		return "−" + sizeText(-d)
	default:
		return "+" + sizeText(d)
	}
}

// share is how much of a whole something is, from 0 to 100.
func share(part, whole int64) int64 {
	if whole <= 0 {
		return 0
	}
	return min(100, max(0, part*100/whole))
}

// took is the time between two moments, for people; empty where the first is not known.
func took(from, to time.Time) string {
	if from.IsZero() || to.IsZero() || to.Before(from) {
		return ""
	}
	return durationText(to.Sub(from))
}

func durationText(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d days", int(d.Hours())/24)
	}
}

// agoText is how long ago something was.
func agoText(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours())/24)
	}
}

// plural is a number with its word.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
