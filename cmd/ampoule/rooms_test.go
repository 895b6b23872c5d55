package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "ampoule/"

// rooms says what each part of the project may import of the project. A package
// belongs to the room with the longest name that is its path or a parent of it; one
// that belongs to none is a fault. A room may always import itself. "x/..." is x
// with everything below it.
var rooms = map[string][]string{
	"address": {},
	// What is told of a wrong setting has no credentials in it.
	"config":    {"address"},
	"artifact":  {"packaging"},
	"packaging": {},
	// Only tests import it.
	// Whoever watches a context's requests; it knows nobody.
	"internal/watched":   {},
	"internal/basetime":  {},
	"internal/powerloss": {},
	"internal/postgres":  {},
	"internal/record":    {},
	"faults":             {},
	"tree":               {},
	"store":              {},
	"system":             {"faults"},
	"recipes":            {"recipes/foreign"},
	"recipes/foreign":    {},
	// A recipe that ships with Ampoule is read as any other one is.
	"recipes/catalogue": {"recipes"},
	"recipes/edit":      {"recipes"},
	"recipes/project":   {"recipes"},
	"recipes/lint":      {"recipes", "recipes/project"},
	"recipes/profiles":  {"recipes"},
	"recipes/suggest":   {"address", "recipes", "recipes/project", "recipes/profiles"},
	"audit":             {"tree"},
	// It is given values, by whoever has them.
	"sbom":     {"audit", "tree"},
	"registry": {"address", "internal/watched", "recipes/...", "audit/...", "tree", "store"},

	"builder/memo":     {},
	"builder/progress": {},
	"builder/once":     {"store", "builder/progress"},
	"builder/buildlog": {},
	"builder/diagnose": {},
	"builder/sandbox":  {"tree", "builder/progress"},
	"builder/share":    {"builder/sandbox", "builder/progress"},
	"builder/docker":   {"tree", "builder/progress", "builder/sandbox/..."},
	"builder/fetch":    {"address", "config", "internal/watched", "recipes", "store", "builder/memo", "builder/progress", "builder/once"},
	"builder/layers":   {"tree", "store", "builder/sandbox", "builder/progress", "builder/once"},
	"builder/relocate": {"tree"},
	"builder/unpack":   {"tree", "audit/...", "builder/relocate"},
	// It looks at trees, and knows neither recipe nor build.
	"builder/overlay":          {"tree", "audit"},
	"builder/failure":          {"store", "builder/sandbox", "builder/layers"},
	"builder/toolchain":        append(stage(), "builder/toolchain/debian"),
	"builder/toolchain/debian": {"builder/sandbox"},
	"builder/cpython":          append(stage(), "builder/cpython/pgo"),
	"builder/cpython/pgo":      {"tree"},
	"builder/wheels":           stage(),
	"builder/seal":             stage(),
	"builder/gate":             append(stage(), "builder/stub"),
	// The stages that make what wheels are built in meet here, and nowhere below.
	"builder/buildenv": append(stage(), "builder/toolchain", "builder/cpython", "builder/wheels", "builder/share"),
	// What the files of locked releases say is read, and nothing of them runs.
	"builder/lineage":  {"recipes", "store", "audit/wheel", "builder/wheels", "builder/locking/sources"},
	"builder/outdated": {"recipes", "builder/fetch", "builder/lineage"},
	// First-party code lies in a working tree: it is read here, and becomes data.
	"builder/workspace": {"recipes", "tree"},
	// Locking asks in a build environment: the interpreter, and the metadata of sdists.
	"builder/locking": append(stage(), "address", "builder/buildenv", "builder/toolchain/...", "builder/cpython/...", "builder/wheels/...",
		"builder/locking/apt"),
	"builder/locking/apt": {"address", "config", "recipes", "builder/fetch", "builder/progress", "builder/toolchain/debian"},
	// Docker is missing: only wiring knows which engine runs the sandboxes.
	"builder": append(stage(), "builder/buildenv", "builder/toolchain/...", "builder/cpython/...", "builder/wheels/...",
		"builder/seal/...", "builder/gate", "builder/overlay", "builder/locking/...", "builder/workspace", "sbom"),

	// An artifact is taken apart: what dpkg says of the base is read here as in a build.
	"contents": {"sbom", "audit/...", "tree", "registry/...", "builder/toolchain"},

	// A host follows a channel: what it says is said in registry/channel, and how the root looks in
	// registry/install.
	"agent": {"config", "recipes", "registry/..."},

	// Whoever builds begins here.
	"wiring": {"agent/...", "config", "store", "recipes/profiles", "registry/...", "builder", "builder/docker", "builder/fetch", "builder/layers", "builder/progress", "builder/sandbox", "builder/share"},

	// The service. What a build of it is, stands by itself; only database and queue know engines.
	"service/builds":   {},
	"service/database": {},
	// Only tests import it.
	"service/database/databasetest": {"internal/postgres", "service/database"},
	"service/logs":                  {"service/database"},
	"service/queue":                 {"service/builds", "service/database", "service/logs", "service/trail", "builder/progress"},
	"service/queue/history":         {"service/database"},
	// The queue's builds are built as all others are.
	"service/worker": {"audit", "config", "wiring", "builder", "builder/buildlog", "recipes", "service/builds", "service/queue"},

	// What goes over the wire, and what asks for it: these run on every machine.
	"service/problem":    {"address", "recipes"},
	"service/submission": {"recipes", "tree", "builder/workspace"},
	"service/client":     {"address", "builder/progress", "recipes", "service/problem", "service/submission", "service/wire"},
	"service/wire":       {"service/problem"},
	// A service in the place of the builder.
	"service/remote": {"audit", "builder", "builder/progress", "recipes", "registry", "service/client", "service/submission", "service/wire"},
	// Who asks, and what they may.
	"service/access":                    {"address", "recipes", "registry/server", "registry/tokens", "service/problem"},
	"service/access/issuers/issuertest": {},
	"service/journal":                   {"address"},
	// Who has asked for which change.
	"service/trail": {"service/database", "service/journal"},
	// Channels are written by keys that the service holds.
	"service/channels": {"registry/...", "service/builds", "service/database", "service/journal", "wiring"},
	// Reports of hosts, and what digests are made of.
	"service/deployments": {"agent/reports", "registry/...", "sbom", "service/wire"},
	"service/hosts":       {"agent/reports", "service/database"},
	"service/webhooks":    {"address", "recipes", "registry/...", "service/database"},
	"service/records":     {"registry/tokens", "service/database"},
	"service/backup":      {"service/database"},
	"service/traces":      {"builder/progress", "internal/watched", "service/builds", "service/queue"},
	"service/worklog":     {"builder/progress", "builder/sandbox", "internal/watched", "service/builds", "service/journal", "service/queue"},
	"service/api":         {"address", "agent/reports", "config", "audit/...", "builder", "builder/progress", "contents", "recipes/...", "registry/...", "sbom", "service/...", "store"},
	// Pages know values and interfaces of their own; what they show is foreign to them.
	"service/web": {"audit", "sbom", "contents", "service/problem"},
	// What is there becomes what pages show.
	"service/web/sources": {"agent/reports", "artifact", "audit", "builder/progress", "contents", "recipes", "registry/...", "sbom", "service/access/...", "service/builds", "service/hosts", "service/logs", "service/problem", "service/submission", "service/trail", "service/web"},
	// Only tests import it.
	"service/web/webtest": {"audit", "sbom", "contents", "service/web"},
	"service/metrics":     {"builder", "builder/progress", "builder/sandbox", "audit", "service/builds", "service/queue"},
	"ci":                  {"config", "wiring", "builder", "builder/progress", "registry/...", "audit/...", "recipes/..."},
	"cmd":                 {"address", "agent/...", "config", "wiring", "tree", "store", "recipes/...", "audit/...", "registry/...", "builder/...", "service/...", "ci/...", "sbom", "contents"},
}

