// Package server lets other programs read and write the store's registry over a network: it
// asks for tokens, keeps limits, and notes who did what. What it lets through, the registry
// itself answers (package embedded).
//
// While no token was ever made, everybody may read and nobody may write. From the first token on
// each request needs one, unless reading is public.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"ampoule/faults"
	"ampoule/registry/internal/protocol"
	"ampoule/registry/tokens"
)

const (
	// headerTime is how long a request's header may take to come, idleTime how long a
	// connection may have none, and silence how long a body may stop on its way.
	headerTime = 10 * time.Second
	idleTime   = 2 * time.Minute
	silence    = time.Minute
	// maxHeader bounds a request's header, in bytes.
	maxHeader = 64 << 10
	// grace is how long requests under way may take when the server ends.
	grace = 15 * time.Second
)

// DefaultMaxBlob is the largest blob that is taken, in bytes, unless told otherwise.
const DefaultMaxBlob = 10 << 30

// Tokens says whom a secret belongs to.
type Tokens interface {
	// Any reports whether a token was ever made.
	Any() (bool, error)
	// Check gives the token of a secret. Errors other than [tokens.ErrUnknown],
	// [tokens.ErrExpired] and [tokens.ErrRevoked] say that nothing is known.
	Check(secret string) (tokens.Token, error)
}

// Config says how a server answers.
type Config struct {
	// Listen is an address such as 127.0.0.1:5000; port 0 is a free one.
	Listen string
	// Hosts are further names of this server. Requests that name another host are refused.
	Hosts []string
	// Public lets everybody read although there are tokens.
	Public bool
	// Certificate and Key are PEM files. Both or none are given; without them plain http is
	// spoken, and tokens are taken from this machine alone.
	Certificate, Key string
	// Proxied says that a proxy that speaks TLS is before this server: what it says of its
	// clients (X-Forwarded-For, X-Forwarded-Proto) is believed.
	Proxied bool
	// Mutable are patterns of tags that may be moved, as [tokens.Match] has them. Other tags
	// keep the digest that they got first, but for those of signatures and lists of referrers.
	Mutable []string
	// MaxBlob is the largest blob that is taken, in bytes; 0 is [DefaultMaxBlob].
	MaxBlob int64
	// Known is told whose token came with a request, before it is answered; may be nil.
	Known func(r *http.Request, t tokens.Token)
	// Note is told each request that was answered; nil notes none.
	Note func(Entry)
	// Warn is told what a person should look after, without secrets; nil tells nobody.
	Warn func(message string)
}

// Serve answers on an address until ctx is done, from a registry that the transport reaches
// whatever host a request names. It tells ready, once, the address that it listens on.
func Serve(ctx context.Context, registry http.RoundTripper, who Tokens, c Config, ready func(address string)) error {
	if err := c.check(who); err != nil {
		return err
	}
	return Listen(ctx, New(registry, who, c), c.Listening(), ready)
}

// Listening says where and how a server listens.
type Listening struct {
	// Listen, Certificate and Key are as [Config] has them.
	Listen           string
	Certificate, Key string
	// Warn is told what a person should look after; nil tells nobody.
	Warn func(message string)
}

// Listening is where the server listens.
func (c Config) Listening() Listening { return Listening{c.Listen, c.Certificate, c.Key, c.Warn} }

// Bounded is a server that gives up on clients who send no header, or nothing more, for long.
func Bounded(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		ErrorLog: discard(),
	}
}

// Listen has a handler answer on an address until ctx is done. It tells ready, once, the address
// that it listens on. Requests under way may then end, but not for ever: those that are meant to last
// look at ctx themselves.
func Listen(ctx context.Context, handler http.Handler, c Listening, ready func(address string)) error {
	server := Bounded(handler)
	if c.Certificate != "" || c.Key != "" {
		pair, err := openPair(c.Certificate, c.Key, c.warn)
		if err != nil {
			return err
		}
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get}
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", c.Listen, err)
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { stopped <- shutdown(context.WithoutCancel(ctx), server) })
	ready(l.Addr().String())
	if server.TLSConfig != nil {
		err = server.ServeTLS(l, "", "")
	} else {
		err = server.Serve(l)
	}
	if stop() {
		return fmt.Errorf("serving on %s: %w", c.Listen, err)
	}
	if err := <-stopped; err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("ending to serve on %s: %w", c.Listen, err)
	}
	return nil
}

func (c Listening) warn(format string, args ...any) {
	if c.Warn != nil {
		c.Warn(fmt.Sprintf(format, args...))
	}
}

// shutdown lets requests under way end, but not for ever.
func shutdown(ctx context.Context, server *http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return server.Close()
	}
	return err
}

// New returns what answers a server's requests.
func New(registry http.RoundTripper, who Tokens, c Config) *Handler {
	if c.MaxBlob <= 0 {
		c.MaxBlob = DefaultMaxBlob
	}
	return &Handler{
		Config: c, Gate: NewGate(who, c.Proxied, c.Warn), hosts: NewHosts(append([]string{c.Listen}, c.Hosts...)...), proxy: newProxy(registry), registry: registry,
	}
}

// check refuses what would show tokens to others.
func (c Config) check(who Tokens) error {
	armed, err := who.Any()
	if err != nil {
		return err
	}
	if armed && !c.Public && !c.TakesTokens() {
		return faults.New(faults.Usage, "give --tls-cert and --tls-key; behind a proxy that speaks TLS give --behind-proxy; to let everybody read and nobody write give --public",
			"there are tokens, which would cross the network to %s in plain http", c.Listen)
	}
	return nil
}

// TakesTokens reports whether tokens can cross no network in the clear.
func (c Config) TakesTokens() bool {
	return c.Proxied || c.Certificate != "" || protocol.IsLoopbackName(protocol.HostOf(c.Listen))
}
