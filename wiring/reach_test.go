package wiring

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ampoule/config"
	"ampoule/faults"
	"ampoule/registry"
)

// Images that recipes stand on are taken from within the reach; without one, from everywhere.
func TestReachOfBases(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	image := server.Listener.Addr().String() + "/team/base@sha256:" + strings.Repeat("a", 64)
	for _, place := range []string{"", "registry.example/ours"} {
		p, err := Open(config.Place{Store: t.TempDir(), Registry: place})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		pull := func() error {
			reg, err := p.registryFor(nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = Publisher{Registry: reg, Store: p.Store}.PullBase(t.Context(), image, "linux/amd64")
			return err
		}
		if err := pull(); faults.Of(err) != faults.NotFound {
			t.Errorf("%s: without a reach: %v", place, err)
		}
		p.Reach = registry.NewReach()
		var refused *registry.ReachError
		if err := pull(); !errors.As(err, &refused) {
			t.Errorf("%s: %v", place, err)
		}
	}
}
