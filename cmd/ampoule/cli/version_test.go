package cli

import (
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

func TestVersionOf(t *testing.T) {
	t.Parallel()
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: "8e0ec638e587"}, {Key: "vcs.modified", Value: "true"}}
	for name, c := range map[string]struct {
		stamped  string
		info     *debug.BuildInfo
		want     string
		revision string
	}{
		"nothing is known":         {"", nil, unknownVersion, ""},
		"go has no version":        {"", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, unknownVersion, ""},
		"go has one":               {"", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: vcs}, "v1.2.3", "8e0ec638e587"},
		"the linker wrote one":     {"v1.2.4", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "v1.2.4", ""},
		"the linker's comes first": {"v1.2.4-2-g8e0ec63", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "v1.2.4-2-g8e0ec63", ""},
	} {
		got := versionOf(c.stamped, c.info)
		if got.Version != c.want || got.Revision != c.revision || got.Modified != (c.revision != "") {
			t.Errorf("%s: %+v", name, got)
		}
		if none := versionOf("", nil); got.Builder != none.Builder {
			t.Errorf("%s: the builder is %s, not %s", name, got.Builder, none.Builder)
		}
	}
}

// Whatever verb is called waits for the program's start first: no package may do work there. What
// packages allocate is the same in each start. How long a start takes tells of the machine as much
// as of the program, so each package is compared with all of them.
func TestStart(t *testing.T) {
	t.Parallel()
	const mostBytes, mostShare = 12 << 20, 0.4
	least := map[string]time.Duration{} // of each package, the shortest of some starts
	for range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Args = []string{"ampoule", "version"}
		cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
		var trace strings.Builder
		cmd.Stderr = &trace
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		bytes := 0
		for line := range strings.Lines(trace.String()) {
			var pkg string
			var at, clock float64
			var allocated int
			if _, err := fmt.Sscanf(line, "init %s @%f ms, %f ms clock, %d bytes", &pkg, &at, &clock, &allocated); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			bytes += allocated
			took := time.Duration(clock * float64(time.Millisecond))
			if before, ok := least[pkg]; !ok || took < before {
				least[pkg] = took
			}
		}
		if bytes > mostBytes {
			t.Fatalf("the program allocates %d bytes at its start, not at most %d:\n%s", bytes, mostBytes, &trace)
		}
	}
	var all time.Duration
	for _, took := range least {
		all += took
	}
	for pkg, took := range least {
		if took > time.Duration(mostShare*float64(all)) {
			t.Errorf("%s takes %s of the %s that all packages take at the program's start: what it does there should wait", pkg, took, all)
		}
	}
	if len(least) < 50 {
		t.Errorf("packages that have an initialiser: %d", len(least))
	}
}
