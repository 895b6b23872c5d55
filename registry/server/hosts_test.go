package server

import (
	"context"
	"net"
	"net/http"
	"testing"

	"ampoule/registry/internal/protocol"
)

// TestForeignHosts asks a server by names that are not its own, as a browser does whose page
// had its own name lead to this machine.
func TestForeignHosts(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{Hosts: []string{"registry.Example:5000", "0.0.0.0:5000"}})
	served := s.url[len("http://"):]
	_, port, err := net.SplitHostPort(served)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		served: http.StatusOK, "127.0.0.1": http.StatusOK, "127.1.2.3:80": http.StatusOK, "[::1]:" + port: http.StatusOK, "localhost:" + port: http.StatusOK,
		"LOCALHOST.": http.StatusOK, "store.localhost": http.StatusOK, "registry.example": http.StatusOK, "registry.EXAMPLE.:1": http.StatusOK,
		"rebound.example": http.StatusMisdirectedRequest, "rebound.example:" + port: http.StatusMisdirectedRequest, "localhost.rebound.example": http.StatusMisdirectedRequest,
		"127.0.0.1.rebound.example": http.StatusMisdirectedRequest, "notlocalhost": http.StatusMisdirectedRequest, "0.0.0.0": http.StatusMisdirectedRequest,
		"192.0.2.1": http.StatusMisdirectedRequest, "169.254.169.254": http.StatusMisdirectedRequest, "[2001:db8::1]:" + port: http.StatusMisdirectedRequest,
	} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v2/", nil)
		req.Host = host
		resp, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("asked as %s, the answer is %d, want %d", host, resp.StatusCode, want)
		}
	}
}

// TestAddressItCameTo has a server that listens on all addresses answer to each of them.
func TestAddressItCameTo(t *testing.T) {
	t.Parallel()
	for local, want := range map[string]bool{"192.0.2.1": true, "192.0.2.2": false, "2001:db8::1": false} {
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(local), Port: 5000})
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://192.0.2.1:5000/v2/", nil)
		if got := (protocol.Hosts{}).Allow(req); got != want {
			t.Errorf("a request to 192.0.2.1 that came to %s is allowed: %v, want %v", local, got, want)
		}
	}
}
