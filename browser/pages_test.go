package browser

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"ampoule/service/web"
	"ampoule/service/web/webtest"
)

// shown is a page, and the name of its picture.
type shown struct {
	name, path string
	empty      bool
}

func pages() []shown {
	digest := func(n int) string { return webtest.Digest(n) }
	return []shown{
		{"builds", "/builds", false},
		{"builds-empty", "/builds", true},
		{"build-running", "/builds/" + webtest.Running, false},
		{"build-failed", "/builds/" + webtest.Broken, false},
		{"build-done", "/builds/" + webtest.Finished, false},
		{"build-queued", "/builds/" + webtest.Waiting, false},
		{"log", "/builds/" + webtest.Broken + "/log", false},
		{"log-search", "/builds/" + webtest.Broken + "/log?q=pg_config", false},
		{"artifacts", "/artifacts", false},
		{"artifact", "/artifacts/web@" + digest(20), false},
		{"artifact-bare", "/artifacts/payments/api@" + digest(23), false},
		{"diff", "/diff?" + url.Values{"a": {"web@" + digest(21)}, "b": {"web@" + digest(20)}}.Encode(), false},
		{"channels", "/channels", false},
		{"channels-empty", "/channels", true},
		{"channel", "/channels/web:prod", false},
		{"channel-refused", "/channels/shop/prices:prod", false},
		{"hosts", "/hosts", false},
		{"recipes", "/recipes", false},
		{"recipe", "/recipes/web", false},
		{"workers", "/workers", false},
		{"audit", "/audit", false},
		{"not-found", "/builds/none", false},
		{"login", "/login", false},
	}
}

// visitors opens pages as whoever sees them: somebody of a service with examples, somebody of one with nothing,
// and for the login nobody yet.
func visitors(t *testing.T, l look) func(p shown) *window {
	t.Helper()
	full, empty, nobody := open(t, webtest.Example(), l), open(t, webtest.Empty(), l), open(t, webtest.Example(), l)
	full.login(webtest.TokenAll)
	empty.login(webtest.TokenAll)
	return func(p shown) *window {
		w := full
		switch {
		case p.empty:
			w = empty
		case p.path == "/login":
			w = nobody
		}
		w.at(p.path)
		return w
	}
}

// axe is the program that looks for what keeps people from using a page.
func axe(t *testing.T) string {
	t.Helper()
	script, err := os.ReadFile(filepath.Join("node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatalf("%v (make browser installs it)", err)
	}
	return string(script)
}

// violation is something that axe has found.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML, FailureSummary string
	}
}

// TestEverybodyCanUse has axe look at every page in every look: it finds nothing. No page is wider
// than its window.
func TestEverybodyCanUse(t *testing.T) {
	t.Parallel()
	program := axe(t)
	for _, l := range looks {
		t.Run(l.String(), func(t *testing.T) {
			t.Parallel()
			at := visitors(t, l)
			for _, p := range pages() {
				w := at(p)
				if over := ask[int](w, `document.scrollingElement.scrollWidth - window.innerWidth`); over > 0 {
					t.Errorf("%s: %d pixels wider than the window", p.name, over)
				}
				// What is folded is looked at, too.
				w.run(script(`for (const d of document.querySelectorAll("details")) d.open = true`), script(program))
				text := ask[string](w, `axe.run(document, {resultTypes: ["violations"]}).then((r) => JSON.stringify(r.violations))`)
				var found []violation
				if err := json.Unmarshal([]byte(text), &found); err != nil {
					t.Fatal(err)
				}
				for _, v := range found {
					for _, n := range v.Nodes {
						t.Errorf("%s: %s (%s): %s\n%s\n%s", p.name, v.ID, v.Impact, v.Help, n.HTML, n.FailureSummary)
					}
				}
			}
		})
	}
}

// inDocs are the pictures beyond those in the first look that the docs have.
var inDocs = map[string]look{"log": looks[1], "channel": looks[1], "build-failed": looks[3], "artifact": looks[3]}

