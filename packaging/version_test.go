package packaging

import (
	"strings"
	"testing"
)

func TestSameVersion(t *testing.T) {
	t.Parallel()
	// The spellings in one line are one version; no two lines are.
	lines := []string{
		"1.0 1 1.0.0 v1.0 V1 01.0 0!1.0 1.00",
		"1!1.0 1!1",
		"1.10 1.10.0 1.010",
		"1.1",
		"10 10.0",
		"0 0.0 00",
		"1.0a1 1.0.a1 1.0-alpha-1 1.0_ALPHA.1 1a1 1.0alpha1 1.0a01",
		"1.0a 1.0a0 1.0.alpha",
		"1.0b2 1.0-beta2 1.0.b.2",
		"1.0rc1 1.0c1 1.0-rc1 1.0.pre1 1.0_preview_1",
		"1.0.post1 1.0-1 1.0post1 1.0-r1 1.0.rev1 1.0_post1",
		"1.0.post0 1.0post 1.0.post",
		"1.0.dev0 1.0dev 1.0-dev 1.0.DEV00",
		"1.0a1.post2.dev3 1.0-alpha1-2.dev3",
		"1.0+ubuntu.1 1.0+Ubuntu-1 1.0.0+ubuntu_01",
		"1.0+ubuntu.10",
		"2013b 2013b0 2013.beta",
		"2004d",
		"not-a-version Not-A-Version",
	}
	for i, line := range lines {
		for _, a := range strings.Fields(line) {
			for j, other := range lines {
				for _, b := range strings.Fields(other) {
					if got := SameVersion(a, b); got != (i == j) {
						t.Errorf("SameVersion(%q, %q) is %t", a, b, got)
					}
				}
			}
		}
	}
}

func TestContains(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		specifiers, version string
		want                bool
	}{
		{"", "1", true}, {">=1,<3", "2.9", true}, {">=1,<3", "3.0rc1", false}, {"<3.0rc2", "3.0rc1", true},
		{"==1.0", "1.0+local", true}, {"==1.0+local", "1.0", false}, {"<=1.0", "1.0+local", true}, {">1.0", "1.0.post1", false},
		{">1.0.post1", "1.0.post2", true}, {"~=2.2", "2.9", true}, {"~=2.2", "3.0", false}, {"~=1.4.5a4", "1.4.9", true},
		{"==1.1.*", "1.1a1", true}, {"!=1.1.*", "1.10", true}, {"===1.0", "1.0.0", false}, {"==1!1.*", "1.0", false},
		{">=99999999999999999999998", "99999999999999999999999", true},
	} {
		s, err := ParseSpecifiers(c.specifiers)
		v, errV := ParseVersion(c.version)
		if err != nil || errV != nil || s.Contains(v) != c.want {
			t.Errorf("%q contains %s: %t (%v, %v)", c.specifiers, c.version, !c.want, err, errV)
		}
	}
	for _, text := range []string{">=1 || <0", "1.0", ">=1.*", "~=1", ">=1+local", "<x", "=1", ">=1 <2"} {
		if s, err := ParseSpecifiers(text); err == nil {
			t.Errorf("%q was taken for %s", text, s)
		}
	}
}
