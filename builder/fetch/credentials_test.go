package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/config"
	"ampoule/faults"
)

const secret = "c4n4ry"

// private serves one project, and a file of it, to who sends a header.
func private(t *testing.T, content []byte, wanted func() string) (*server, Item) {
	t.Helper()
	sum := sha256.Sum256(content)
	item := Item{Source: "company", Name: "acme-core", Version: "1.0", File: "acme_core-1.0-py3-none-any.whl", SHA256: hex.EncodeToString(sum[:])}
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != wanted():
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/simple/acme-core/":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, `<a href="/files/%s#sha256=%s">x</a>`, item.File, item.SHA256)
		default:
			w.Write(content)
		}
	}), item
}

// asked makes a Fetcher of one source with credentials.
func asked(t *testing.T, s *server, c config.Credentials, environ ...string) *Fetcher {
	t.Helper()
	f := impatient(openStore(t), map[string]Source{"company": {Mirrors: []string{s.URL + "/simple"}, Names: []string{"acme-*"}, Credentials: c}})
	f.config.Environ = environ
	return f
}

// script writes a program, and gives its path.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	return path
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	content := noise(81, 400)
	basic := authorization(login{"me", secret})
	netrc := filepath.Join(t.TempDir(), "netrc")
	writeFile(t, netrc, []byte("machine other.invalid login x password y\nmachine 127.0.0.1\nlogin me\npassword "+secret+"\n"))
	home := t.TempDir()
	writeFile(t, filepath.Join(home, ".netrc"), []byte("default login me password "+secret+"\n"))
	for name, c := range map[string]struct {
		set     config.Credentials
		environ []string
		header  string
	}{
		"password":       {config.Credentials{Username: "me", Password: secret}, nil, basic},
		"token":          {config.Credentials{Password: secret}, nil, "Bearer " + secret},
		"command":        {config.Credentials{Username: "me", Command: []string{script(t, "echo "+secret)}}, nil, basic},
		"token command":  {config.Credentials{Command: []string{script(t, `echo "$1"`), secret}}, nil, "Bearer " + secret},
		"netrc":          {config.Credentials{Netrc: netrc}, nil, basic},
		"netrc of user":  {config.Credentials{Netrc: netrc, Username: "me"}, nil, basic},
		"NETRC":          {config.Credentials{}, []string{"NETRC=" + netrc, "HOME=/nowhere"}, basic},
		"netrc at home":  {config.Credentials{}, []string{"HOME=" + home}, basic},
		"variables seen": {config.Credentials{Command: []string{script(t, `echo "$SEEN"`)}}, []string{"SEEN=" + secret}, "Bearer " + secret},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, item := private(t, content, func() string { return c.header })
			f := asked(t, s, c.set, c.environ...)
			if err := f.Fetch(t.Context(), item); err != nil {
				t.Fatal(err)
			}
			checkStored(t, f, item, content)
		})
	}
}

// A command is asked once, and again when a server refuses what it gave.
func TestTokenExpires(t *testing.T) {
	t.Parallel()
	count := filepath.Join(t.TempDir(), "count")
	token := script(t, `echo x >> `+count+`; echo token$(wc -l < `+count+`)`)
	valid := "token1"
	s, item := private(t, noise(82, 300), func() string { return "Bearer " + valid })
	f := asked(t, s, config.Credentials{Command: []string{token}}, "PATH=/usr/bin:/bin")
	if err := f.Fetch(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	valid = "token2"
	other := item
	other.SHA256 = strings.Repeat("a", 64)
	if err := f.Fetch(t.Context(), other); err == nil { // Its file is not of this hash; the page is known.
		t.Error("wrong bytes were taken")
	}
	valid = "token3"
	f.memory.Clear()
	if _, err := f.Project(t.Context(), "company", "acme-core"); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(count); err != nil || len(text) > 2*3 {
		t.Errorf("the command was asked %d times, %v", len(text)/2, err)
	}
}

func TestCredentialsAreToldOf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set    config.Credentials
		answer int
		want   string
		kind   faults.Kind
	}{
		"missing":   {config.Credentials{}, 401, "credentials of source company are missing: HTTP 401 Unauthorized", faults.Remote},
		"refused":   {config.Credentials{Password: secret}, 401, "credentials of source company are refused: HTTP 401 Unauthorized", faults.Remote},
		"forbidden": {config.Credentials{Password: secret}, 403, "credentials of source company are refused: HTTP 403 Forbidden", faults.Remote},
		"expired":   {config.Credentials{Command: []string{script(t, "echo "+secret)}}, 401, "credentials of source company are refused", faults.Remote},
		"no command": {config.Credentials{Command: []string{"/nowhere/token", secret}}, 401,
			"asking /nowhere/token for the credentials of source company: there is no such program", faults.Machine},
		"failing":  {config.Credentials{Command: []string{script(t, "echo "+secret+"; echo "+secret+" >&2; exit 4"), secret}}, 401, "it ends with exit status 4", faults.Machine},
		"chatty":   {config.Credentials{Command: []string{script(t, "echo "+secret+"; echo "+secret)}}, 401, "it does not print one line", faults.Machine},
		"silent":   {config.Credentials{Command: []string{script(t, "true")}}, 401, "it does not print one line", faults.Machine},
		"no netrc": {config.Credentials{Netrc: "/nowhere/netrc"}, 401, "reading /nowhere/netrc for the credentials of source company", faults.Input},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, status(c.answer))
			f := asked(t, s, c.set)
			_, err := f.Project(t.Context(), "company", "acme-core")
			if err == nil || !strings.Contains(err.Error(), c.want) || faults.Of(err) != c.kind {
				t.Fatalf("got %v", err)
			}
			told := err.Error() + strings.Join(faults.Hints(err), "\n")
			if strings.Contains(told, secret) {
				t.Errorf("the secret is told: %s", told)
			}
			if !strings.Contains(told, "credentials") || len(faults.Hints(err)) == 0 {
				t.Errorf("the hints are %q", faults.Hints(err))
			}
		})
	}
}

