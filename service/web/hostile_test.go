package web_test

import (
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"ampoule/service/web"
	"ampoule/service/web/webtest"
)

// canaries are texts that would run, or break out of where they stand.
var canaries = []string{
	`<script>canary()</script>`, `"><img src=x onerror=canary()>`, `' onmouseover='canary()`, `javascript:canary()`,
	`</title><script>canary()</script>`, "<!--", `{{.Who}}`, "\x1b]0;canary\x07\x1b[31m", "\u202egnp.canary", "a\r\nSet-Cookie: canary=1",
}

// TestHostileTexts wants what others have written to be shown, and to do nothing.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	for _, canary := range canaries {
		s := webtest.Example()
		s.Change(webtest.Broken, func(b *web.Build) {
			b.Recipe, b.Caller, b.Worker, b.Platform, b.Ref, b.Key = canary, canary, canary, canary, canary, canary
			b.Failure = &web.Failure{Text: canary, Hints: []string{canary}, Step: canary}
			b.Steps[2].Task, b.Steps[2].Message, b.Steps[2].Cache = canary, canary, canary
			b.Inputs = []web.Input{{Kind: canary, Name: canary, Version: canary, SHA256: canary}}
		})
		s.Write(webtest.Broken, canary+"\n"+canary)
		v := visit(t, s, webtest.TokenAll)
		for _, page := range []string{"/builds", "/builds/" + webtest.Broken, "/builds/" + webtest.Broken + "/log", "/builds/" + webtest.Broken + "/log?q=canary", "/recipes"} {
			status, body := v.get(page)
			if status != http.StatusOK {
				t.Errorf("%s of %q: status %d", page, canary, status)
			}
			for _, fault := range faultsOf(body) {
				t.Errorf("%s of %q: %s", page, canary, fault)
			}
			if strings.ContainsAny(body, "\x1b\x07") {
				t.Errorf("%s of %q has bytes for terminals", page, canary)
			}
		}
		for _, page := range []string{"/builds?recipe=", "/artifacts?name=", "/builds/", "/recipes/", "/channels/", "/artifacts/", "/builds/" + webtest.Broken + "/log?q=", "/login?next="} {
			_, body := v.get(page + escape(canary))
			for _, fault := range faultsOf(body) {
				t.Errorf("%s%q: %s", page, canary, fault)
			}
		}
	}
}

// TestHostileStays wants a hostile name to be text on the page, not to be left out.
func TestHostileStays(t *testing.T) {
	t.Parallel()
	s := webtest.Example()
	s.Change(webtest.Broken, func(b *web.Build) { b.Failure.Text = canaries[0] })
	_, body := visit(t, s, webtest.TokenAll).get("/builds/" + webtest.Broken)
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type == html.TextNode && n.Data == canaries[0] && n.Parent.Data == "pre" {
			return
		}
	}
	t.Error("the error's text is not on the page")
}

func escape(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		b.WriteString("%" + string("0123456789ABCDEF"[c>>4]) + string("0123456789ABCDEF"[c&15]))
	}
	return b.String()
}
