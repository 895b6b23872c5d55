package embedded

import (
	"context"
	"errors"
	"net"
	"net/http"
)

const (
	// ownHost is the host that requests inside a store name.
	ownHost = "store.localhost"
	// admissionHeader carries the secret from the lock's file.
	admissionHeader = "Ampoule-Admission"
	// holderHeader carries a public name of the holder, made of its secret: an
	// answer without it comes from somebody who got the port later.
	holderHeader = "Ampoule-Holder"
)

// errStranger says that what answered is not the holder of the lock.
var errStranger = errors.New("the process that answers is not the one that holds the lock")

// peer is a registry served by another process.
type peer struct {
	address   address
	transport *http.Transport
}

func newPeer(a address) *peer {
	return &peer{a, &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", a.Address)
		},
		MaxIdleConnsPerHost: 8, DisableCompression: true,
	}}
}

func (p *peer) roundTrip(req *http.Request) (*http.Response, error) {
	req.URL.Scheme, req.Host = "http", ownHost
	req.Header.Set(admissionHeader, p.address.Secret)
	resp, err := p.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.Header.Get(holderHeader) != holderName(p.address.Secret) {
		drain(resp)
		return nil, errStranger
	}
	return resp, nil
}

// lost is true for every error but the caller's own: whatever failed, the lock's
// file says who is to be asked next.
func (p *peer) lost(err error) bool {
	return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

func (p *peer) close() error {
	p.transport.CloseIdleConnections()
	return nil
}
