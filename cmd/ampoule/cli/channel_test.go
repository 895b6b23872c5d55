package cli

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/config"
	"ampoule/faults"
	"ampoule/wiring"
)

// newPromoter is a machine with a policy and two promotion keys.
func newPromoter(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	for _, name := range []string{"promote-1", "promote-2"} {
		if err := KeysGenerate(m.Session, m.path(name), []byte("a passphrase")); err != nil {
			t.Fatal(err)
		}
		m.ok("trust", "add-key", name+"="+m.path(name+".pub"), "--role", "promote")
	}
	m.signRoot()
	m.write("policy.yaml", built)
	m.Environ = []string{"AMPOULE_POLICY=" + m.path("policy.yaml")}
	return m
}

// promoter are the flags of a verb that writes a channel by a key.
func (m *machine) promoter(key string, args ...string) []string {
	return append(append([]string{"channel"}, args...), "--key", m.path(key+".key"), "--passphrase-file", m.path("pw"))
}

// printed is what the last verb printed.
func (m *machine) printed() string { return strings.TrimSpace(m.out.String()) }

// refuses wants a code and a message.
func (m *machine) refuses(code int, text string, args ...string) {
	m.t.Helper()
	m.errs.Reset()
	if got := m.run(args...); got != code || !strings.Contains(m.errs.String(), text) {
		m.t.Errorf("%s ends with code %d, not %d, or does not say %q: %s", strings.Join(args, " "), got, code, text, m.errs)
	}
}

// another is an artifact of another key.
func another(a *artifact.Artifact) {
	a.Key = otherKey
	a.Config.Labels[artifact.LabelKey] = otherKey
}

// One digest goes from staging to production, and back.
func TestChannelVerbs(t *testing.T) {
	t.Parallel()
	m := newPromoter(t)
	first := m.publish("build.key", config.FormLegacy)
	second := m.publish("", "", another)
	digest := func(ref string) string { return strings.TrimPrefix(ref, "web@") }
	m.refuses(codeNotFound, "nothing was promoted yet", "channel", "resolve", "web:prod")
	m.ok(m.promoter("promote-1", "promote", "web:staging", first)...)
	if m.printed() != first {
		t.Errorf("it prints %s", m.printed())
	}
	m.ok(m.promoter("promote-1", "promote", "web:prod", "--from", "staging")...)
	m.refuses(codeRefused, "policy "+m.path("policy.yaml")+" refuses web@", m.promoter("promote-1", "promote", "web:prod", digest(second))...)
	m.ok("sign", second, "--key", m.path("build.key"), "--passphrase-file", m.path("pw"))
	m.refuses(codeRefused, "provenance: nothing that a key of the role build", m.promoter("promote-1", "promote", "web:prod", digest(second))...)
	m.write("policy.yaml", "apiVersion: ampoule/v1\ntrust: {file: trust.yaml, name: acme}\nrules: [{match: [web]}]\n")
	m.ok(m.promoter("promote-2", "promote", "web:prod", digest(second), "--reason", "the new one")...)
	m.ok("channel", "resolve", "web:prod", "--max-stale", "1h")
	if m.printed() != second {
		t.Errorf("it resolves to %s", m.printed())
	}
	m.ok(m.promoter("promote-1", "rollback", "web:prod", "--reason", "it leaks")...)
	m.ok("install", m.printed(), "--root", m.path("root"))
	m.ok("install", "web:prod", "--root", m.path("root"))
	m.ok(m.promoter("promote-1", "refresh", "web:prod")...)
	m.ok("channel", "history", "web:prod")
	for _, want := range []string{
		"web:prod names " + digest(first), "1  20", "promote " + digest(first) + "  by promote-1, from staging", "promote " + digest(second) + "  by promote-2: the new one",
		"rollback " + digest(first) + "  by promote-1: it leaks", "4  20",
	} {
		if !strings.Contains(m.out.String(), want) {
			t.Errorf("no %q in:\n%s", want, m.out)
		}
	}
	m.ok("channel", "history", "web:prod", "--output", "json")
	validate(t, "channel", []byte(m.out.String()))
	var report ChannelReport
	if err := json.Unmarshal([]byte(m.out.String()), &report); err != nil || len(report.Entries) != 4 || report.Entries[0].Action != "refresh" || report.Ref != first || !report.Verified || len(report.Entries[3].Evidence) < 2 {
		t.Errorf("%v: %+v", err, report)
	}

	m.ok(m.promoter("promote-1", "freeze", "web:prod", "--reason", "holidays")...)
	m.refuses(codeRefused, "takes no such entry, and is as it was: promote: the channel is frozen: holidays", m.promoter("promote-1", "promote", "web:prod", second)...)
	m.refuses(codeUsage, "--reason is missing", m.promoter("promote-1", "promote", "web:prod", second, "--break-glass")...)
	m.ok(m.promoter("promote-1", "promote", "web:prod", second, "--break-glass", "--reason", "a hole")...)
	m.ok(m.promoter("promote-1", "unfreeze", "web:prod")...)
	m.ok(m.promoter("promote-1", "revoke", "web:prod", second, "--reason", "poisoned")...)
	m.refuses(codeRefused, "is revoked in channel web:prod: poisoned", "channel", "resolve", "web:prod")
	m.ok(m.promoter("promote-1", "rollback", "web:prod")...)
	m.ok("channel", "resolve", "web:prod", "--output", "json")
	validate(t, "channel", []byte(m.out.String()))
	m.refuses(codeRefused, "belongs to channel ", "registry", "rm", first)
	m.refuses(codeRefused, "is the log of a channel", "copy", first, "web:channel-prod")
	m.ok("registry", "ls")
	if got := strings.Count(m.out.String(), "web@"); got != 2 {
		t.Errorf("%d artifacts are listed:\n%s", got, m.out)
	}
}

