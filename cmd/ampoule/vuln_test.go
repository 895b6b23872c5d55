package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestVuln gives the script tools that end as govulncheck does.
func TestVuln(t *testing.T) {
	t.Parallel()
	const unreached = `echo 'govulncheck: fetching vulnerabilities: Get "https://db.invalid/index": no such host' >&2; exit 1`
	for name, tt := range map[string]struct {
		tool, env, want string
		fails           bool
	}{
		"none":                         {"exit 0", "", "no known vulnerability", false},
		"found":                        {"echo 'Vulnerability #1: GO-1'; exit 3", "", "Vulnerability #1", true},
		"broken":                       {"echo 'govulncheck: loading packages: no' >&2; exit 1", "", "loading packages", true},
		"unreached":                    {unreached, "", "NOT CHECKED", false},
		"unreached, though it must be": {unreached, "required", "NOT CHECKED", true},
	} {
		tool := filepath.Join(t.TempDir(), "tool")
		if err := os.WriteFile(tool, []byte("#!/bin/sh\n[ \"$1 $2 $3\" = '-C bench ./...' ] || exit 9\n"+tt.tool+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "../../.ci/vuln", tool, "bench")
		cmd.Env = append(os.Environ(), "AMPOULE_VULN="+tt.env)
		out, err := cmd.CombinedOutput()
		if (err != nil) != tt.fails || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if tt.fails && strings.Contains(string(out), "no known vulnerability") {
			t.Errorf("%s: fails and says that nothing was found", name)
		}
	}
}
