package cli

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"ampoule/config"
	"ampoule/registry/embedded"
	"ampoule/registry/server"
	"ampoule/registry/tokens"
	"ampoule/store"
)

// file is what a file of the machine has.
func (m *machine) file(name string) string {
	m.t.Helper()
	text, err := os.ReadFile(m.path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

// Files name what a channel names, behind the entry; what is wrong with one stops the promotion
// before it begins.
func TestChannelPinsFiles(t *testing.T) {
	t.Parallel()
	m := newPromoter(t)
	first := m.publish("build.key", config.FormLegacy)
	second := m.publish("build.key", config.FormLegacy, another)
	none := "sha256:" + strings.Repeat("0", 64)
	deploy := "# web\nimage: registry.example/web@" + none + "  # do not touch\n"
	job := "task \"web\" {\n  image = \"registry.example/web@" + none + "\"\n}\n"
	m.write("deploy.yaml", deploy)
	m.write("web.nomad.hcl", job)
	m.write("other.yaml", "image: registry.example/api@"+none+"\n")
	pins := []string{"--write", m.path("deploy.yaml"), "--write", m.path("web.nomad.hcl")}
	named := func(text, ref string) string { return strings.Replace(text, none, strings.TrimPrefix(ref, "web@"), 1) }
	check := func(ref string) {
		t.Helper()
		if m.file("deploy.yaml") != named(deploy, ref) || m.file("web.nomad.hcl") != named(job, ref) {
			t.Errorf("want %s in:\n%s%s", ref, m.file("deploy.yaml"), m.file("web.nomad.hcl"))
		}
	}
	m.refuses(codeInput, "other.yaml:1:8: nothing in it is the image web", append(m.promoter("promote-1", "promote", "web:prod", first, "--write", m.path("other.yaml")), pins...)...)
	m.refuses(codeNotFound, "nothing was promoted yet", "channel", "resolve", "web:prod")
	m.ok(append(m.promoter("promote-1", "promote", "web:prod", first), pins...)...)
	check(first)
	m.ok(append(m.promoter("promote-1", "promote", "web:prod", second), pins...)...)
	check(second)
	m.ok(append(m.promoter("promote-1", "rollback", "web:prod"), pins...)...)
	check(first)
	m.ok(m.promoter("promote-1", "promote", "web:prod", second)...)
	m.ok(append([]string{"channel", "resolve", "web:prod"}, pins...)...)
	check(second)
	if !strings.Contains(m.errs.String(), m.path("deploy.yaml")+": names ") {
		t.Errorf("%s", m.errs)
	}
	m.refuses(codeUsage, "--image goes with --write", "channel", "resolve", "web:prod", "--image", "x/web")
	m.refuses(codeInput, "nothing in it is the image other.example/web", append([]string{"channel", "resolve", "web:prod", "--image", "other.example/web"}, pins...)...)
}

// A channel's reference follows its verified log, and not the tag; without a policy it is refused.
func TestChannelReference(t *testing.T) {
	t.Parallel()
	m := newPromoter(t)
	first := m.publish("build.key", config.FormLegacy)
	second := m.publish("build.key", config.FormLegacy, another)
	m.ok(m.promoter("promote-1", "promote", "web:prod", first)...)
	m.ok("copy", second, "web:prod") // anybody on this machine may move the tag
	m.ok("install", "web:prod", "--root", m.path("root"), "--output", "json")
	if !strings.Contains(m.out.String(), `"ref": "`+first+`"`) {
		t.Errorf("it is installed: %s", m.out)
	}
	m.ok("inspect", "web:prod", "--output", "json")
	if !strings.Contains(m.out.String(), strings.TrimPrefix(first, "web@")) {
		t.Errorf("%s", m.out)
	}
	m.ok("copy", second, "web:latest")
	m.ok("install", "web:latest", "--root", m.path("root"), "--output", "json")
	if !strings.Contains(m.out.String(), `"ref": "`+second+`"`) {
		t.Errorf("a tag that is no channel's: %s", m.out)
	}
	m.ok(m.promoter("promote-1", "revoke", "web:prod", first, "--reason", "poisoned")...)
	m.refuses(codeRefused, "is revoked in channel web:prod: poisoned", "install", "web:prod", "--root", m.path("root"))
	m.refuses(codeNotFound, "web:staging", "install", "web:staging", "--root", m.path("root"))
	m.Environ = nil
	for _, verb := range [][]string{{"install", "web:prod", "--root", m.path("root")}, {"run", "web:prod"}, {"inspect", "web:prod"}} {
		m.refuses(codeUsage, "web:prod is a channel, and no policy on this machine says whose promotions count", verb...)
	}
	m.ok("install", "web:latest", "--root", m.path("root"))
	m.ok("install", first, "--root", m.path("root"))
}

// servedHost serves a store's registry to who may push, and returns its host.
func servedHost(t *testing.T) string {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	own := embedded.Open(st.Dir(store.Registry))
	book := tokens.Open(st)
	_, secret, err := book.Create("promoter", []tokens.Scope{{Verb: tokens.Push, Pattern: "*"}}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	handler := server.New(own, book, server.Config{Listen: "127.0.0.1:0"})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.SetBasicAuth("anybody", secret)
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		web.Close()
		_, _ = own.Close(), st.Close()
	})
	return strings.TrimPrefix(web.URL, "http://")
}

// Staging is in the store's registry, production in another one: the rules say so, and the artifact
// goes along. Whoever reads production is led there, and a third registry has a copy of it.
func TestChannelInAnotherRegistry(t *testing.T) {
	t.Parallel()
	m := newPromoter(t)
	home, third := servedHost(t)+"/team", servedHost(t)
	if err := KeysGenerate(m.Session, m.path("approve-1"), []byte("a passphrase")); err != nil {
		t.Fatal(err)
	}
	m.ok("trust", "add-key", "approve-1="+m.path("approve-1.pub"), "--role", "approve")
	m.signRoot()
	m.write("channels.yaml", strings.Replace(rulesText, "{name: prod,", "{name: prod, registry: "+home+",", 1))
	m.write("policy.yaml", strings.Replace(built, "rules:", "channels: channels.yaml\nrules:", 1))
	m.ok("channel", "rules", "sign", m.path("channels.yaml"), "--trust", m.path("trust.yaml"), "--key", m.path("root.key"), "--passphrase-file", m.path("pw"))
	ref := m.publish("build.key", config.FormLegacy)
	digest := strings.TrimPrefix(ref, "web@")
	m.ok(m.promoter("promote-1", "promote", "web:staging", ref)...)
	m.refuses(codeRefused, "wants 1 approvals", m.promoter("promote-1", "promote", "web:prod", "--from", "staging")...)
	m.ok(m.promoter("approve-1", "approve", "web:prod", ref)...)
	if m.printed() != ref {
		t.Errorf("approved is %s", m.printed())
	}
	m.ok("channel", "probe", "web:prod")
	if m.printed() != "conditional" {
		t.Errorf("it is %s", m.printed())
	}
	m.ok(m.promoter("promote-1", "promote", "web:prod", "--from", "staging")...)
	there := home + "/web@" + digest
	if m.printed() != there {
		t.Errorf("it prints %s", m.printed())
	}
	m.ok("channel", "history", "web:prod")
	if !strings.Contains(m.out.String(), "from staging, approved by ben") {
		t.Errorf("%s", m.out)
	}
	m.ok("channel", "check", "web:prod")
	m.ok("install", "web:prod", "--root", m.path("root"), "--output", "json")
	if !strings.Contains(m.out.String(), there) {
		t.Errorf("%s", m.out)
	}
	m.ok("channel", "mirror", "web:prod", third)
	if m.printed() != third+"/web@"+digest {
		t.Errorf("the copy is %s", m.printed())
	}
	m.ok("channel", "resolve", third+"/web:prod")
	if m.printed() != third+"/web@"+digest {
		t.Errorf("the copy resolves to %s", m.printed())
	}
	m.refuses(codeRefused, "is in another registry by its rule: "+home+"/web", m.promoter("promote-1", "refresh", third+"/web:prod")...)
	m.refuses(codeRefused, "is written there by its rule", "channel", "mirror", "web:prod", home)
	m.refuses(codeUsage, "--last must be at least 1", "channel", "mirror", "web:prod", third, "--last", "0")
	m.ok(m.promoter("promote-2", "refresh", "web:prod")...)
}