// After a promotion key was stolen nothing is resolved until another key vouches for the log.
func TestChannelAfterTheft(t *testing.T) {
	t.Parallel()
	m := newPromoter(t)
	ref := m.publish("build.key", config.FormLegacy)
	m.ok(m.promoter("promote-1", "promote", "web:prod", ref)...)
	m.ok("trust", "revoke", "promote-1", "--why", "stolen")
	m.signRoot()
	m.refuses(codeRefused, "revoked are promote-1", "channel", "resolve", "web:prod")
	m.refuses(codeRefused, "is no promotion key of the trust root", m.promoter("promote-1", "refresh", "web:prod")...)
	m.ok("channel", "history", "web:prod", "--unverified")
	if !strings.Contains(m.out.String(), "by promote-1") || !strings.Contains(m.errs.String(), "nobody has verified any of this") {
		t.Errorf("%s%s", m.out, m.errs)
	}
	m.ok("channel", "history", "web:prod", "--unverified", "--output", "json")
	validate(t, "channel", []byte(m.out.String()))
	m.ok(m.promoter("promote-2", "restart", "web:prod", ref, "--reason", "promote-1 was stolen")...)
	m.ok("channel", "resolve", "web:prod")
	if m.printed() != ref {
		t.Errorf("it resolves to %s", m.printed())
	}
}

// What a channel could not go back to is told with a code of its own.
func TestChannelCheck(t *testing.T) {
	t.Parallel()
	m := newPromoter(t)
	first := m.publish("build.key", config.FormLegacy)
	m.ok(m.promoter("promote-1", "promote", "web:prod", first)...)
	m.ok("channel", "check", "web:prod", "--output", "json")
	validate(t, "channel-check", []byte(m.out.String()))
	m.ok("registry", "unhold", "web:hold-"+strings.TrimPrefix(first, "web@sha256:")+".prod")
	m.refuses(codeRefused, "channel web:prod could not go to 1 of 1 digests", "channel", "check", "web:prod")
	if !strings.Contains(m.out.String(), "nothing holds it") || !strings.Contains(m.out.String(), "(named now)") {
		t.Errorf("%s", m.out)
	}
	m.refuses(codeUsage, "--last must be at least 1", "channel", "check", "web:prod", "--last", "0")
}

// A channel whose last entry is too old is not resolved.
func TestChannelStale(t *testing.T) {
	t.Parallel()
	m := newPromoter(t)
	m.ok(m.promoter("promote-1", "promote", "web:prod", m.publish("build.key", config.FormLegacy))...)
	err := m.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		all, err := w.Channels(ctx, m.path("policy.yaml"))
		if err != nil {
			return err
		}
		c, err := all.Open("web", "prod")
		if err != nil {
			return err
		}
		return ChannelResolve(ctx, m.Session, c, time.Hour, time.Now().Add(2*time.Hour))
	})
	if faults.Of(err) != faults.Refused || !strings.Contains(err.Error(), "and may be 1h0m0s old") {
		t.Errorf("%v", err)
	}
}

// What is wrong with a call is told before anything is opened.
func TestChannelUsage(t *testing.T) {
	t.Parallel()
	m := newPromoter(t)
	digest := "sha256:" + sumA
	for text, args := range map[string][]string{
		`"web" is not NAME:CHANNEL`:        {"resolve", "web"},
		`is not NAME:CHANNEL`:              {"resolve", "web@" + digest},
		`"Prod" is no name of a channel`:   {"resolve", "web:Prod"},
		"want a digest, or --from":         {"promote", "web:prod"},
		"it has no digest":                 {"promote", "web:prod", "web:latest"},
		"is in another repository":         {"promote", "web:prod", "api@" + digest},
		"there is no key to sign with":     {"promote", "web:prod", digest},
		"--reason is missing":              {"revoke", "web:prod", digest},
		"--max-stale: \"soon\" is no":      {"resolve", "web:prod", "--max-stale", "soon"},
		"accepts 2 arg(s), received 1":     {"restart", "web:prod", "--reason", "x"},
		"unknown verb \"promot\": did you": {"promot"},
	} {
		m.refuses(codeUsage, text, append([]string{"channel"}, args...)...)
	}
	m.Environ = nil
	m.refuses(codeUsage, "no policy is set on this machine", "channel", "resolve", "web:prod")
	m.refuses(codeUsage, "no policy is set on this machine", m.promoter("promote-1", "promote", "web:prod", digest)...)
}

