package embedded

import (
	"net/http"
	"testing"
)

// TestForeignHosts asks the process that holds the registry by names that are not its own, as a
// browser does whose page had its own name lead to this machine. Strangers get nothing either way.
func TestForeignHosts(t *testing.T) {
	t.Parallel()
	r := Open(t.TempDir())
	t.Cleanup(func() { _ = r.Close() })
	answers(t, r)
	a, ok := readAddress(r.dir + "/" + lockName)
	if !ok {
		t.Fatal("the lock has no address")
	}
	for host, want := range map[string]int{
		a.Address: http.StatusForbidden, "127.1.2.3:80": http.StatusForbidden, "LOCALHOST.": http.StatusForbidden, "store.localhost": http.StatusForbidden,
		"registry.example": http.StatusMisdirectedRequest, "rebound.example": http.StatusMisdirectedRequest, "localhost.rebound.example": http.StatusMisdirectedRequest,
		"0.0.0.0": http.StatusMisdirectedRequest, "192.0.2.1": http.StatusMisdirectedRequest,
	} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+a.Address+"/v2/", nil)
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("asked as %s, the answer is %d, want %d", host, resp.StatusCode, want)
		}
	}
}