// leaves are one thing for all rooms: every room but another leaf may import them.
var leaves = []string{"artifact", "packaging", "faults", "system"}

// stages are the stages of a build. None knows another one, or how versions are chosen: what
// one gives, the next one is given as a value.
var stages = []string{"builder/toolchain", "builder/cpython", "builder/wheels", "builder/seal", "builder/gate"}

// beyondStages is what no stage may import, beside the other stages.
var beyondStages = []string{"builder", "builder/buildenv", "builder/locking/...", "builder/docker"}

// stage lists what each stage of a build may import.
func stage() []string {
	return []string{"recipes", "audit/...", "tree", "store", "builder/memo", "builder/once", "builder/sandbox", "builder/fetch", "builder/progress", "builder/buildlog",
		"builder/layers", "builder/relocate", "builder/unpack/...", "builder/failure", "builder/diagnose"}
}

// owners says of packages from elsewhere, and of everything below them, who alone
// may import them. Tests are held to it too.
var owners = map[string][]string{
	"github.com/docker/docker":                               {"builder/docker"},
	"github.com/google/go-containerregistry/pkg/v1/remote":   {"registry"},
	"github.com/google/go-containerregistry/pkg/v1/daemon":   {},
	"github.com/olareg/olareg":                               {"registry/embedded"},
	"github.com/spf13/cobra":                                 {"cmd/..."},
	"github.com/CycloneDX/cyclonedx-go":                      {"sbom"},
	"github.com/jackc/pgx":                                   {"service/database/...", "service/queue/..."},
	"github.com/riverqueue":                                  {"service/database", "service/queue"},
	"modernc.org/sqlite":                                     {"service/database"},
	"github.com/package-url/packageurl-go":                   {"sbom"},
	"github.com/coreos/go-oidc":                              {"service/access/issuers"},
	"golang.org/x/oauth2":                                    {"service/access/issuers"},
	"github.com/google/go-containerregistry/pkg/v1/tarball":  {"registry/..."},
	"github.com/google/go-containerregistry/pkg/v1/mutate":   {"registry/..."},
	"github.com/google/go-containerregistry/pkg/v1/layout":   {"registry/..."},
	"github.com/google/go-containerregistry/pkg/v1/validate": {"registry/..."},
}

