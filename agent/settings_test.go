package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
	"ampoule/recipes"
)

const whole = `apiVersion: ampoule/v1
channel: registry.example:5000/team/web:prod
root: /opt/web
policy: policy.yaml
poll: 1m
delay: 30m
max-stale: 2d
keep: 5
smoke:
  imports: [web]
  commands: [[gunicorn, --check-config, "web:app"]]
  timeout: 30s
  user: web
restart: {command: [systemctl, restart, web], timeout: 20s}
watch: {for: 5m, every: 5s, timeout: 2s, failures: 4, url: "http://127.0.0.1:8000/health"}
report: {host: web-1, directory: /srv/reports, service: {url: "https://ampoule.example", token-file: token}, key: host.key, passphrase-file: host.pass, every: 10m}
`

func TestSettings(t *testing.T) {
	t.Parallel()
	got, err := ParseSettings("/etc/ampoule/agent.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{
		Repository: "registry.example:5000/team/web", Channel: "prod", Root: "/opt/web", Policy: "/etc/ampoule/policy.yaml",
		Poll: time.Minute, Delay: 30 * time.Minute, MaxStale: 48 * time.Hour, Keep: 5,
		Smoke:   SmokeSettings{Tests{[]string{"web"}, [][]string{{"gunicorn", "--check-config", "web:app"}}}, 30 * time.Second, "web"},
		Restart: RestartSettings{[]string{"systemctl", "restart", "web"}, 20 * time.Second},
		Watch:   WatchSettings{5 * time.Minute, 5 * time.Second, 2 * time.Second, 4, "http://127.0.0.1:8000/health", nil},
		Report:  ReportSettings{"web-1", "/srv/reports", "/etc/ampoule/host.key", "/etc/ampoule/host.pass", "https://ampoule.example", "/etc/ampoule/token", 10 * time.Minute},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Follows() != "registry.example:5000/team/web:prod" {
		t.Error(got.Follows())
	}
	short, err := ParseSettings("agent.yaml", []byte("apiVersion: ampoule/v1\nchannel: web:prod\nroot: /opt/web\n"))
	if err != nil || short.Poll != defaultPoll || short.Keep != defaultKeep || short.Smoke.Timeout != defaultSmoke || short.Smoke.User != "nobody" || short.Repository != "web" {
		t.Errorf("%v %+v", err, short)
	}
}

// What is wrong in a file is told at its line and column.
func TestSettingsFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, after, want string }{
		"an unknown key":        {"poll: 1m", "pole: 1m", `agent.yaml:5:1: "pole" is no key of an agent's configuration`},
		"no channel":            {"channel: registry.example:5000/team/web:prod\n", "", `agent.yaml:1:1: `},
		"a tag's name":          {"web:prod", "web:key-1", `agent.yaml:2:10: "registry.example:5000/team/web:key-1" is not NAME:CHANNEL`},
		"a digest":              {"web:prod", "web@sha256:00", `agent.yaml:2:10: `},
		"a relative root":       {"/opt/web", "opt/web", `agent.yaml:3:7: `},
		"an unclean root":       {"/opt/web", "/opt/../web", `agent.yaml:3:7: root "/opt/../web" is not a clean path below /`},
		"no unit":               {"poll: 1m", "poll: 60", `agent.yaml:5:7: `},
		"no time":               {"poll: 1m", "poll: 0s", `agent.yaml:5:7: `},
		"a number that is none": {"keep: 5", "keep: many", `agent.yaml:8:7: `},
		"nothing to go back to": {"keep: 5", "keep: 1", `agent.yaml:8:7: `},
		"no module":             {"imports: [web]", "imports: [web-app]", `agent.yaml:10:13: `},
		"no program":            {`[[gunicorn, --check-config, "web:app"]]`, "[[]]", `agent.yaml:11:14: command 1 has no program`},
		"an empty program":      {"[systemctl, restart, web]", `[""]`, `agent.yaml:14:11: command 2 has no program`},
		"a shell's line":        {"[systemctl, restart, web]", "systemctl restart web", `agent.yaml:14:20: `},
		"nothing to look at":    {`, url: "http://127.0.0.1:8000/health"`, "", `agent.yaml:15:1: watch looks at nothing`},
		"two to look at":        {"failures: 4,", "failures: 4, command: [x],", `watch has a url and a command`},
		"credentials":           {"http://127.0.0.1", "http://me:secret@127.0.0.1", `url is no address, or has credentials in it`},
		"no address":            {"http://127.0.0.1:8000/health", "127.0.0.1:8000", `agent.yaml:15:60: `},
		"a short watch":         {"for: 5m", "for: 1s", `agent.yaml:15:14: it watches for 1s, and looks every 5s`},
		"a host's path":         {"host: web-1", "host: ../web-1", `agent.yaml:16:16: `},
		"no key":                {"key: host.key, ", "", `agent.yaml:16:9: `},
		"reports to nobody":     {`directory: /srv/reports, service: {url: "https://ampoule.example", token-file: token}, `, "", `agent.yaml:16:1: reports go nowhere`},
		"a token in plain http": {"https://ampoule.example", "http://ampoule.example", `agent.yaml:16:63: the token would cross the network in plain http`},
		"a service's password":  {"https://ampoule.example", "https://me:secret@ampoule.example", `url is no address of a service, or has credentials in it`},
		"not YAML":              {"smoke:", "smoke: [", `this is not YAML`},
	} {
		text := strings.Replace(whole, c.before, c.after, 1)
		if text == whole {
			t.Fatalf("%s: nothing is replaced", name)
		}
		_, err := ParseSettings("agent.yaml", []byte(text))
		var all recipes.Faults
		if !errors.As(err, &all) || !strings.Contains(all[0].String(), c.want) || faults.Of(err) != faults.Input {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: a secret is told: %v", name, err)
		}
	}
	if _, err := ReadSettings(t.TempDir() + "/agent.yaml"); faults.Of(err) != faults.Input {
		t.Errorf("%v", err)
	}
}

// Root runs no commands that others may write.
func TestSettingsOfOthers(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(file, []byte(whole), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSettings(file); err != nil {
		t.Errorf("one's own: %v", err)
	}
	want := faults.Unknown
	if os.Geteuid() == 0 {
		want = faults.Refused
	}
	for _, mode := range []os.FileMode{0o664, 0o646} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadSettings(file); faults.Of(err) != want || (err == nil) != (want == faults.Unknown) {
			t.Errorf("%v: %v", mode, err)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := errors.Join(os.Chmod(file, 0o644), os.Chown(file, 1234, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSettings(file); faults.Of(err) != want {
		t.Errorf("another user's: %v", err)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(whole))
	f.Fuzz(func(_ *testing.T, text []byte) {
		_, _ = ParseSettings("agent.yaml", text)
	})
}
