package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
)

// TestVerbsHaveVenues wants the table to have all verbs, and nothing else.
func TestVerbsHaveVenues(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, cmd := range below(Root(&Session{})) {
		if cmd.HasSubCommands() {
			continue
		}
		if _, ok := venueOf(cmd); !ok {
			t.Errorf("nobody says where %s works", cmd.CommandPath())
		}
		for path := strings.Fields(cmd.CommandPath())[1:]; len(path) > 0; path = path[:len(path)-1] {
			used[strings.Join(path, " ")] = true
		}
	}
	for verb := range venues {
		if !used[verb] {
			t.Errorf("%q is no verb", verb)
		}
	}
}

// TestVenuesAreDocumented compares the table in docs/service.md.
func TestVenuesAreDocumented(t *testing.T) {
	t.Parallel()
	const begin, end = "<!-- Generated from cmd/ampoule/cli/venue.go -->\n\n", "\n<!-- Generated until here -->"
	file := filepath.Join("..", "..", "..", "docs", "service.md")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(text), begin)
	is, tail, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no place for the table", file)
	}
	want := venueTable()
	if *update {
		if err := os.WriteFile(file, []byte(head+begin+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(is, want); diff != "" {
		t.Errorf("%s is not current; `go test ./cmd/ampoule/cli -update` writes it (-is +should be):\n%s", file, diff)
	}
}

func venueTable() string {
	var b strings.Builder
	b.WriteString("| verb | on this machine | with a service |\n|---|---|---|\n")
	verbs := make([]string, 0, len(venues))
	for verb := range venues {
		verbs = append(verbs, verb)
	}
	slices.Sort(verbs)
	for _, verb := range verbs {
		v := venues[verb]
		here, there := v.here.String(), v.there
		if v.here == nowhere {
			here = "no"
		}
		if there == "" {
			there = "no"
		}
		b.WriteString("| `" + verb + "` | " + here + " | " + there + " |\n")
	}
	return b.String()
}

// A verb says at once that it cannot work where it is, and what can.
func TestVenues(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		goos string
		args []string
		code int
		says []string
	}{
		"a build on macOS":             {"darwin", []string{"build"}, faults.Machine.Code(), []string{"ampoule build needs Linux, and this is macOS", "hint: a service does it: name it with --server"}},
		"an installation on Windows":   {"windows", []string{"install", "web@sha256:" + sumA, "--root", "/x"}, faults.Machine.Code(), []string{"ampoule install needs Linux, and this is Windows", "hint: run it"}},
		"a store on Windows":           {"windows", []string{"store", "du"}, faults.Machine.Code(), []string{"ampoule store du needs Linux or macOS, and this is Windows"}},
		"what needs nothing":           {"windows", []string{"version"}, codeDone, nil},
		"a lock on Windows":            {"windows", []string{"add", "six"}, faults.Machine.Code(), []string{"ampoule add needs Linux"}},
		"an edit on Windows":           {"windows", []string{"add", "six", "--no-lock"}, codeDone, []string{"six"}},
		"with a service":               {"windows", []string{"build", "--server", "ftp://x"}, codeUsage, []string{"not the address of a server"}},
		"what no service does":         {"linux", []string{"store", "du", "--server", "https://x.example"}, codeUsage, []string{"ampoule store du works on this machine alone"}},
		"what no service does, either": {"linux", []string{"version", "--server", "none"}, codeDone, nil},
		"an artifact on Windows":       {"windows", []string{"audit", "web@sha256:" + sumA}, faults.Machine.Code(), []string{"a store needs Linux or macOS, and this is Windows"}},
		"help":                         {"windows", []string{"install", "--help"}, codeDone, nil},
		"verbs below it":               {"windows", []string{"host"}, codeDone, nil},
		"a wish without a service":     {"linux", []string{"build", "--force"}, codeUsage, []string{"--force is for a service"}},
		"a lock's wish":                {"linux", []string{"lock", "--label", "gpu"}, codeUsage, []string{"--label is for a service"}},
		"a file and a service":         {"linux", []string{"diff", "web@sha256:" + sumA, "./x.tar", "--server", "https://x.example"}, codeUsage, []string{"./x.tar leads elsewhere"}},
		"a host and a service":         {"linux", []string{"sbom", "registry.example/web@sha256:" + sumA, "--server", "https://x.example"}, codeUsage, []string{"leads elsewhere"}},
		"two registries":               {"linux", []string{"run", "web@sha256:" + sumA, "--registry", "r.example", "--server", "https://x.example"}, codeUsage, []string{"--registry r.example leads elsewhere"}},
		"a registry below a path":      {"linux", []string{"run", "web@sha256:" + sumA, "--server", "https://x.example/builds"}, codeUsage, []string{"name it with --registry"}},
		"no wheel":                     {"linux", []string{"audit", "dist", "--server", "https://x.example"}, codeUsage, []string{"a service looks at one wheel"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, out, errs := session(t, goodRecipe)
			s.GOOS = c.goos
			code := Main(s, append([]string{"-f", s.Recipe, "--progress", "plain"}, c.args...))
			if code != c.code {
				t.Errorf("code %d, not %d: %s", code, c.code, errs)
			}
			for _, text := range c.says {
				if !strings.Contains(errs.String()+out.String(), text) {
					t.Errorf("nobody says %q: %s", text, errs)
				}
			}
		})
	}
}
