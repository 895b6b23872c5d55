package registry

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// fileOf is a keychain with one password, as a file that somebody changes.
type fileOf struct{ password string }

func (f *fileOf) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: "service", Password: f.password}), nil
}

// What asks a registry for months takes credentials that were changed meanwhile.
func TestCredentialsAreReadAgain(t *testing.T) {
	t.Parallel()
	wanted := "first"
	content := ociregistry.New()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != wanted {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		content.ServeHTTP(w, r)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	file := &fileOf{wanted}
	by := func(keep time.Duration) func() int {
		a, err := accessBy(remote.DefaultTransport, host, maxSilence, remote.Backoff{Steps: 1}, remote.WithAuthFromKeychain(latest{file, keep}))
		if err != nil {
			t.Fatal(err)
		}
		ref, err := name.ParseReference(host + "/web:latest")
		if err != nil {
			t.Fatal(err)
		}
		return func() int {
			_, err := a.puller.Head(t.Context(), ref)
			var status *transport.Error
			if !errors.As(err, &status) {
				t.Fatalf("%v, and there is no such artifact", err)
			}
			return status.StatusCode
		}
	}
	always, later := by(0), by(time.Hour)
	for _, ask := range []func() int{always, later} {
		if got := ask(); got != http.StatusNotFound {
			t.Errorf("status %d", got)
		}
	}
	wanted, file.password = "second", "second"
	if got := always(); got != http.StatusNotFound {
		t.Errorf("with the new password: status %d", got)
	}
	if got := later(); got != http.StatusUnauthorized {
		t.Errorf("with what was read not long ago: status %d", got)
	}
}