// rulesText is a file of channel rules.
const rulesText = `apiVersion: ampoule/v1
trust: acme
version: 1
people:
  ann: {keys: [promote-1, promote-2]}
  ben: {keys: [approve-1]}
channels:
- name: staging
# Two pairs of eyes.
- {name: prod, from: staging, approvals: {count: 1, max-age: 1d}}
`

// Production takes what staging names and somebody else has approved, under rules that a root key
// has signed.
func TestChannelRules(t *testing.T) {
	t.Parallel()
	m := newPromoter(t)
	if err := KeysGenerate(m.Session, m.path("approve-1"), []byte("a passphrase")); err != nil {
		t.Fatal(err)
	}
	m.ok("trust", "add-key", "approve-1="+m.path("approve-1.pub"), "--role", "approve")
	m.signRoot()
	file := m.path("channels.yaml")
	m.write("channels.yaml", rulesText)
	m.write("policy.yaml", strings.Replace(built, "rules:", "channels: channels.yaml\nrules:", 1))
	ref := m.publish("build.key", config.FormLegacy)
	trusted := func(args ...string) []string {
		return append(append([]string{"channel", "rules"}, args...), "--trust", m.path("trust.yaml"))
	}
	m.refuses(codeRefused, "need 1 signatures of root keys, and have those of none", m.promoter("promote-1", "promote", "web:staging", ref)...)
	m.ok(trusted("show", file)...)
	if !strings.Contains(m.out.String(), "have those of none") {
		t.Errorf("%s", m.out)
	}
	m.refuses(codeRefused, "is no root key of acme", trusted("sign", file, "--key", m.path("build.key"), "--passphrase-file", m.path("pw"))...)
	for range 2 {
		m.ok(trusted("sign", file, "--key", m.path("root.key"), "--passphrase-file", m.path("pw"))...)
		if !strings.Contains(m.out.String(), "signed by enough keys") {
			t.Errorf("%s", m.out)
		}
	}
	if text, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(text), rulesText+"signatures:\n") {
		t.Errorf("%v: signing changes the file:\n%s", err, text)
	}
	m.ok(m.promoter("promote-1", "promote", "web:staging", ref)...)
	m.refuses(codeRefused, "channel web:prod wants 1 approvals of people other than who promotes, and has those of: none", m.promoter("promote-1", "promote", "web:prod", "--from", "staging")...)
	m.refuses(codeRefused, "is no approver's key", m.promoter("promote-2", "approve", "web:prod", ref)...)
	m.ok(m.promoter("approve-1", "approve", "web:prod", ref)...)
	if m.printed() != ref {
		t.Errorf("it prints %s", m.printed())
	}
	m.ok(m.promoter("promote-1", "promote", "web:prod", "--from", "staging")...)
	m.ok("channel", "history", "web:prod")
	if !strings.Contains(m.out.String(), "by promote-1, from staging, approved by ben\n") {
		t.Errorf("%s", m.out)
	}
	m.refuses(codeRefused, "no rule of "+file+" is for it", m.promoter("promote-1", "promote", "web:eu-prod", ref)...)

	second := m.publish("build.key", config.FormLegacy, another)
	m.ok(m.promoter("promote-1", "promote", "web:prod", second, "--break-glass", "--reason", "a hole")...)
	m.ok("channel", "history", "web:prod")
	for _, want := range []string{"BREAK-GLASS: a hole", "passed over: channel web:staging names " + strings.TrimPrefix(ref, "web@"), "passed over: channel web:prod wants 1 approvals"} {
		if !strings.Contains(m.out.String(), want) {
			t.Errorf("no %q in:\n%s", want, m.out)
		}
	}
	m.ok("channel", "history", "web:prod", "--output", "json")
	validate(t, "channel", []byte(m.out.String()))
	m.write("policy.yaml", built)
	m.refuses(codeRefused, "it obeys no channel rules", m.promoter("promote-1", "promote", "web:prod", ref)...)
	m.refuses(codeUsage, "the policy names no channel rules", m.promoter("approve-1", "approve", "web:prod", ref)...)
	m.write("flow.yaml", strings.Replace(rulesText, "version: 1\n", "signatures:\n  # nobody yet\n  {}\nversion: 1\n", 1))
	m.ok(trusted("sign", m.path("flow.yaml"), "--key", m.path("root.key"), "--passphrase-file", m.path("pw"))...)
	m.write("broken.yaml", rulesText+"soak: 1h\n")
	m.refuses(codeInput, `broken.yaml:11:1: "soak" is no key of a file of channel rules`, trusted("show", m.path("broken.yaml"))...)
}