// runtimeOwners is as owners, for packages that tests may use freely.
var runtimeOwners = map[string][]string{
	"net/http": {"agent", "builder/fetch/...", "internal/watched", "registry/...", "service/..."},
	// Only tests import the specimens, and what records programs.
	"os/exec": {"agent/program", "builder/...", "cmd/...", "ci/...", "audit/internal/specimen", "internal/powerloss", "internal/postgres", "registry/trust/keys", "system", "system/systemtest"},
	// Source archives are foreign: one package walks them, within limits. Who else reads
	// archives reads others: images, wheels, packages of Debian.
	"archive/tar": {"builder/locking/sources", "tree", "registry/...", "cmd/...", "recipes/internal/...", "builder/sandbox/...", "builder/docker",
		"builder/failure", "builder/toolchain/...", "builder/vary", "service/submission"},
	"archive/zip":                                {"builder/locking/sources", "audit/...", "builder/compare", "builder/unpack/..."},
	module + "internal/basetime":                 {},
	module + "internal/powerloss":                {},
	module + "internal/record":                   {},
	module + "service/web/webtest":               {},
	module + "service/access/issuers/issuertest": {},
	"github.com/prometheus/client_golang":        {"service/metrics"},
	// It is empty on Windows.
	"golang.org/x/sys/unix": {"system", "builder/sandbox/sandboxtest/probe"},
	// They start servers.
	module + "internal/postgres":             {"service/database/databasetest"},
	module + "service/database/databasetest": {},
	// It keeps manifests in memory only.
	"github.com/google/go-containerregistry/pkg/registry": {},
}

