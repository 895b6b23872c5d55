package registry

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"ampoule/artifact"
	"ampoule/internal/watched"
)

// localHost stands for the store's own registry where the client needs a host. It
// is in nothing that is published.
const localHost = "store.localhost"

// tokenUser is whom a token is sent for, as a password: the registry knows whose it is.
const tokenUser = "ampoule"

// Registry is one OCI registry: the store's own, or a remote one. It also reads
// from other registries, where a reference names their host.
type Registry struct {
	// own is where references without a host lead; prefix goes before their names.
	own    *access
	host   name.Registry
	prefix string
	// others reaches another registry.
	others func(host string) (*access, error)
	// kept is asked for bases before their registry is.
	kept []Content
}

// Content is a place that gives manifests and blobs by their sha256.
type Content interface {
	// Open gives the content of that sha256; the caller compares it. What is not
	// there is an [fs.ErrNotExist].
	Open(ctx context.Context, sum string) (io.ReadCloser, error)
}

// Prefer has these places asked for bases, in this order, before their registry is. It
// is called before the registry is used.
func (r *Registry) Prefer(places ...Content) { r.kept = append(r.kept, places...) }

// access is how to reach one registry.
type access struct {
	shown string
	// local is the store's own registry. Inside says that references to it have no host.
	local, inside bool
	// byToken says that it is asked by a token of its own.
	byToken bool
	options []remote.Option
	puller  *remote.Puller
	// transport reaches the store's own registry; nil for others.
	transport http.RoundTripper
	// times compares clocks; nil for the store's own registry and for layouts.
	times *clock
	// bounds are those of a registry that a stranger has named; nil for others.
	bounds *bounded
	// tagging is held while a tag is read, changed and written.
	tagging sync.Mutex
}

// Open returns the registry at HOST[:PORT][/PREFIX]. It makes no request.
// Credentials come from Docker's configuration. Plain http is spoken to loopback
// addresses only.
func Open(ref string) (*Registry, error) { return OpenBy(ref, "") }

// OpenBy is as [Open], and asks that registry by a token of it, if there is one. Other registries are
// asked as ever.
func OpenBy(ref, token string) (*Registry, error) {
	host, prefix, _ := strings.Cut(strings.TrimSuffix(ref, "/"), "/")
	if prefix != "" && !artifact.IsRepository(prefix) {
		return nil, wrongReference(ref, "what follows the host is not a repository's name")
	}
	reg, err := name.NewRegistry(host, name.StrictValidation)
	if err != nil {
		return nil, wrongReference(ref, "its host is not HOST or HOST:PORT")
	}
	who := asDocker()
	if token != "" {
		who = remote.WithAuth(&authn.Basic{Username: tokenUser, Password: token})
	}
	own, err := accessBy(remote.DefaultTransport, host, maxSilence, foreignBackoff, who)
	if err != nil {
		return nil, err
	}
	own.byToken = token != ""
	return &Registry{own: own, host: reg, prefix: prefix, others: foreign}, nil
}

// Local returns the store's own registry, which the transport reaches whatever
// host a request names.
func Local(t http.RoundTripper) (*Registry, error) {
	reg, err := name.NewRegistry(localHost, name.Insecure)
	if err != nil {
		return nil, fmt.Errorf("naming the store's registry: %w", err)
	}
	own, err := newAccess("the store's registry",
		remote.WithTransport(t), remote.WithRetryBackoff(localBackoff), remote.WithRetryPredicate(retryLocal))
	if err != nil {
		return nil, err
	}
	own.local, own.inside, own.transport = true, true, t
	return &Registry{own: own, host: reg, others: foreign}, nil
}

// Layout returns the registry that a transport makes of an OCI layout, which errors name as
// shown. It has one repository, which answers to any name. References with a host lead to
// other registries, as ever.
func Layout(t http.RoundTripper, shown string) (*Registry, error) {
	reg, err := name.NewRegistry(localHost, name.Insecure)
	if err != nil {
		return nil, fmt.Errorf("naming the layout %s: %w", shown, err)
	}
	// What a file says once it says again.
	never := func(error) bool { return false }
	own, err := newAccess(shown, remote.WithTransport(t), remote.WithRetryPredicate(never), remote.WithRetryStatusCodes())
	if err != nil {
		return nil, err
	}
	own.inside = true
	return &Registry{own: own, host: reg, others: foreign}, nil
}

func foreign(host string) (*access, error) { return foreignAccess(host, maxSilence, foreignBackoff) }

func foreignAccess(host string, silence time.Duration, backoff remote.Backoff) (*access, error) {
	return accessBy(remote.DefaultTransport, host, silence, backoff, asDocker())
}

// accessBy reaches a registry by a transport, as somebody.
func accessBy(by http.RoundTripper, host string, silence time.Duration, backoff remote.Backoff, who remote.Option) (*access, error) {
	p := &patient{next: watched.Transport{Next: loopbackHTTP{by}}, silence: silence}
	times := &clock{next: p}
	a, err := newAccess(host,
		remote.WithTransport(conditioned{resuming{next: &polite{next: times, most: maxPatience}, wait: resumeWait}}), remote.WithRetryBackoff(backoff), remote.WithRetryPredicate(p.retry), who)
	if err != nil {
		return nil, err
	}
	a.times = times
	return a, nil
}

