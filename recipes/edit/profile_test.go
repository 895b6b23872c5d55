package edit_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/recipes"
	"ampoule/recipes/edit"
)

func TestSetProfile(t *testing.T) {
	t.Parallel()
	old, profile := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	const begin, end = "apiVersion: ampoule/v1\nname: web\n", "base: {debian: bookworm} # \u00fc\n" + tail
	for name, c := range map[string]struct{ before, after string }{
		"block": {
			"python:\n  version: 3.13.5 # pinned\n  configure: [--enable-optimizations]\n",
			"python:\n  version: 3.13.5 # pinned\n  profile: " + profile + "\n  configure: [--enable-optimizations]\n",
		},
		"flow": {
			"python: {version: \"3.13.5\", configure: [--enable-optimizations]}\n",
			"python: {version: \"3.13.5\", profile: " + profile + ", configure: [--enable-optimizations]}\n",
		},
		"another one": {
			"python:\n  configure: [--enable-optimizations]\n  profile: '" + old + "' # trained\n  version: 3.13.5\n",
			"python:\n  configure: [--enable-optimizations]\n  profile: " + profile + " # trained\n  version: 3.13.5\n",
		},
		"a comment": {
			"python:\n  # As fast as can be.\n  # Trained once.\n  configure: [--enable-optimizations]\n  version: 3.13.5\n",
			"python:\n  profile: " + profile + "\n  # As fast as can be.\n  # Trained once.\n  configure: [--enable-optimizations]\n  version: 3.13.5\n",
		},
		"extending": {
			"extends: ../python.yaml\npython:\n  configure: [--enable-optimizations]\n",
			"extends: ../python.yaml\npython:\n  profile: " + profile + "\n  configure: [--enable-optimizations]\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, newline := range []string{"\n", "\r\n"} {
				before, after := strings.ReplaceAll(begin+c.before+end, "\n", newline), strings.ReplaceAll(begin+c.after+end, "\n", newline)
				got, change, err := edit.SetProfile("ampoule.yaml", []byte(before), profile)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(after, string(got)); diff != "" {
					t.Errorf("%q (-want +got):\n%s", newline, diff)
				}
				if line := strings.Split(string(got), "\n")[change.Line-1]; change.After != profile || !strings.Contains(line, profile) {
					t.Errorf("change %+v, line %q", change, line)
				}
			}
		})
	}
	shared, want := "python:\n  configure:\n  - --enable-optimizations\n", "python:\n  profile: "+profile+"\n  configure:\n  - --enable-optimizations\n"
	if got, _, err := edit.SetProfile("python.yaml", []byte(shared), profile); err != nil || string(got) != want {
		t.Errorf("what recipes extend becomes %q, %v", got, err)
	}
	unoptimised := begin + "python: {version: 3.13.5}\n" + end
	if got, _, err := edit.SetProfile("ampoule.yaml", []byte(unoptimised), profile); err == nil {
		t.Errorf("a recipe that is not optimised becomes %s", got)
	} else if _, isFaults := errors.AsType[recipes.Faults](err); !isFaults {
		t.Errorf("error %v", err)
	}
}
