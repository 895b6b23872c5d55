package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTrust(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config.toml")
	text := "policy = \"/etc/policy.yaml\"\n[sign]\ncommand = [\"kms\", \"sign\"]\npublic = \"/etc/build.pub\"\nform = \"bundle\"\nbuilder = \"https://ci.example/1\"\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	want := Trust{"/etc/policy.yaml", Sign{Command: []string{"kms", "sign"}, Public: "/etc/build.pub", Form: FormBundle, Builder: "https://ci.example/1"}}
	got, err := Read(nil, file)
	if diff := cmp.Diff(want, got.Trust); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	got, err = Read([]string{"AMPOULE_POLICY=p.yaml", "AMPOULE_SIGN_KEY=build.key"}, file)
	if err != nil || got.Trust.Policy != "p.yaml" || got.Trust.Sign.Key != "build.key" || got.Trust.Sign.Command != nil || !got.Trust.Sign.Set() {
		t.Errorf("%+v, %v", got.Trust, err)
	}
}

// Each fault is told at its place.
func TestTrustFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"a relative policy":        {"policy = \"policy.yaml\"\n", ":1:1: policy.yaml is not an absolute path"},
		"a relative key":           {"[sign]\nkey = \"k\"\n", ":2:1: k is not an absolute path"},
		"a key and a program":      {"[sign]\nkey = \"/k\"\ncommand = [\"x\"]\npublic = \"/p\"\n", ":3:1: both a key and a program"},
		"a program without a key":  {"[sign]\ncommand = [\"x\"]\n", ":2:1: the program that signs has no public key"},
		"a public key alone":       {"[sign]\npublic = \"/p\"\n", ":2:1: a public key belongs to a program"},
		"two places of passphrase": {"[sign]\nkey = \"/k\"\npassphrase-file = \"/p\"\npassphrase-command = [\"x\"]\n", ":4:1: the passphrase has two places"},
		"an unknown form":          {"[sign]\nform = \"both\"\n", `:2:1: "both" is no form of signatures`},
		"an unknown key":           {"[sign]\npassword = \"x\"\n", `:2:1: unknown key "sign.password"`},
	} {
		file := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(file, []byte(test.text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Read(nil, file)
		var fault *Error
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