// Neither a redirect nor an address in a page takes credentials to another server, not even
// to another port of the same host, which net/http would.
func TestCredentialsStayWithTheirServer(t *testing.T) {
	t.Parallel()
	content := noise(83, 300)
	other := serve(t, whole(content))
	for name, direct := range map[string]bool{"redirect": false, "address": true} {
		sum := sha256.Sum256(content)
		item := Item{Source: "company", Name: "acme-core", Version: "1.0", File: "acme_core-1.0.tar.gz", SHA256: hex.EncodeToString(sum[:])}
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+secret {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			if r.URL.Path != "/simple/acme-core/" {
				http.Redirect(w, r, other.URL+"/moved", http.StatusFound)
				return
			}
			w.Header().Set("Content-Type", "text/html")
			at := "/files/"
			if direct {
				at = other.URL + "/"
			}
			fmt.Fprintf(w, `<a href="%s%s#sha256=%s">x</a>`, at, item.File, item.SHA256)
		})
		if err := asked(t, s, config.Credentials{Password: secret}).Fetch(t.Context(), item); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(other.seen()) != 2 {
		t.Errorf("the other server was asked %d times", len(other.seen()))
	}
	for _, r := range other.seen() {
		if r.Header.Get("Authorization") != "" {
			t.Errorf("%s came with credentials", r.URL)
		}
	}
}

// A page to sign in with, which comes with status 200, is no index page without files.
func TestSigningInIsNoIndex(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write([]byte(`<!DOCTYPE html><h1>Welcome</h1><form action="/login"><input name=user></form>`))
	})
	_, err := asked(t, s, config.Credentials{}).Project(t.Context(), "company", "acme-core")
	if !errors.Is(err, errForm) || faults.Of(err) != faults.Remote {
		t.Errorf("got %v", err)
	}
}

func TestNetrc(t *testing.T) {
	t.Parallel()
	text := `# of the team
machine a.example login "first user" password "p\"w d" account x
macdef init
machine no.example login x password y

machine b.example
	login second
	password p#2
default login anyone password z
`
	file := filepath.Join(t.TempDir(), "netrc")
	writeFile(t, file, []byte(text))
	for host, want := range map[string]login{
		"a.example": {"first user", `p"w d`}, "B.Example": {"second", "p#2"}, "no.example": {"anyone", "z"}, "x": {"anyone", "z"},
	} {
		if got, ok, err := readNetrc(file, host, ""); got != want || !ok || err != nil {
			t.Errorf("%s: got %v, %t, %v", host, got, ok, err)
		}
	}
	if got, ok, err := readNetrc(file, "b.example", "third"); ok || err != nil {
		t.Errorf("of another user: %v, %v", got, err)
	}
	for text, want := range map[string]string{
		"login " + secret:                     "its line 1 has something before the first machine",
		"machine a\n\npassword":               "its line 3 ends too early",
		"machine a login b\n" + secret + " x": "its line 2 has a word that netrc does not know",
		`machine a password "` + secret:       "a quote in it does not end",
	} {
		writeFile(t, file, []byte(text))
		if _, _, err := readNetrc(file, "a", ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v", text, err)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%v has the secret", err)
		}
	}
}

// A netrc at its usual place that nobody can read matters to those alone who need it.
func TestBrokenNetrc(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), ".netrc")
	writeFile(t, file, []byte("machine a\nlogin b\n"+secret+" x"))
	content := noise(86, 100)
	free, item := private(t, content, func() string { return "" })
	if err := asked(t, free, config.Credentials{}, "NETRC="+file).Fetch(t.Context(), item); err != nil {
		t.Error(err)
	}
	_, err := asked(t, serve(t, status(http.StatusUnauthorized)), config.Credentials{}, "HOME="+filepath.Dir(file)).Project(t.Context(), "company", "acme-core")
	if err == nil || !strings.Contains(err.Error(), "are missing: HTTP 401 Unauthorized (reading "+file) || !strings.Contains(err.Error(), "line 3") || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v", err)
	}
}

func FuzzNetrc(f *testing.F) {
	f.Add("machine a login b password c\ndefault login d password e")
	f.Add("macdef x\n\nmachine \"a\\\"b\" # c")
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := parseNetrc(text)
		if err == nil && len(entries) > len(text) {
			t.Errorf("%d entries in %q", len(entries), text)
		}
	})
}
