package trials

import (
	"os"
	"strings"
	"testing"

	"ampoule/bench/internal/recorded"
)

// withClients are trials of fake programs with fake clients.
func withClients(t *testing.T, env ...string) (trials *Trials, calls string) {
	t.Helper()
	trials, calls = faked(t, append(env, "FAKE_CLIENTS=yes")...)
	env = append(env, "FAKE_CALLS="+calls)
	trials.Programs = Clients{
		Crane: program(t, "client crane", env...), Oras: program(t, "client oras", env...), Skopeo: program(t, "client skopeo", env...),
		Cosign2: program(t, "client cosign 2", env...), Cosign3: program(t, "client cosign 3", env...), Python: program(t, "client python", env...),
	}
	return trials, calls
}

// Each client does each thing once; what is recorded is not done again, and nothing is built for
// it.
func TestClients(t *testing.T) {
	t.Parallel()
	trials, calls := withClients(t)
	if err := trials.Clients(t.Context()); err != nil {
		t.Fatal(err)
	}
	results := recordedIn[recorded.Client](t, trials, recorded.ClientsFile)
	if len(results) != len(attempts()) {
		t.Errorf("%d results of %d attempts", len(results), len(attempts()))
	}
	clients := map[string]string{}
	for _, r := range results {
		clients[r.Client] = r.Version
		if !r.Passed || r.Found == "" || r.Registry == "" {
			t.Errorf("%+v", r)
		}
	}
	for client, want := range map[string]string{"docker": "28.0.1", "crane": "(devel)", "skopeo": "1.2.3", "oras": "(devel)", "cosign 2": "(devel)", "cosign 3": "(devel)", validator: "11.0.0", "ampoule": "0.0.1"} {
		if clients[client] != want {
			t.Errorf("%s is of version %q, want %s", client, clients[client], want)
		}
	}
	text, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	for _, login := range []string{"docker login", "client crane auth login", "client skopeo login", "client oras login", "client cosign 2 login", "client cosign 3 login"} {
		if !strings.Contains(string(text), login+" ") {
			t.Errorf("nobody has called %s", login)
		}
	}
	asked := verbs(t, calls)
	if removed := asked[len(asked)-1]; removed != "registry" {
		t.Errorf("the last call is %s", removed)
	}
	if err := trials.Clients(t.Context()); err != nil || len(verbs(t, calls)) != len(asked) {
		t.Errorf("again: %d calls, before %d, %v", len(verbs(t, calls)), len(asked), err)
	}
}

// What a client fails at is recorded, and the others are tried all the same.
func TestClientsThatFail(t *testing.T) {
	t.Parallel()
	for client, want := range map[string]string{
		"crane": "the digest is sha256:", "skopeo": "the digest is sha256:", "cosign 3": "no matching signatures",
	} {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			trials, _ := withClients(t, "FAKE_WRONG="+client)
			if err := trials.Clients(t.Context()); err != nil {
				t.Fatal(err)
			}
			failed := 0
			for _, r := range recordedIn[recorded.Client](t, trials, recorded.ClientsFile) {
				if r.Passed {
					continue
				}
				failed++
				if r.Client != client || !strings.Contains(r.Error, want) {
					t.Errorf("%+v", r)
				}
			}
			if failed == 0 {
				t.Errorf("%s has passed everywhere", client)
			}
		})
	}
}

// A registry that takes what is pushed without a token is recorded as such.
func TestClientsWithoutTokens(t *testing.T) {
	t.Parallel()
	trials, _ := withClients(t, "FAKE_OPEN=yes")
	if err := trials.Clients(t.Context()); err != nil {
		t.Fatal(err)
	}
	taken := 0
	for _, r := range recordedIn[recorded.Client](t, trials, recorded.ClientsFile) {
		if r.Passed {
			continue
		}
		taken++
		if !strings.HasSuffix(r.Does, "without a token") || !strings.Contains(r.Error, "taken, not refused") {
			t.Errorf("%+v", r)
		}
	}
	// Ampoule asks for its token elsewhere.
	if taken != 6 {
		t.Errorf("%d pushes without a token are recorded as failures", taken)
	}
}
