package workspace

import (
	"context"
	"errors"
	"net/url"
	"os/exec"
	"strings"
)

// Origin says where a working tree is from, as far as that is known.
type Origin struct {
	// Repository is the address of git's remote "origin", without credentials.
	Repository string
	// Ref is the branch that is checked out, such as refs/heads/main. Where none is, as CI
	// systems check commits out, it is what the system's variables name.
	Ref string
}

// origin asks git for it. What git does not know is empty.
func (g git) origin(ctx context.Context, dir string) (Origin, error) {
	repository, err := g.maybe(ctx, dir, "config", "--get", "remote.origin.url")
	if err != nil {
		return Origin{}, err
	}
	ref, err := g.maybe(ctx, dir, "symbolic-ref", "--quiet", "HEAD")
	if err == nil && ref == "" {
		ref = g.refOfCI()
	}
	return Origin{withoutUser(repository), ref}, err
}

// maybe returns what git prints; nothing where it says by its exit code that there is none.
func (g git) maybe(ctx context.Context, dir string, args ...string) (string, error) {
	out, err := g.run(ctx, dir, args...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return "", nil
	}
	return strings.TrimSpace(out), err
}

// refOfCI is the branch or tag that a CI system's variables name.
func (g git) refOfCI() string {
	for _, from := range []struct{ variable, prefix string }{
		{"GITHUB_REF", ""},
		{"CI_COMMIT_TAG", "refs/tags/"}, {"CI_COMMIT_BRANCH", "refs/heads/"},
		{"BUILDKITE_TAG", "refs/tags/"}, {"BUILDKITE_BRANCH", "refs/heads/"},
	} {
		for _, v := range g.environ {
			if value, ok := strings.CutPrefix(v, from.variable+"="); ok && value != "" {
				return from.prefix + value
			}
		}
	}
	return ""
}

// withoutUser takes the user and all secrets out of a repository's address: a URL, or
// USER@HOST:PATH.
func withoutUser(repository string) string {
	if strings.Contains(repository, "://") {
		u, err := url.Parse(repository)
		if err != nil {
			return ""
		}
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		return u.String()
	}
	if host, path, scp := strings.Cut(repository, ":"); scp && !strings.Contains(host, "/") {
		return host[strings.LastIndexByte(host, '@')+1:] + ":" + path
	}
	return repository
}
