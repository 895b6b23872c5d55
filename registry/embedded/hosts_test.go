package embedded

import (
	"context"
	"net"
	"net/http"
	"testing"
)

// TestForeignHosts asks servers by names that are not theirs, as a browser does whose page
// had its own name lead to this machine.
func TestForeignHosts(t *testing.T) {
	t.Parallel()
	r := Open(t.TempDir())
	t.Cleanup(func() { _ = r.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	address, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- r.Serve(ctx, "127.0.0.1:0", []string{"registry.Example:5000", "0.0.0.0:5000"}, func(a string) { address <- a })
	}()
	served := <-address
	answers(t, r)
	a, ok := readAddress(r.dir + "/" + lockName)
	if !ok {
		t.Fatal("the lock has no address")
	}
	_, port, err := net.SplitHostPort(served)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		host            string
		reader, holding int
	}{
		{served, http.StatusOK, http.StatusForbidden},
		{"127.0.0.1", http.StatusOK, http.StatusForbidden},
		{"127.1.2.3:80", http.StatusOK, http.StatusForbidden},
		{"[::1]:" + port, http.StatusOK, http.StatusForbidden},
		{"localhost:" + port, http.StatusOK, http.StatusForbidden},
		{"LOCALHOST.", http.StatusOK, http.StatusForbidden},
		{"store.localhost", http.StatusOK, http.StatusForbidden},
		{"registry.example", http.StatusOK, http.StatusMisdirectedRequest},
		{"registry.EXAMPLE.:1", http.StatusOK, http.StatusMisdirectedRequest},
		{"rebound.example", http.StatusMisdirectedRequest, http.StatusMisdirectedRequest},
		{"rebound.example:" + port, http.StatusMisdirectedRequest, http.StatusMisdirectedRequest},
		{"localhost.rebound.example", http.StatusMisdirectedRequest, http.StatusMisdirectedRequest},
		{"127.0.0.1.rebound.example", http.StatusMisdirectedRequest, http.StatusMisdirectedRequest},
		{"notlocalhost", http.StatusMisdirectedRequest, http.StatusMisdirectedRequest},
		{"0.0.0.0", http.StatusMisdirectedRequest, http.StatusMisdirectedRequest},
		{"192.0.2.1", http.StatusMisdirectedRequest, http.StatusMisdirectedRequest},
		{"169.254.169.254", http.StatusMisdirectedRequest, http.StatusMisdirectedRequest},
		{"[2001:db8::1]:" + port, http.StatusMisdirectedRequest, http.StatusMisdirectedRequest},
	} {
		for server, want := range map[string]int{served: c.reader, a.Address: c.holding} {
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+server+"/v2/", nil)
			req.Host = c.host
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("asked as %s, %s answers %d, want %d", c.host, server, resp.StatusCode, want)
			}
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestAddressItCameTo has a server that listens on all addresses answer to each of them.
func TestAddressItCameTo(t *testing.T) {
	t.Parallel()
	for local, want := range map[string]bool{"192.0.2.1": true, "192.0.2.2": false, "2001:db8::1": false} {
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(local), Port: 5000})
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://192.0.2.1:5000/v2/", nil)
		if got := (hosts{}).allow(req); got != want {
			t.Errorf("a request to 192.0.2.1 that came to %s is allowed: %v, want %v", local, got, want)
		}
	}
}
