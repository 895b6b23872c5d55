package table

import (
	"strings"
	"testing"

	"ampoule/bench/internal/recorded"
)

// TestVerdicts renders a wheel of each outcome, one of them in two environments, and wants it to
// count once, as the environment has it where the audit is wrong.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	when := recorded.Outcome{When: "2026-05-04", Cores: 2, Shared: true, Passed: true}
	good := recorded.Wheel{Name: "good 1.0", Tag: "cp311-abi3-linux_x86_64", Modules: 3}
	bad := recorded.Wheel{Name: "bad 1.0", Modules: 2, Failing: 1, Reason: "bad.a: no such library", Refused: []string{"closure"}}
	missed, doubted := bad, good
	missed.Name, missed.Refused = "missed 1.0", nil
	doubted.Name, doubted.Undecided = "doubted 1.0", []string{"isa"}
	wronged := good
	wronged.Refused = []string{"rpath"}
	put(t, dir, recorded.VerdictsFile,
		recorded.Verdict{Name: "shop/3.11", Outcome: when, What: "a shop", Seconds: 3, Modules: 3, Wheels: []recorded.Wheel{good}},
		recorded.Verdict{Name: "mall/3.11", Outcome: when, What: "a mall", Modules: 9, FailingCount: 2, Wheels: []recorded.Wheel{wronged, bad, missed, doubted},
			Code: 4, Refused: []string{"closure lib/bad/a.so", "closure lib/bad/b.so", "rpath lib/good.so"}},
		recorded.Verdict{Name: "shop/3.9", Outcome: when, What: "a shop", Modules: 3, Wheels: []recorded.Wheel{good}},
		recorded.Verdict{Name: "shop/3.11/copied", Outcome: when, What: "it was copied"},
		recorded.Verdict{Name: "shop/3.11/moved", Outcome: when, What: "it was moved", FailingCount: 4, Failing: []string{"bin/sell: not found"}, Warned: map[string]int{"record": 2}},
		recorded.Verdict{Name: "mall/3.13", Outcome: recorded.Outcome{When: "2026-05-04", Stage: "install", Error: "there is no wheel"}},
	)
	got, err := Render(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"installs 3 environments that people have", "once for each Python: 5, with 13 extension modules",
		// The wheels, the whole environments, the broken ones.
		"| works | 1 | 1 | 1 |\n| does not work | 1 | 0 | 1 |\n",
		"| works | 2 | 0 | 0 |\n| does not work | 0 | 0 | 1 |\n",
		"| works | 1 | 0 | 0 |\n| does not work | 1 | 0 | 0 |\n",
		"| `good 1.0` | 3.11 | mall | 3 | 0 | refused: rpath |  |  |\n",
		"| `missed 1.0` | 3.11 | mall | 2 | 1 | passed | bad.a: no such library |  |\n",
		"| `doubted 1.0` | 3.11 | mall | 3 | 0 | undecided: isa |  |  |\n",
		"| `mall` | 3.11 | a mall | 9 | 0 | 2 | refused: closure, rpath | – | 2026-05-04 |\n",
		"| `shop` | 3.11 | a shop | 3 | 0 | 0 | passed | ≤ 3.0 s | 2026-05-04 |\n",
		"| `moved` | shop 3.11 | it was moved | 4 | bin/sell: not found | passed, warned: record |  |\n",
		"| `copied` | shop 3.11 | it was copied | 0 |  | passed | its programs start",
		"\nNot measured: `mall/3.13`, **failed**, install: `there is no wheel`\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got[strings.Index(got, "## Verdicts"):])
		}
	}
	if strings.Contains(got, "| `good 1.0` | 3.9") {
		t.Error("a wheel that works and passed is named")
	}
}