func newAccess(shown string, options ...remote.Option) (*access, error) {
	options = append(options, remote.WithUserAgent("ampoule"))
	puller, err := remote.NewPuller(options...)
	if err != nil {
		return nil, fmt.Errorf("preparing to read from %s: %w", shown, err)
	}
	return &access{shown: shown, options: options, puller: puller}, nil
}

// isFile reports whether it is a layout.
func (a *access) isFile() bool { return a.inside && !a.local }

// loopbackHTTP refuses to speak plain http to anything but a loopback address,
// wherever a redirect leads.
type loopbackHTTP struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t loopbackHTTP) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" && !isLoopback(req.URL) {
		return nil, fmt.Errorf("%s: plain http is for loopback addresses only", req.URL.Host)
	}
	return t.next.RoundTrip(req)
}

func isLoopback(u *url.URL) bool {
	host := u.Hostname()
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

var (
	tagForm  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	hostForm = regexp.MustCompile(`^(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?$`)
)

// location is a parsed reference.
type location struct {
	*access
	repo name.Repository
	// base is what stands before @ or : in the reference as people read it.
	base string
	// name is the repository without host and prefix.
	name        string
	tag, digest string
	// kept is asked for what has a digest before the registry is.
	kept []Content
}

// reference returns what the client asks for.
func (l location) reference() name.Reference {
	if l.digest != "" {
		return l.repo.Digest(l.digest)
	}
	return l.repo.Tag(l.tag)
}

// at returns the reference of something in the same repository, for people.
func (l location) at(digest string) string { return l.base + "@" + digest }

// parse reads [HOST/]NAME@DIGEST or [HOST/]NAME:TAG.
func (r *Registry) parse(ref string) (location, error) {
	rest, digest, pinned := strings.Cut(ref, "@")
	if pinned && !artifact.IsDigest(digest) {
		return location{}, wrongReference(ref, "what follows @ is not sha256: and 64 hexadecimal digits")
	}
	tag := ""
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		rest, tag = rest[:i], rest[i+1:]
	}
	switch {
	case pinned && tag != "":
		return location{}, wrongReference(ref, "it has a tag and a digest")
	case !pinned && !tagForm.MatchString(tag):
		return location{}, wrongReference(ref, "it has no digest and no tag")
	}
	l, err := r.locate(ref, rest)
	l.tag, l.digest = tag, digest
	return l, err
}

// PinnedDigest returns the digest of [HOST/]NAME@sha256:HEX, or of the digest alone.
// What names none is an error of kind Usage.
func PinnedDigest(ref string) (string, error) {
	base, digest, named := strings.Cut(ref, "@")
	if !named {
		digest = ref
	}
	if !artifact.IsDigest(digest) {
		return "", noDigest(ref, named)
	}
	if host, repo := splitHost(base); named && (host != "" && !hostForm.MatchString(host) || !artifact.IsRepository(repo)) {
		return "", wrongReference(ref, fmt.Sprintf("%q is not a repository", base))
	}
	return digest, nil
}

// splitHost parts a repository from its host, which it may lack.
func splitHost(base string) (host, repo string) {
	host, repo, hasHost := strings.Cut(base, "/")
	if !hasHost || (host != "localhost" && !strings.ContainsAny(host, ".:")) {
		return "", base
	}
	return host, repo
}

// NameOf is a repository's name without its host; one without a host stays as it is.
func NameOf(repository string) string {
	_, repo := splitHost(repository)
	return repo
}

// HasHost reports whether a repository, or a reference, begins with a registry's host.
func HasHost(repository string) bool {
	host, _ := splitHost(repository)
	return host != ""
}

// locate finds the repository of a reference's part before its tag or digest.
func (r *Registry) locate(ref, rest string) (location, error) {
	host, repo := splitHost(rest)
	if host == "" {
		return r.locateOwn(ref, rest)
	}
	if !hostForm.MatchString(host) {
		return location{}, wrongReference(ref, "it begins with something that is not a host")
	}
	if !artifact.IsRepository(repo) {
		return location{}, wrongReference(ref, "what stands before the digest or tag is not a repository's name")
	}
	if host == r.host.Name() && !r.own.inside {
		return location{access: r.own, repo: r.host.Repo(repo), base: rest, name: strings.TrimPrefix(repo, r.prefix+"/")}, nil
	}
	reg, err := name.NewRegistry(host, name.StrictValidation)
	if err != nil {
		return location{}, wrongReference(ref, "its host is not HOST or HOST:PORT")
	}
	a, err := r.others(host)
	if err != nil {
		return location{}, err
	}
	return location{access: a, repo: reg.Repo(repo), base: rest, name: repo}, nil
}

// locateOwn finds a repository of this registry by its name alone.
func (r *Registry) locateOwn(ref, repo string) (location, error) {
	if !artifact.IsRepository(repo) {
		return location{}, wrongReference(ref, "what stands before the digest or tag is not a repository's name")
	}
	full := strings.TrimPrefix(r.prefix+"/"+repo, "/")
	base := repo
	if !r.own.inside {
		base = r.host.Name() + "/" + full
	}
	return location{access: r.own, repo: r.host.Repo(full), base: base, name: repo}, nil
}
