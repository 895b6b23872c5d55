package registry

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"ampoule/faults"
)

// Reach bounds which machines are asked for the images of other registries: public addresses, and
// those that are allowed. It is for references that strangers write. A name that leads to
// another address the second time is refused like any other one, and so are redirects and servers
// of tokens: what counts is the address that is dialled.
//
// Where a proxy is set, only the proxy is dialled, and it decides where names lead. Hosts that are
// addresses are refused all the same.
type Reach struct {
	allowed []netip.Prefix
	// direct dials only what may be reached, proxied dials proxies.
	direct, proxied *http.Transport
}

// NewReach makes a reach. Allowed are networks that may be reached although they are not public.
func NewReach(allowed ...netip.Prefix) *Reach {
	r := &Reach{allowed: allowed}
	usual := remote.DefaultTransport.(*http.Transport)
	r.proxied, r.direct = usual.Clone(), usual.Clone()
	r.direct.Proxy = nil
	r.direct.DialContext = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second, Control: r.control}).DialContext
	return r
}

// Within has the images of other registries asked for within a reach. It is called before the
// registry is used. The registry itself is not bounded: whoever opened it has chosen it.
func (r *Registry) Within(reach *Reach) {
	r.others = func(host string) (*access, error) {
		by := &bounded{reach: reach}
		a, err := accessBy(by, host, maxSilence, foreignBackoff, asDocker())
		if err != nil {
			return nil, err
		}
		a.bounds = by
		return a, nil
	}
}

// bounded asks within a reach, and remembers what was refused: the client makes text of errors.
type bounded struct {
	reach   *Reach
	refused atomic.Pointer[ReachError]
}

// RoundTrip implements http.RoundTripper.
func (b *bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.reach.RoundTrip(req)
	var refused *ReachError
	if errors.As(err, &refused) {
		b.refused.Store(refused)
	}
	return resp, err
}

// beyond is what was refused because it is out of reach; nil if nothing was.
func (a *access) beyond() *ReachError {
	if a.bounds == nil {
		return nil
	}
	return a.bounds.refused.Load()
}

// RoundTrip implements http.RoundTripper.
func (r *Reach) RoundTrip(req *http.Request) (*http.Response, error) {
	proxy, err := r.proxyOf(req)
	if err != nil {
		return nil, err
	}
	if proxy == nil {
		return r.direct.RoundTrip(req)
	}
	if ip, err := netip.ParseAddr(req.URL.Hostname()); err == nil {
		if err := r.check(ip); err != nil {
			return nil, err
		}
	}
	return r.proxied.RoundTrip(req)
}

func (r *Reach) proxyOf(req *http.Request) (*url.URL, error) {
	if r.proxied.Proxy == nil {
		return nil, nil
	}
	return r.proxied.Proxy(req)
}

// control refuses a connection before it is made: see [net.Dialer.Control].
func (r *Reach) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("reading the address to dial: %w", err)
	}
	return r.check(to.Addr())
}

func (r *Reach) check(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	if isPublic(ip) || slices.ContainsFunc(r.allowed, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return nil
	}
	return &ReachError{ip}
}

// special are networks that are not public and that package netip has no names for
// (IANA's registries of special-purpose addresses).
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),      // RFC 791: this network
	netip.MustParsePrefix("100.64.0.0/10"),  // RFC 6598: shared, also metadata of some clouds
	netip.MustParsePrefix("192.0.0.0/24"),   // RFC 6890: of protocols
	netip.MustParsePrefix("198.18.0.0/15"),  // RFC 2544: benchmarks
	netip.MustParsePrefix("240.0.0.0/4"),    // RFC 1112: reserved, broadcast
	netip.MustParsePrefix("::/96"),          // RFC 4291: IPv4 in IPv6
	netip.MustParsePrefix("64:ff9b::/96"),   // RFC 6052: IPv4 behind a translator
	netip.MustParsePrefix("64:ff9b:1::/48"), // RFC 8215: the same, local
	netip.MustParsePrefix("2001::/23"),      // RFC 2928: of protocols, Teredo
	netip.MustParsePrefix("2002::/16"),      // RFC 3056: IPv4 in 6to4
	netip.MustParsePrefix("fec0::/10"),      // RFC 3879: of a site
}

// isPublic reports whether an address is one of the Internet's.
func isPublic(ip netip.Addr) bool {
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// ReachError says that a reference leads to an address that may not be reached.
type ReachError struct{ Address netip.Addr }

func (e *ReachError) Error() string {
	return fmt.Sprintf("%s is not a public address, and submissions do not reach it", e.Address)
}

// Kind says whose fault it is.
func (*ReachError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (*ReachError) Hint() string {
	return "take the image from a public registry or from the service's own one; whoever runs the service may allow a network with `ampoule serve --reach NETWORK`"
}