// TestPictures takes a picture of each page in each look. It fails where one is empty, or too large
// for the docs.
func TestPictures(t *testing.T) {
	for _, l := range looks {
		at := visitors(t, l)
		for _, p := range pages() {
			w := at(p)
			data, err := small(w.picture(l))
			if err != nil {
				t.Fatal(err)
			}
			if len(data) < 2<<10 || len(data) > 100<<10 {
				t.Errorf("the picture of %s, %s, has %d bytes", p.name, l, len(data))
			}
			name := p.name + ".png"
			if l != looks[0] {
				name = p.name + "-" + l.String() + ".png"
			}
			if *pictures == "" || l != looks[0] && inDocs[p.name] != l {
				continue
			}
			if err := os.WriteFile(filepath.Join(*pictures, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// picture takes a picture of a page, down to about two windows.
func (w *window) picture(l look) []byte {
	w.t.Helper()
	height := min(ask[float64](w, `Math.ceil(document.documentElement.getBoundingClientRect().height)`), 1.7*float64(l.height))
	beyond := true
	taken, err := chromedp.Call(w.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{
		CaptureBeyondViewport: &beyond, Clip: &page.Viewport{Width: float64(l.width), Height: height, Scale: 1},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return taken.Data
}

// small is a picture in its 256 most frequent colours: pages have few others.
func small(data []byte) ([]byte, error) {
	whole, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	counts := map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(whole.At(x, y)).(color.RGBA) }
	size := whole.Bounds()
	for y := size.Min.Y; y < size.Max.Y; y++ {
		for x := size.Min.X; x < size.Max.X; x++ {
			counts[at(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	var palette color.Palette
	for _, c := range colours[:min(len(colours), 256)] {
		palette = append(palette, c)
	}
	known := map[color.RGBA]uint8{}
	few := image.NewPaletted(size, palette)
	for y := size.Min.Y; y < size.Max.Y; y++ {
		for x := size.Min.X; x < size.Max.X; x++ {
			c := at(x, y)
			i, ok := known[c]
			if !ok {
				i = uint8(palette.Index(c))
				known[c] = i
			}
			few.SetColorIndex(x, y, i)
		}
	}
	var b bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, few)
	return b.Bytes(), err
}

// TestLiveBuild wants a page to follow its build without being loaded again.
func TestLiveBuild(t *testing.T) {
	t.Parallel()
	s := webtest.Example()
	w := open(t, s, looks[0])
	w.login(webtest.TokenAll)
	w.at("/builds/" + webtest.Running)
	w.run(script(`window.same = true`), focus(`.status a.button`))
	s.Change(webtest.Running, func(b *web.Build) { b.State = web.Gating })
	w.until(`document.querySelector(".status .state").textContent === "Gating"`)
	w.until(`document.getElementById("announce").textContent === "Gating"`)
	if !ask[bool](w, `window.same && document.activeElement.textContent === "Log"`) {
		t.Error("the page was loaded again, or the focus is lost")
	}
	s.Change(webtest.Running, func(b *web.Build) { b.State, b.Finished, b.Ref = web.Done, webtest.Now, "web@"+webtest.Digest(20) })
	w.until(`document.querySelector(".status .state").textContent === "Done" && !document.querySelector("button.danger")`)

	w.at("/builds")
	s.Change(webtest.Waiting, func(b *web.Build) { b.State = web.Publishing })
	w.until(`document.querySelector(".rows .state").textContent === "Publishing"`)
}

// TestLiveWaits wants what somebody presses or has selected to stay until they are done, although the
// build goes on.
func TestLiveWaits(t *testing.T) {
	t.Parallel()
	s := webtest.Example()
	w := open(t, s, looks[0])
	w.login(webtest.TokenAll)
	w.at("/builds/" + webtest.Running)
	// What the service sends is counted, so that a change is known to have come.
	w.run(script(`window.states = 0;
		new EventSource(document.querySelector("[data-live]").dataset.live).addEventListener("state", () => window.states++)`))
	w.until(`window.states > 0`)
	change := func(state web.State) {
		t.Helper()
		before := ask[int](w, `window.states`)
		s.Change(webtest.Running, func(b *web.Build) { b.State = state })
		w.until(fmt.Sprintf(`window.states > %d`, before))
	}
	const shown = `document.querySelector(".status .state").textContent`

	w.run(script(`document.getSelection().selectAllChildren(document.querySelector(".facts dd"))`))
	change(web.Gating)
	if got := ask[string](w, shown); got != "Building" {
		t.Errorf("%s is drawn under what is selected", got)
	}
	w.run(script(`document.getSelection().removeAllRanges()`))
	w.until(shown + ` === "Gating"`)

	w.run(focus(`button.danger`))
	change(web.Publishing)
	w.until(shown + ` === "Publishing"`)
	if !ask[bool](w, `document.activeElement.matches("button.danger")`) {
		t.Error("the button has lost the focus")
	}

	at := ask[struct{ X, Y float64 }](w, `(() => { const b = document.querySelector("button.danger").getBoundingClientRect(); return { X: b.x + b.width / 2, Y: b.y + b.height / 2 } })()`)
	mouse := func(what input.DispatchMouseEventType) {
		t.Helper()
		w.run(call(input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: what, X: at.X, Y: at.Y, Button: input.MouseButtonLeft, ClickCount: 1}))
	}
	mouse(input.DispatchMouseEventTypeMousePressed)
	change(web.Gating)
	mouse(input.DispatchMouseEventTypeMouseReleased)
	w.until(`document.querySelector(".notice.good") !== null`)
	if asked := s.Asked(); len(asked) != 1 || asked[0] != "ann cancel "+webtest.Running {
		t.Errorf("asked %q", asked)
	}
}

// TestFollowLog wants new lines to come, and the view to stay at the end until somebody looks up.
func TestFollowLog(t *testing.T) {
	t.Parallel()
	s := webtest.Example()
	w := open(t, s, looks[0])
	w.login(webtest.TokenAll)
	w.at("/builds/" + webtest.Running + "/log")
	const end = `(() => { const l = document.querySelector("[data-log]"); return Math.abs(l.scrollHeight - l.clientHeight - l.scrollTop) < 3 })()`
	w.until(end)
	s.Write(webtest.Running, "wheel numpy==2.3.1 | <b>the next</b> line\n")
	w.until(`document.querySelector("[data-log] li:last-child span").textContent === "wheel numpy==2.3.1 | <b>the next</b> line"`)
	w.until(end)
	w.run(script(`document.querySelector("[data-follow] input").click(); document.querySelector("[data-log]").scrollTop = 0`))
	s.Write(webtest.Running, "and another\n")
	w.until(`document.querySelector("[data-log] li:last-child span").textContent === "and another"`)
	if ask[int](w, `document.querySelector("[data-log]").scrollTop`) != 0 {
		t.Error("the view moves although nobody follows")
	}
	s.Change(webtest.Running, func(b *web.Build) { b.State = web.Done })
	w.until(`document.getElementById("announce").textContent === "The log has ended"`)
}

// TestToTheError wants a failed build's page to lead to the line that says what went wrong.
func TestToTheError(t *testing.T) {
	t.Parallel()
	w := open(t, webtest.Example(), looks[0])
	w.login(webtest.TokenAll)
	w.at("/builds/" + webtest.Broken)
	w.run(chromedp.Click(`//a[text()="To the error in the log"]`))
	w.until(`location.hash === "#L5" && document.querySelector("li:target span").textContent.includes("pg_config executable not found")`)
}

// TestKeyboard wants everything to be reached by the keyboard alone.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	s := webtest.Example()
	w := open(t, s, looks[0])
	w.login(webtest.TokenAll)
	w.at("/builds")
	w.run(chromedp.KeyEvent(kb.Tab))
	if got := ask[string](w, `document.activeElement.textContent`); got != "Skip to the content" {
		t.Errorf("the first stop is %q", got)
	}
	w.run(chromedp.KeyEvent(kb.Enter))
	w.until(`document.activeElement.id === "main"`)
	w.run(chromedp.KeyEvent("/"))
	w.until(`document.activeElement.name === "recipe"`)
	// What drives the browser writes the slash, too, which a browser does not.
	w.run(script(`document.activeElement.value = ""`), chromedp.KeyEvent("payments/api\r"))
	w.until(`location.search.includes("recipe=payments") && document.querySelectorAll(".row").length === 2`)

	w.at("/channels/web:prod")
	w.run(focus(`.candidate summary`), chromedp.KeyEvent(kb.Enter), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent("release 42"), chromedp.KeyEvent(kb.Enter))
	w.until(`document.querySelector(".notice.good") !== null`)
	if got, want := strings.Join(s.Asked(), "\n"), "ann promote web:prod "+webtest.Digest(20)+" release 42"; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
	// What has the focus is seen to have it.
	w.run(focus(`.candidate summary`), chromedp.KeyEvent(kb.Tab))
	if got := ask[string](w, `getComputedStyle(document.activeElement).outlineStyle`); got != "solid" {
		t.Errorf("the outline of what has the focus is %q", got)
	}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	w := open(t, webtest.Example(), looks[0])
	w.login(webtest.TokenAll)
	w.at("/artifacts/web@" + webtest.Digest(20))
	// The clipboard is the machine's: what a page gives to it is kept here.
	w.run(script(`navigator.clipboard.writeText = async (text) => { window.copied = text }`), chromedp.Click(chromedp.CSS(`h1 .copy`)))
	w.until(`document.getElementById("announce").textContent === "Copied"`)
	if got, want := ask[string](w, `window.copied`), "web@"+webtest.Digest(20); got != want {
		t.Errorf("copied %q, want %q", got, want)
	}
}

// TestWithoutScript wants each page to say the same to whom no script runs, and forms to work.
func TestWithoutScript(t *testing.T) {
	t.Parallel()
	s := webtest.Example()
	w := open(t, s, looks[2])
	w.run(call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	w.login(webtest.TokenAll)
	for _, p := range pages() {
		if p.empty {
			continue
		}
		w.at(p.path)
		heading, copies := ask[string](w, `document.querySelector("h1").textContent`), ask[int](w, `[...document.querySelectorAll(".copy")].filter((b) => b.checkVisibility()).length`)
		if heading == "" || copies > 0 {
			t.Errorf("%s: heading %q, %d buttons that do nothing", p.name, heading, copies)
		}
	}
	w.at("/builds/" + webtest.Running)
	w.run(chromedp.Click(chromedp.CSS("button.danger")), chromedp.WaitVisible(chromedp.CSS(".notice.good")))
	if asked := s.Asked(); len(asked) != 1 || asked[0] != "ann cancel "+webtest.Running {
		t.Errorf("asked %q", asked)
	}
}

// TestNothingRuns wants what others have written to stay text in a real browser, in what comes
// later, too.
func TestNothingRuns(t *testing.T) {
	t.Parallel()
	const canary = `<img src=x onerror="window.canary=1"><script>window.canary=1</script>`
	s := webtest.Example()
	s.Change(webtest.Running, func(b *web.Build) { b.Recipe, b.Caller = canary, canary })
	w := open(t, s, looks[0])
	w.login(webtest.TokenAll)
	for _, path := range []string{"/builds", "/builds/" + webtest.Running, "/builds/" + webtest.Running + "/log"} {
		w.at(path)
		s.Write(webtest.Running, canary+"\n")
		s.Change(webtest.Running, func(b *web.Build) { b.Worker = canary + path })
		w.until(fmt.Sprintf(`document.body.textContent.includes(%q)`, "window.canary=1"))
		if ask[bool](w, `"canary" in window || document.querySelector("img[src=x]") !== null`) {
			t.Errorf("%s: what was written runs", path)
		}
	}
}
