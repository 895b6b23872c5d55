// Package browser tests the pages of the build service in a real browser: what they look like, what
// their script does, and whether everybody can use them. It is a module of its own, so that what
// drives the browser is no part of the program.
package browser

import (
	"context"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"ampoule/service/web"
	"ampoule/service/web/webtest"
)

// Where pictures go; empty takes none.
var pictures = flag.String("pictures", "", "the directory that gets a picture of each page")

// chromium is the one browser of all tests; each has a window of its own.
var chromium context.Context

func TestMain(m *testing.M) {
	flag.Parse()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("hide-scrollbars", true), chromedp.Flag("disable-dev-shm-usage", true))
	if os.Getuid() == 0 {
		// Its own sandbox does not work for root; it sees nothing but the pages of the tests.
		options = append(options, chromedp.NoSandbox)
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	var stopFirst context.CancelFunc
	chromium, stopFirst = chromedp.NewContext(allocator)
	if err := chromedp.Do(chromium); err != nil {
		fmt.Fprintln(os.Stderr, "starting chromium:", err, "(make setup installs it)")
		os.Exit(1)
	}
	code := m.Run()
	stopFirst()
	stop()
	os.Exit(code)
}

// window is a tab of the browser that looks at a service.
type window struct {
	t       testing.TB
	ctx     context.Context //nolint:containedctx // a tab is one, in this library
	service *webtest.Service
	address string

	mu    sync.Mutex
	wrong []string
}

// look is how a window is.
type look struct {
	width, height int64
	dark          bool
}

func (l look) String() string {
	if l.dark {
		return fmt.Sprintf("%d-dark", l.width)
	}
	return fmt.Sprintf("%d-light", l.width)
}

var looks = []look{{1280, 800, false}, {1280, 800, true}, {390, 844, false}, {390, 844, true}}

// open serves a service's pages and opens a window at them. What a page reports as an error, and
// each request for what is not the service's own, fails the test.
func open(t testing.TB, s *webtest.Service, l look) *window {
	t.Helper()
	pages, err := web.New(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(pages)
	ctx, cancel := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext())
	ctx, cancelTime := context.WithTimeout(ctx, 90*time.Second)
	w := &window{t: t, ctx: ctx, service: s, address: server.URL}
	t.Cleanup(func() {
		cancelTime()
		cancel()
		server.CloseClientConnections()
		server.Close()
		for _, wrong := range w.wrong {
			t.Error(wrong)
		}
	})
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	w.run(
		call(network.Enable, network.EnableParams{}), call(log.Enable, cdp.Empty{}),
		call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: l.width, Height: l.height, DeviceScaleFactor: 1, Mobile: l.width < 600}),
		call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}}),
	)
	if err := chromedp.Listen(ctx, w.hear); err != nil {
		t.Fatal(err)
	}
	return w
}

// call is a command of the browser's protocol whose answer nobody wants.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

// hear notes what goes wrong in a page.
func (w *window) hear(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		// What a test asks for on purpose answers with an error.
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			w.wrong = append(w.wrong, "the browser says: "+e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		w.wrong = append(w.wrong, "the script fails: "+(&chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails}).Error())
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, w.address+"/") {
			w.wrong = append(w.wrong, "the page asks for "+e.Request.URL)
		}
	}
}

func (w *window) run(actions ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	if err := chromedp.Do(w.ctx, actions...); err != nil {
		w.t.Fatal(err)
	}
}

// at loads a page.
func (w *window) at(path string) {
	w.t.Helper()
	w.run(chromedp.Navigate(w.address + path))
}

// login logs in as a person does, by the keyboard alone.
func (w *window) login(token string) {
	w.t.Helper()
	w.at("/login")
	w.run(chromedp.SendKeys(chromedp.CSS("#token"), token+"\r"), chromedp.WaitVisible(chromedp.CSS("nav[aria-label=Pages]")))
}

// ask gives the value of an expression in the page.
func ask[T any](w *window, expression string) T {
	w.t.Helper()
	value, err := chromedp.Run(w.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		w.t.Fatalf("asking for %.200s: %v", expression, err)
	}
	return value
}

// until waits until an expression in the page is true. A page that is being loaded is asked again.
func (w *window) until(expression string) {
	w.t.Helper()
	const patience, pause = 15 * time.Second, 50 * time.Millisecond
	for begun := time.Now(); ; time.Sleep(pause) {
		found, err := chromedp.Run(w.ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if found {
			return
		}
		if time.Since(begun) > patience || w.ctx.Err() != nil {
			w.t.Fatalf("waiting for %s: %v", expression, err)
		}
	}
}

// script runs a script in the page, for what it does.
func script(text string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](text)
}

// focus gives the focus to an element. It finds and focuses it in one step: a page that follows its
// build may put a new element in place of one that was only found.
func focus(selector string) chromedp.Action[chromedp.Void] {
	return script("document.querySelector(" + strconv.Quote(selector) + ").focus()")
}