// listed is what `go list -json` tells of a package, as far as it matters here.
type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func TestRooms(t *testing.T) {
	t.Parallel()
	for _, tags := range []string{"", "docker"} {
		t.Run("tags="+tags, func(t *testing.T) {
			t.Parallel()
			packages := list(t, tags)
			if len(packages) == 0 {
				t.Fatal("go list names no packages")
			}
			for _, fault := range trespasses(packages) {
				t.Error(fault)
			}
		})
	}
}

func TestRoomsRefuses(t *testing.T) {
	t.Parallel()
	packages := []listed{
		{ImportPath: "ampoule/tree", Imports: []string{"io", "ampoule/store"}},
		{ImportPath: "ampoule/attic"},
		{ImportPath: "ampoule/faults", Imports: []string{"ampoule/packaging"}},
		{ImportPath: "ampoule/store", Imports: []string{"ampoule/faults"}},
		{ImportPath: "ampoule/builder", Imports: []string{"ampoule/builder/docker", "ampoule/builder/seal", "ampoule/registry"}},
		{ImportPath: "ampoule/builder/locking/apt", Imports: []string{"ampoule/builder/toolchain", "archive/tar"}},
		{ImportPath: "ampoule/builder/locking", Imports: []string{"ampoule/builder"}},
		{ImportPath: "ampoule/builder/seal", Imports: []string{"ampoule/builder/locking"}},
		{ImportPath: "ampoule/builder/gate", Imports: []string{"ampoule/builder", "ampoule/builder/seal"}},
		{ImportPath: "ampoule/builder/toolchain/debian", Imports: []string{"ampoule/builder/cpython"}},
		{ImportPath: "ampoule/builder/docker", Imports: []string{"github.com/docker/docker/client"}},
		{ImportPath: "ampoule/builder/wheels", Imports: []string{"net/http", "ampoule/builder/wheels/pep517"}},
		{ImportPath: "ampoule/registry/install", XTestImports: []string{"github.com/google/go-containerregistry/pkg/v1/remote/transport"}},
		{ImportPath: "ampoule/audit", TestImports: []string{"os/exec"}},
		{ImportPath: "ampoule/config", Imports: []string{"ampoule/store", "ampoule/address"}},
		{ImportPath: "ampoule/wiring", Imports: []string{"ampoule/builder/docker", "ampoule/cmd/ampoule/cli"}},
		{ImportPath: "ampoule/cmd/ampoule", Imports: []string{"ampoule/builder/docker", "ampoule/registry"}},
	}
	want := []string{
		"ampoule/attic belongs to no room",
		"ampoule/builder imports ampoule/builder/docker",
		"ampoule/builder imports ampoule/registry",
		"ampoule/builder/gate imports ampoule/builder",
		"ampoule/builder/gate imports ampoule/builder/seal",
		"ampoule/builder/locking imports ampoule/builder",
		"ampoule/builder/locking/apt imports ampoule/builder/toolchain",
		"ampoule/builder/locking/apt imports archive/tar",
		"ampoule/builder/seal imports ampoule/builder/locking",
		"ampoule/builder/toolchain/debian imports ampoule/builder/cpython",
		"ampoule/builder/wheels imports net/http",
		"ampoule/config imports ampoule/store",
		"ampoule/faults imports ampoule/packaging",
		"ampoule/registry/install imports github.com/google/go-containerregistry/pkg/v1/remote/transport",
		"ampoule/tree imports ampoule/store",
		"ampoule/wiring imports ampoule/cmd/ampoule/cli",
	}
	if diff := cmp.Diff(want, trespasses(packages)); diff != "" {
		t.Errorf("trespasses (-want +got):\n%s", diff)
	}
}

