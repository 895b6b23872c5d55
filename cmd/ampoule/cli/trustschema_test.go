package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/agent"
	"ampoule/agent/reports"
	"ampoule/registry/channel/rules"
	"ampoule/registry/trust/policy"
	"ampoule/registry/trust/roots"
	"ampoule/service/webhooks"
)

// The schemas of the files that people write for trust, in docs.
func TestTrustSchemasAreCurrent(t *testing.T) {
	t.Parallel()
	for name, makes := range map[string]func() ([]byte, error){"agent": agent.Schema, "hosts": reports.Schema, "policy": policy.Schema, "trust": roots.Schema, "channel-rules": rules.Schema, "webhooks": webhooks.Schema} {
		file := filepath.Join("..", "..", "..", "docs", name+".schema.json")
		got, err := makes()
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is not current; `go test ./cmd/ampoule/cli -update` writes it (-is +should be):\n%s", file, diff)
		}
	}
}
