package cli

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ociregistry "github.com/google/go-containerregistry/pkg/registry"

	"ampoule/config"
	"ampoule/faults"
)

// foreignRegistry is a registry of others, which has no referrers API, and its address.
func foreignRegistry(t *testing.T, around func(http.Handler) http.Handler) string {
	t.Helper()
	server := httptest.NewServer(around(ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// Everything in the store's registry goes to another one in one call: artifacts with their tags
// and signatures, and the channel that names them.
func TestCopyAll(t *testing.T) {
	t.Parallel()
	m := newPromoter(t)
	first := m.publish("build.key", config.FormLegacy)
	second := m.publish("build.key", config.FormBundle, another)
	m.ok(m.promoter("promote-1", "promote", "web:prod", first)...)
	m.ok(m.promoter("promote-1", "promote", "web:prod", second)...)
	m.ok("registry", "hold", first)
	m.write("policy.yaml", strings.Replace(built, "[web]", "[web, acme/web]", 1))
	there := foreignRegistry(t, func(h http.Handler) http.Handler { return h }) + "/acme"

	m.ok("copy", "--all", there)
	for _, want := range []string{there + "/" + first, there + "/" + second} {
		if !strings.Contains(m.out.String(), want+"\n") {
			t.Errorf("no %s in\n%s", want, m.out)
		}
	}
	if got := strings.Count(m.out.String(), there); got != 3 {
		t.Errorf("%d are copied, not two artifacts and a log:\n%s", got, m.out)
	}
	for _, ref := range []string{first, second} {
		m.ok("verify", there+"/"+ref, "--policy", m.path("policy.yaml"))
	}
	hold := "hold-" + strings.TrimPrefix(first, "web@sha256:")
	for ref, want := range map[string]string{"web:prod": second, "web:" + hold: first} {
		m.ok("inspect", ref, "--registry", there)
		if !strings.Contains(m.out.String(), want) {
			t.Errorf("%s is not %s:\n%s", ref, want, m.out)
		}
	}
	m.ok("channel", "resolve", "web:prod", "--registry", there)
	if got := m.out.String(); !strings.Contains(got, second) {
		t.Errorf("the channel's copy names %s", got)
	}

	m.ok("copy", "--all", "w*", there, "--output", "json")
	var again []copied
	if err := json.Unmarshal([]byte(m.out.String()), &again); err != nil || len(again) != 3 {
		t.Fatalf("%v: %s", err, m.out)
	}
	for _, c := range again {
		if c.Sent != 0 || c.KeyTaken != "" || len(c.Tags) == 0 {
			t.Errorf("again: %+v", c)
		}
	}
	m.refuses(codeNotFound, `a repository "shop/*" in the store's registry`, "copy", "--all", "shop/*", there)
	m.refuses(codeUsage, "--all copies whole repositories", "copy", "--all", first, there)
	m.refuses(codeUsage, "a layout is for one artifact", "copy", "--all", "./layout")
	m.refuses(codeUsage, "want SRC and DST, or --all", "copy", first)
	m.refuses(codeUsage, "names another registry", "copy", "--all", there, "--registry", there)
}

// What is damaged is told, and the rest is copied. A registry that fails is not asked for ever.
func TestCopyAllGoesOn(t *testing.T) {
	t.Parallel()
	m := newPromoter(t)
	damaged := m.publish("build.key", config.FormLegacy)
	whole := m.publish("build.key", config.FormLegacy, another)
	m.ok(m.promoter("promote-1", "promote", "web:prod", whole)...)
	denies := foreignRegistry(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	})
	m.refuses(faults.Remote.Code(), "1 more are not tried", "copy", "--all", denies)

	blob := filepath.Join(m.store(), "registry", "repositories", "web", "blobs", "sha256", strings.TrimPrefix(damaged, "web@sha256:"))
	if err := os.WriteFile(blob, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	there := foreignRegistry(t, func(h http.Handler) http.Handler { return h })
	m.refuses(codeRefused, "1 were not copied, the first of them "+damaged, "copy", "--all", there)
	if !strings.Contains(m.out.String(), there+"/"+whole) || strings.Contains(m.out.String(), damaged) {
		t.Errorf("copied are\n%s", m.out)
	}
}
