package fetch

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"ampoule/config"
	"ampoule/faults"
)

// access is how a source's servers know who asks. The secret is in memory alone. It goes to
// the addresses of the source's own mirrors and to no other host.
type access struct {
	source string
	set    config.Credentials
	m      machine

	mu sync.Mutex
	// header is the command's answer, kept until a server refuses it.
	header string
	// unread is why the netrc at its usual place was not read.
	unread error
}

// accessOf is how a source's servers are asked; nil for sources that take no credentials.
func (f *Fetcher) accessOf(source string) *access {
	if kind, _ := f.config.Sources.Kind(source); kind != config.Index {
		return nil
	}
	entry, _ := f.memory.LoadOrStore("access "+source, &access{
		source: source, set: f.config.Sources[source].Credentials, m: machine{env: f.config.Environ},
	})
	return entry.(*access)
}

// authorization is the header for an address; empty where nobody has a secret for it.
func (a *access) authorization(ctx context.Context, to *url.URL) (string, error) {
	switch {
	case to.User != nil:
		return "", nil // net/http makes it of the address.
	case a.set.Password != "":
		return authorization(login{a.set.Username, a.set.Password}), nil
	case len(a.set.Command) > 0:
		return a.commanded(ctx)
	}
	return a.fromNetrc(to.Hostname())
}

// authorization is a password's header with a user (RFC 7617), a token's without (RFC 6750).
func authorization(l login) string {
	if l.user == "" {
		return "Bearer " + l.password
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(l.user+":"+l.password))
}

// fromNetrc looks into the netrc that is named, else into netrc's usual place.
func (a *access) fromNetrc(host string) (string, error) {
	file := a.set.Netrc
	if file == "" {
		file = lookup(a.m.env, "NETRC")
	}
	named := file != ""
	if !named {
		home := lookup(a.m.env, "HOME")
		if !filepath.IsAbs(home) {
			return "", nil
		}
		file = filepath.Join(home, ".netrc")
	}
	found, ok, err := readNetrc(file, host, a.set.Username)
	if !named && errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		err = faults.New(faults.Input, config.NameCredentials(a.source), "reading %s for the credentials of source %s: %w", file, a.source, err)
	}
	if err != nil && a.set.Netrc == "" {
		// Most indexes need none of it.
		a.mu.Lock()
		defer a.mu.Unlock()
		a.unread = err
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if !ok {
		return "", nil
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(found.user+":"+found.password)), nil
}

// maxSecret is the longest secret that a command prints, in bytes.
const maxSecret = 64 << 10

// commanded is what the command prints, asked once until a server refuses it.
func (a *access) commanded(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.header != "" {
		return a.header, nil
	}
	secret, err := a.run(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", commandFailed(a.source, a.set.Command[0], err)
	}
	a.header = authorization(login{a.set.Username, secret})
	return a.header, nil
}

// commandFailed says that a source's command gave no secret. It tells the program's name
// alone: arguments and output may hold secrets.
func commandFailed(source, program string, err error) error {
	return faults.New(faults.Machine, "run the command of sources."+source+".credentials by hand: it must print the secret, in one line, and end with code 0",
		"asking %s for the credentials of source %s: %w", program, source, err)
}

// run runs the command in the environment that the downloader is given.
func (a *access) run(ctx context.Context) (string, error) {
	path := a.m.look(a.set.Command[0])
	if path == "" {
		return "", errors.New("there is no such program")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, errors.New("it takes too long"))
	defer cancel()
	cmd := exec.CommandContext(ctx, path, a.set.Command[1:]...) //nolint:gosec // it is the user's own configuration
	cmd.Env = append([]string{}, a.m.env...)
	var out bytes.Buffer
	cmd.Stdout = &atMost{&out, maxSecret}
	cmd.WaitDelay = askTimeout
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if cause := context.Cause(ctx); cause != nil {
			return "", cause
		}
		if errors.As(err, &exit) {
			return "", fmt.Errorf("it ends with %s", exit.ProcessState)
		}
		return "", scrubbedError{err}
	}
	secret := strings.TrimSpace(out.String())
	if secret == "" || strings.ContainsAny(secret, "\r\n\x00") {
		return "", errors.New("it does not print one line")
	}
	return secret, nil
}

// forget drops a secret that a server refused, and reports whether asking again may give
// another one.
func (a *access) forget(header string) bool {
	if len(a.set.Command) == 0 || header == "" {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.header == header {
		a.header = ""
	}
	return true
}

// refused says that a server wants other credentials.
func (a *access) refused(given bool, status string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &CredentialsError{Source: a.source, Given: given, Status: status, Unread: a.unread}
}

// atMost fails once more is written than it takes.
type atMost struct {
	to   *bytes.Buffer
	left int
}

func (w *atMost) Write(p []byte) (int, error) {
	w.left -= len(p)
	if w.left < 0 {
		return 0, errors.New("it prints too much")
	}
	return w.to.Write(p)
}

// CredentialsError says that a source's server wants other credentials than it got.
type CredentialsError struct {
	Source string
	// Given reports whether it got any.
	Given bool
	// Status is the server's code with its words.
	Status string
	// Unread is why the netrc at its usual place was not read; may be nil.
	Unread error
}

func (e *CredentialsError) Error() string {
	what := "missing"
	if e.Given {
		what = "refused"
	}
	told := fmt.Sprintf("credentials of source %s are %s: HTTP %s", e.Source, what, e.Status)
	if !e.Given && e.Unread != nil {
		told += fmt.Sprintf(" (%v)", e.Unread)
	}
	return told
}

// Kind says whose fault it is.
func (*CredentialsError) Kind() faults.Kind { return faults.Remote }

// Hint says what to do.
func (e *CredentialsError) Hint() string {
	if e.Given {
		return "look whether they have expired, and may read this index; " + config.NameCredentials(e.Source)
	}
	return config.NameCredentials(e.Source)
}

// sameOrigin reports whether two addresses are of one server (RFC 6454).
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// ask sends a request with the credentials for its address. A secret that a command gave,
// and that is refused, is asked for once more: it may have expired.
func (a *access) ask(request *http.Request, send func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	for again := false; ; again = true {
		header, err := a.authorization(request.Context(), request.URL)
		if err != nil {
			return nil, err
		}
		if header != "" {
			request.Header.Set("Authorization", header)
		}
		response, err := send(request)
		if err != nil {
			return nil, err
		}
		given := header != "" || request.URL.User != nil
		if response.StatusCode != http.StatusUnauthorized && (response.StatusCode != http.StatusForbidden || !given) {
			return response, nil
		}
		response.Body.Close()
		if again || !a.forget(header) {
			return nil, a.refused(given, response.Status)
		}
	}
}
