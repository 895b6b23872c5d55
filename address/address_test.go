package address

import (
	"strings"
	"testing"
	"unicode"
)

const image = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestRedact(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"nothing here":                       "nothing here",
		"me@example.org":                     "me@example.org",
		"https://host.example/simple/":       "https://host.example/simple/",
		"https://host:8080/a?b#c":            "https://host:8080/a?b#c",
		"https://[::1]:5000/v2/":             "https://[::1]:5000/v2/",
		"file:///var/lib/x":                  "file:///var/lib/x",
		`Get "https://host:443": refused`:    `Get "https://host:443": refused`,
		"docker://host/web" + image + ", it": "docker://host/web" + image + ", it",

		"https://user:secret@host/x":               "https://***@host/x",
		"https://secret@host":                      "https://***@host",
		"a https://user:secret@host/x b":           "a https://***@host/x b",
		"https://user:se/cret@host/x":              "https://***@host/x",
		"https://user:se?cr#et@host":               "https://***@host",
		"https://user:se@cr@et@host":               "https://***@host",
		"https://user:123/secret@host":             "https://***@host",
		"https://user:s%40cret@host":               "https://***@host",
		"https://user:%zz@host":                    "https://***@host",
		`"https://user:se\"cret@host": no URL`:     `"https://***@host": no URL`,
		"https://user:se cret@host/x":              "https://***@host/x",
		"https://user:secret":                      "https://***",
		"https://user:se/cret and more":            "https://*** and more",
		"https://secret%40host/x":                  "https://***",
		"//user:secret@host":                       "//***@host",
		"socks5h://user:secret@proxy:1080":         "socks5h://***@proxy:1080",
		"https://a/x then https://u:secret@b/y":    "https://a/x then https://***@b/y",
		"https://u:secret@a/x then https://b/y":    "https://***@a/x then https://b/y",
		"https://u:secret@h/web" + image:           "https://***@h/web" + image,
		"one https://u:x\nsecret@h":                "one https://***\nsecret@h",
		"git+https://u:secret@host/repo.git@v1":    "git+https://***@v1",
		"https://ünïcode.example/ https://u:ß@h/x": "https://ünïcode.example/ https://***@h/x",
	} {
		if got := Redact(text); got != want {
			t.Errorf("Redact(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestOne(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"web" + image:                   "web" + image,
		"host:5000/web" + image:         "host:5000/web" + image,
		"web@latest":                    "web@latest",
		"web@sha256:0123":               "web@sha256:0123",
		"user:secret@sha256:0123":       "***@sha256:0123",
		"web:1":                         "web:1",
		"user:secret@host/web" + image:  "***@host/web" + image,
		"secret@host.example/web:1":     "***@host.example/web:1",
		"secret@localhost/web":          "***@localhost/web",
		"secret@host:1":                 "***@host:1",
		"user:se/c@ret@host/x":          "***@host/x",
		"https://user:se cret@host/x":   "https://***@host/x",
		"https://us er:secret@host/x y": "https://***@host/x y",
		"https://host/x":                "https://host/x",
		"/a/directory":                  "/a/directory",
		"":                              "",
	} {
		if got := One(text); got != want {
			t.Errorf("One(%q) = %q, want %q", text, got, want)
		}
	}
}

// FuzzRedact puts a secret between whatever a person may have typed before the host.
func FuzzRedact(f *testing.F) {
	for _, seed := range [][2]string{{"user:", ""}, {"", ""}, {"user:a/", "/b"}, {"u@", "@x"}, {"%", "%40"}, {":1/", "#?"}, {"//", "//"}, {"[", "]"}, {image, image}, {`\"`, `'`}} {
		f.Add(seed[0], seed[1])
	}
	const secret = "hunter2"
	f.Fuzz(func(t *testing.T, before, after string) {
		address := "https://" + before + secret + after + "@host.example/simple"
		if got := One(address); strings.Contains(got, secret) {
			t.Errorf("One(%q) = %q", address, got)
		}
		if strings.ContainsFunc(before+after, unicode.IsSpace) {
			return // where an address ends in a text is not known then
		}
		for _, text := range []string{address, "reading " + address + ": no such host", "a\n\"" + address + "\"\nb"} {
			got := Redact(text)
			if strings.Contains(got, secret) {
				t.Errorf("Redact(%q) = %q", text, got)
			}
			if again := Redact(got); strings.Contains(again, secret) {
				t.Errorf("Redact(%q) = %q", got, again)
			}
		}
	})
}
