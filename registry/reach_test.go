package registry

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ampoule/faults"
)

// Only public addresses may be reached, and what is allowed.
func TestReachOfAddresses(t *testing.T) {
	t.Parallel()
	r := NewReach(netip.MustParsePrefix("10.1.0.0/16"))
	for address, want := range map[string]bool{
		"93.184.216.34": true, "[2606:2800:220:1::1]": true, "10.1.2.3": true,
		"127.0.0.1": false, "[::1]": false, "0.0.0.0": false, "[::]": false, "169.254.169.254": false, "[fe80::1%eth0]": false, "10.2.0.1": false,
		"172.16.0.1": false, "192.168.1.1": false, "[fd00:ec2::254]": false, "100.100.100.200": false, "198.18.0.1": false, "224.0.0.1": false,
		"255.255.255.255": false, "[::ffff:127.0.0.1]": false, "[::127.0.0.1]": false, "[64:ff9b::a9fe:a9fe]": false, "[2002:7f00:1::]": false, "[fec0::1]": false,
	} {
		if err := r.control("tcp", address+":443", nil); (err == nil) != want {
			t.Errorf("%s: %v, want it to be reached: %t", address, err, want)
		}
	}
}

// Neither an address, nor a name that leads to one, nor a redirect reaches this machine; without
// a reach, and with one that allows it, the registry is asked.
func TestReach(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.NotFound(w, nil)
	}))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	image := "/team/base@sha256:" + strings.Repeat("a", 64)
	pull := func(host string, reach *Reach) error {
		r, err := Open("registry.example/ours")
		if err != nil {
			t.Fatal(err)
		}
		if reach != nil {
			r.Within(reach)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err = r.Resolve(ctx, host+":"+port+image)
		return err
	}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		err := pull(host, NewReach())
		var refused *ReachError
		if !errors.As(err, &refused) || faults.Of(err) != faults.Refused || asked.Load() != 0 {
			t.Errorf("%s: %v, asked %d times", host, err, asked.Load())
		}
	}
	allowed := NewReach(netip.MustParsePrefix("127.0.0.0/8"))
	for _, reach := range []*Reach{nil, allowed} {
		before := asked.Load()
		if err := pull("127.0.0.1", reach); faults.Of(err) != faults.NotFound || asked.Load() == before {
			t.Errorf("what is allowed: %v", err)
		}
	}
}

// A registry that may be reached sends nobody to an address that may not.
func TestReachOfRedirects(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	inner, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	behind := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) })}
	go func() { _ = behind.Serve(inner) }()
	t.Cleanup(func() { _ = behind.Close() })
	for what, answer := range map[string]http.HandlerFunc{
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+inner.Addr().String()+"/", http.StatusFound)
		},
		"a server of tokens": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+inner.Addr().String()+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		},
	} {
		server := httptest.NewServer(answer)
		t.Cleanup(server.Close)
		r, err := Open("registry.example/ours")
		if err != nil {
			t.Fatal(err)
		}
		r.Within(NewReach(netip.MustParsePrefix("127.0.0.1/32")))
		_, err = r.Resolve(t.Context(), server.Listener.Addr().String()+"/team/base@sha256:"+strings.Repeat("a", 64))
		if err == nil || asked.Load() != 0 {
			t.Errorf("%s: %v, asked %d times", what, err, asked.Load())
		}
	}
}

// Behind a proxy an address is refused before the proxy is asked.
func TestReachBehindAProxy(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(proxy.Close)
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	r := NewReach()
	r.proxied.Proxy = http.ProxyURL(at)
	for to, want := range map[string]int32{"http://169.254.169.254/": 0, "http://registry.example/": 1} {
		asked.Store(0)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, to, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := r.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		if got := asked.Load(); got != want {
			t.Errorf("%s: the proxy was asked %d times, want %d: %v", to, got, want, err)
		}
	}
}