// TestStagesApart holds the table itself to a rule: no line of it lets a stage import
// another one, or what stands above the stages.
func TestStagesApart(t *testing.T) {
	t.Parallel()
	if faults := familiar(rooms); len(faults) > 0 {
		t.Error(faults)
	}
	broken := map[string][]string{
		"builder/seal":             append(stage(), "builder/wheels"),
		"builder/gate":             append(stage(), "builder/locking/..."),
		"builder/toolchain/debian": {"builder/..."},
	}
	want := []string{
		"builder/gate may import builder/locking",
		"builder/seal may import builder/wheels",
		"builder/toolchain/debian may import builder/...",
	}
	if diff := cmp.Diff(want, familiar(broken)); diff != "" {
		t.Errorf("familiar (-want +got):\n%s", diff)
	}
}

// familiar lists which stages a table lets import what no stage may, sorted.
func familiar(table map[string][]string) []string {
	faults := []string{}
	for room, patterns := range table {
		own := slices.IndexFunc(stages, func(stage string) bool { return matches(stage+"/...", room) })
		if own < 0 {
			continue
		}
		for _, pattern := range patterns {
			imported := strings.TrimSuffix(pattern, "/...")
			if imported == "builder" && pattern != imported {
				faults = append(faults, room+" may import "+pattern)
				continue
			}
			other := slices.IndexFunc(stages, func(stage string) bool { return matches(stage+"/...", imported) })
			above := slices.ContainsFunc(beyondStages, func(beyond string) bool { return matches(beyond, imported) })
			if above || other >= 0 && other != own {
				faults = append(faults, room+" may import "+imported)
			}
		}
	}
	slices.Sort(faults)
	return faults
}

// trespasses lists what no rule allows, sorted.
func trespasses(packages []listed) []string {
	faults := []string{}
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module)
		room, ok := roomOf(name)
		if !ok {
			faults = append(faults, p.ImportPath+" belongs to no room")
			continue
		}
		for _, imported := range p.Imports {
			ours, isOurs := strings.CutPrefix(imported, module)
			if isOurs && !mayImport(room, ours) || !mayOwn(runtimeOwners, name, imported) {
				faults = append(faults, fmt.Sprintf("%s imports %s", p.ImportPath, imported))
			}
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if !mayOwn(owners, name, imported) {
				faults = append(faults, fmt.Sprintf("%s imports %s", p.ImportPath, imported))
			}
		}
	}
	slices.Sort(faults)
	return slices.Compact(faults)
}

// mayImport reports whether a room may import a package of ours.
func mayImport(room, imported string) bool {
	if own, ok := roomOf(imported); ok && own == room || slices.Contains(leaves, imported) && !slices.Contains(leaves, room) {
		return true
	}
	return slices.ContainsFunc(rooms[room], func(pattern string) bool { return matches(pattern, imported) })
}

// mayOwn reports whether the table lets a package of ours import one from elsewhere.
func mayOwn(table map[string][]string, name, imported string) bool {
	for owned, by := range table {
		if matches(owned+"/...", imported) && !slices.ContainsFunc(by, func(pattern string) bool { return matches(pattern, name) }) {
			return false
		}
	}
	return true
}

// roomOf finds the room that a package belongs to.
func roomOf(name string) (string, bool) {
	found := ""
	for room := range rooms {
		if matches(room+"/...", name) && len(room) > len(found) {
			found = room
		}
	}
	return found, found != ""
}

// matches reports whether a pattern covers a path.
func matches(pattern, name string) bool {
	below, deep := strings.CutSuffix(pattern, "/...")
	return name == below || deep && strings.HasPrefix(name, below+"/")
}

// list asks the go command for the project's packages.
func list(t *testing.T, tags string) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "-tags", tags, module+"...")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("running %s: %v\n%s", cmd, err, stderr.String())
	}
	var packages []listed
	for dec := json.NewDecoder(&stdout); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
