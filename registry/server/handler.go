package server

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"ampoule/artifact"
	"ampoule/registry/internal/protocol"
	"ampoule/registry/tokens"
)

// Handler answers a server's requests. [New] makes one.
type Handler struct {
	Config
	*Gate
	hosts Hosts
	proxy http.Handler
	// registry is where the proxy leads.
	registry http.RoundTripper
}

// newProxy hands requests on to a registry.
func newProxy(registry http.RoundTripper) http.Handler {
	return &httputil.ReverseProxy{
		Transport: registry,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", p.In.Host
			// What only this machine's own processes say is not said by others.
			for name := range p.Out.Header {
				if strings.HasPrefix(name, ownPrefix) && name != protocol.OnceHeader {
					p.Out.Header.Del(name)
				}
			}
			p.Out.Header.Del("Authorization")
		},
		ModifyResponse: func(resp *http.Response) error {
			for name := range resp.Header {
				if strings.HasPrefix(name, ownPrefix) {
					resp.Header.Del(name)
				}
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			var large *http.MaxBytesError
			if errors.As(err, &large) {
				protocol.Refuse(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID", "the content is larger than this server takes")
				return
			}
			protocol.Refuse(w, http.StatusBadGateway, "UNKNOWN", err.Error())
		},
		ErrorLog: discard(),
	}
}

// ownPrefix begins headers between this program's own processes.
const ownPrefix = "Ampoule-"

// discard is where net/http's own messages go: they are about clients, and have no form.
func discard() *log.Logger { return log.New(io.Discard, "", 0) }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	answer := Watch(w, r)
	var by user
	defer func() { h.note(r, answer, by, began) }()
	r.Header.Del(protocol.OnceHeader)
	if !h.hosts.Allow(r) {
		protocol.Misdirected(answer, r.Host)
		return
	}
	r.URL.Path, r.URL.RawPath = path.Clean("/"+r.URL.Path), ""
	if r.URL.Path != "/v2" && !strings.HasPrefix(r.URL.Path, "/v2/") {
		protocol.Refuse(answer, http.StatusNotFound, "UNSUPPORTED", "this is a registry")
		return
	}
	by, ok := h.identify(answer, r)
	if !ok {
		return
	}
	if h.Known != nil && !by.anonymous() {
		h.Known(r, by.token)
	}
	if r.URL.Path == tokenPath {
		h.giveToken(answer, r, by)
		return
	}
	a, known := readAct(r)
	switch {
	case !h.allow(answer, r, by, a):
	case !known:
		protocol.Refuse(answer, http.StatusNotFound, "UNSUPPORTED", "this registry has no such endpoint")
	case h.bound(answer, r, a) && h.protect(answer, r, a):
		h.proxy.ServeHTTP(answer, r)
	}
}

// act is what a request does.
type act struct {
	// verb is empty for what asks about the registry itself.
	verb tokens.Verb
	// repository is empty for what belongs to none.
	repository string
	// kind is manifests, blobs, referrers, tags or _oci; ref is what stands behind it.
	kind, ref string
	// ping is what clients begin with, to learn whether they need credentials.
	ping bool
}

// endpoints matches the paths of the protocol that belong to a repository (distribution-spec,
// "Endpoints"), as the registry reads them: what is allowed for one repository must not be done
// to another.
var endpoints = regexp.MustCompile(`^/v2/(.+)/(?:(manifests|blobs|referrers)/([^/]+)|(blobs)/(uploads/[^/]+)|(tags)/(list)|(_oci)/(ext/discover))$`)

// readAct finds what a request does. It is false for what the protocol does not have.
func readAct(r *http.Request) (act, bool) {
	a := act{ping: r.URL.Path == "/v2"}
	if a.ping || r.URL.Path == "/v2/_oci/ext/discover" {
		return a, true
	}
	m := endpoints.FindStringSubmatch(r.URL.Path)
	if m == nil {
		return a, false
	}
	a.repository, a.kind, a.ref = m[1], m[2]+m[4]+m[6]+m[8], m[3]+m[5]+m[7]+m[9]
	a.verb = tokens.Push
	// Asking for an upload, and giving it up, belong to pushing.
	if upload := a.kind == "blobs" && strings.HasPrefix(a.ref, "uploads"); !upload {
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			a.verb = tokens.Pull
		case http.MethodDelete:
			a.verb = tokens.Delete
		}
	}
	return a, true
}

// allow reports whether a user may do something, and answers where not.
func (h *Handler) allow(w http.ResponseWriter, r *http.Request, by user, a act) bool {
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case by.unarmed && !(reading && a.verb != tokens.Push):
		protocol.Refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read-only here: there are no tokens to write with")
		return false
	case by.unarmed, by.readsAll && a.verb == tokens.Pull:
		return true
	case by.anonymous() && !(a.verb == "" && by.greeted):
		h.challenge(w, r, a, "this needs a token")
		return false
	case a.verb == "" || by.token.Allows(a.verb, a.repository):
		h.restrictMount(r, by)
		return true
	}
	protocol.Refuse(w, http.StatusForbidden, "DENIED", fmt.Sprintf("token %s may not %s %s: it needs the scope %s",
		by.token.Name, a.verb, a.repository, tokens.Scope{Verb: a.verb, Pattern: a.repository}))
	return false
}

// restrictMount has content sent, which a client would like to take from a repository that it
// may not read (distribution-spec, "Mounting a blob from another repository").
func (h *Handler) restrictMount(r *http.Request, by user) {
	query := r.URL.Query()
	from := query.Get("from")
	if from == "" || by.readsAll || by.token.Allows(tokens.Pull, from) {
		return
	}
	query.Del("from")
	r.URL.RawQuery = query.Encode()
}

// protect has the registry keep what immutable tags name. It refuses what contradicts a channel, and
// reports whether the request may go on.
func (h *Handler) protect(w http.ResponseWriter, r *http.Request, a act) bool {
	if r.Method != http.MethodPut || a.kind != "manifests" {
		return true
	}
	p, err := readWrite(r, a)
	if err != nil {
		return true // the registry reads it, too, and says what is wrong
	}
	follow, err := h.checkChannels(r.Context(), p)
	if err != nil {
		refuseWrite(w, err)
		return false
	}
	if slices.ContainsFunc(p.tags, func(tag string) bool { return !h.mutable(tag) && !slices.Contains(follow, tag) }) {
		r.Header.Set(protocol.OnceHeader, "true")
	}
	return true
}

// mutable reports whether a tag may be moved.
func (h *Handler) mutable(tag string) bool {
	_, beside := artifact.SubjectOfTag(tag)
	return beside || artifact.MovesByCondition(tag) || slices.ContainsFunc(h.Mutable, func(pattern string) bool { return tokens.Match(pattern, tag) })
}
