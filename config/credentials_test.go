package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func readText(t *testing.T, text string, environ ...string) (Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Read(environ, file)
}

const company = "[sources.my-company]\nmirrors = [\"https://index.invalid/simple\"]\nnames = [\"acme-*\"]\n"

func TestCredentials(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text    string
		environ []string
		want    Credentials
	}{
		"netrc":   {`credentials = {netrc = "/n"}`, nil, Credentials{Netrc: "/n"}},
		"command": {`credentials = {command = ["keyring", "get", "a b"], username = "me"}`, nil, Credentials{Username: "me", Command: []string{"keyring", "get", "a b"}}},
		"variable": {"", []string{"AMPOULE_SOURCE_MY_COMPANY_PASSWORD=s3cr3t", "AMPOULE_SOURCE_MY_COMPANY_USERNAME=me"},
			Credentials{Username: "me", Password: "s3cr3t"}},
		"variable over file": {`credentials = {netrc = "/n", username = "me"}`, []string{"AMPOULE_SOURCE_MY_COMPANY_COMMAND=print token"},
			Credentials{Username: "me", Command: []string{"print", "token"}}},
		"none": {"", []string{"AMPOULE_SOURCE_MY_COMPANY_PASSWORD="}, Credentials{}},
	} {
		got, err := readText(t, company+c.text, c.environ...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(c.want, got.Inputs.Sources["my-company"].Credentials); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if mirrors := got.Inputs.Sources["my-company"].Mirrors; len(got.Inputs.Sources) != 1 || len(mirrors) != 1 {
			t.Errorf("%s: sources %v", name, got.Inputs.Sources)
		}
		if strings.Contains(strings.Join(got.Inputs.Environ, " "), "s3cr3t") {
			t.Errorf("%s: programs are asked in %q", name, got.Inputs.Environ)
		}
	}
}

func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		company + `credentials = {netrc = "n"}`:                                                                       "config.toml:4:1: source my-company: the netrc of its credentials is no absolute path",
		company + `credentials = {netrc = "/n", command = ["x"]}`:                                                     "config.toml:4:1: source my-company: its credentials are both in a netrc and given by a command",
		company + `credentials = {command = [""]}`:                                                                    "config.toml:4:1: source my-company: the command of its credentials is empty",
		company + `credentials = {password = "s3cr3t"}`:                                                               `unknown key "sources.my-company.password"`,
		"[sources.debian]\ncredentials = {netrc = \"/n\"}":                                                            "only a source of kind index takes credentials",
		"[sources.my-username]\nmirrors = [\"https://index.invalid/simple\"]\nnames = [\"acme-*\"]\nkind=\"index\"\n": "its name ends as the variables of credentials do",
	} {
		_, err := readText(t, text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s\ngives %v, want %s", text, err, want)
		}
	}
	_, err := readText(t, company, "AMPOULE_SOURCE_MY_COMPANY_NETRC=n")
	if err == nil || !strings.HasPrefix(err.Error(), "AMPOULE_SOURCE_MY_COMPANY_NETRC: ") {
		t.Errorf("a wrong variable gives %v", err)
	}
}
