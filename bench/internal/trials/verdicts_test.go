package trials

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ampoule/bench/internal/machine"
	"ampoule/bench/internal/recorded"
)

// onFakeMachines are trials whose machines are directories in which nothing runs: unshare
// answers as a machine would, mount and umount do nothing.
func onFakeMachines(t *testing.T, env ...string) (trials *Trials, calls string) {
	t.Helper()
	trials, calls = faked(t, env...)
	dir := t.TempDir()
	trials.Machines, trials.Pythons, trials.Cache = filepath.Join(dir, "machines"), filepath.Join(dir, "pythons"), filepath.Join(dir, "cache")
	for _, version := range []string{"3.9.1", "3.11.2", "3.13.3"} {
		if err := os.MkdirAll(filepath.Join(trials.Pythons, version), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	env = append(env, "FAKE_CALLS="+calls)
	trials.Shell = program(t, "sh", env...)
	trials.Host = machine.Host{Mount: program(t, "mount", env...), Umount: program(t, "umount", env...), Unshare: program(t, "unshare", env...)}
	return trials, calls
}

// TestVerdicts takes a whole environment and a broken one through all that is done to them, and
// wants another program to be asked without anything being installed or imported again.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	trials, calls := onFakeMachines(t)
	names := []string{"starlette/3.11", "starlette/3.11/moved"}
	if err := trials.Verdicts(t.Context(), names); err != nil {
		t.Fatal(err)
	}
	got := recordedIn[recorded.Verdict](t, trials, recorded.VerdictsFile)
	want := []recorded.Verdict{
		{
			Name: names[0], What: "tools of developers (2024)", Packages: 1, Modules: 3, Programs: 2, Frozen: []string{"shop==1.0", "cart==2.0"}, Installer: "pip",
			Failing: []string{"bin/cart: sh: cart: not found", "cart.broken: OSError: no such library"}, FailingCount: 2,
			Wheels: []recorded.Wheel{
				{Name: "cart 2.0", Tag: "cp311-cp311-linux_x86_64", Modules: 2, Failing: 1, Reason: "cart.broken: OSError: no such library", Refused: []string{"closure"}},
				{Name: "shop 1.0", Tag: "cp311-abi3-linux_x86_64", Modules: 1, Undecided: []string{"isa"}},
			},
			Code: codeRefused, Refused: []string{"closure lib/python3.11/site-packages/cart/broken.so"}, Undecided: []string{"isa lib/python3.11/site-packages/shop/fast.so"},
			Warned: map[string]int{"record": 2},
		},
		{
			Name: names[1], What: "the environment was moved to another directory", Packages: 1, Modules: 3, Programs: 2,
			// What failed before is no news, and neither is what was said before.
			Failing: []string{"bin/shop: sh: shop: bad interpreter", "shop.fast: ImportError: it moved"}, FailingCount: 2,
			Wheels: []recorded.Wheel{{Name: "shop 1.0", Tag: "cp311-abi3-linux_x86_64", Modules: 1, Failing: 1, Reason: "shop.fast: ImportError: it moved", Refused: []string{"metadata"}, Undecided: []string{"isa"}}},
			Code:   codeRefused, Refused: []string{"metadata bin/shop"},
		},
	}
	options := append(slices.Clone(untimed), cmpopts.IgnoreFields(recorded.Verdict{}, "Outcome", "Seconds"))
	if diff := cmp.Diff(want, got, options...); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}

	before := verbs(t, calls)
	trials.Again = true
	if err := trials.Verdicts(t.Context(), names); err != nil {
		t.Fatal(err)
	}
	if again := verbs(t, calls)[len(before):]; slices.Contains(again, "unshare") || !slices.Contains(again, "audit") {
		t.Errorf("another program was asked with %q", again)
	}
	if diff := cmp.Diff(got, recordedIn[recorded.Verdict](t, trials, recorded.VerdictsFile), options...); diff != "" {
		t.Errorf("asked again (-first +second):\n%s", diff)
	}
}

// TestVerdictsWithoutInstalling wants an environment that cannot be installed to be recorded as
// that, and the next to be tried.
func TestVerdictsWithoutInstalling(t *testing.T) {
	t.Parallel()
	trials, _ := onFakeMachines(t, "FAKE_PIP=broken")
	if err := trials.Verdicts(t.Context(), []string{"starlette/3.11", "starlette/3.13"}); err != nil {
		t.Fatal(err)
	}
	for _, v := range recordedIn[recorded.Verdict](t, trials, recorded.VerdictsFile) {
		if v.Passed || v.Stage != "install" || !strings.Contains(v.Error, "no wheel of it") {
			t.Errorf("recorded %+v", v)
		}
	}
}

// TestBrokenWantsWhole wants a broken environment not to be measured without the whole one.
func TestBrokenWantsWhole(t *testing.T) {
	t.Parallel()
	trials, _ := onFakeMachines(t)
	if err := trials.Verdicts(t.Context(), []string{"starlette/3.11/moved"}); err == nil || !strings.Contains(err.Error(), "whole first") {
		t.Errorf("measured without the whole one: %v", err)
	}
}
