package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ampoule/builder/progress"
	"ampoule/builder/progress/progresstest"
	"ampoule/faults"
)

func TestFetch(t *testing.T) {
	t.Parallel()
	contents := map[string][]byte{}
	var items []Item
	var active, most atomic.Int64
	for i := range 24 {
		content := noise(uint64(i), 1000+i)
		item := deb(content)
		item.File = fmt.Sprintf("pool/main/p/p+%d_1%%3a2~b.deb", i)
		contents["/"+item.File] = content
		items = append(items, item)
	}
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := active.Add(1)
		defer active.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		w.Write(contents[r.URL.Path])
	})
	f := fromDebian(t, s.URL)
	if err := f.Fetch(t.Context(), append(items, items[0])...); err != nil {
		t.Fatal(err)
	}
	for _, item := range items {
		checkStored(t, f, item, contents["/"+item.File])
	}
	if n := most.Load(); n < 2 || n > defaultJobs {
		t.Errorf("%d were fetched at once", n)
	}
	if err := f.Fetch(t.Context(), items...); err != nil {
		t.Fatal(err)
	}
	if n := len(s.seen()); n != len(items) {
		t.Errorf("%d requests for %d items", n, len(items))
	}
}

// What is damaged in the store is fetched again.
func TestFetchMends(t *testing.T) {
	t.Parallel()
	content := noise(1, 5000)
	item := deb(content)
	f := fromDebian(t, serve(t, whole(content)).URL)
	for range 2 {
		if err := f.Fetch(t.Context(), item); err != nil {
			t.Fatal(err)
		}
		checkStored(t, f, item, content)
		os.Chmod(f.store.Path(item.SHA256), 0o644)
		os.WriteFile(f.store.Path(item.SHA256), []byte("damage"), 0o644)
	}
}

func TestResume(t *testing.T) {
	t.Parallel()
	content := noise(2, 3<<20)
	const half = 3 << 19
	for name, first := range map[string]http.HandlerFunc{
		"cut":     cut(content, half),
		"stalled": hang(content, half),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, first, whole(content))
			f := fromDebian(t, s.URL)
			f.limits.stall = time.Second
			if err := f.Fetch(t.Context(), deb(content)); err != nil {
				t.Fatal(err)
			}
			checkStored(t, f, deb(content), content)
			requests := s.seen()
			if len(requests) != 2 || requests[1].Header.Get("Range") != fmt.Sprintf("bytes=%d-", half) {
				t.Errorf("%d requests, the last with range %q", len(requests), requests[len(requests)-1].Header.Get("Range"))
			}
		})
	}
}

// A later run asks for the rest, of the same server only where nothing has changed.
func TestResumeLater(t *testing.T) {
	t.Parallel()
	content, other := noise(3, 2<<20), noise(4, 2<<20)
	for name, served := range map[string][]byte{"the same": content, "replaced since": other} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, cut(served, 1<<20), whole(content))
			f := fromDebian(t, s.URL)
			f.limits.tries = 1
			var remote *RemoteError
			if err := f.Fetch(t.Context(), deb(content)); !errors.As(err, &remote) || !errors.Is(err, errTruncated) {
				t.Fatalf("a cut body gives %v", err)
			}
			f = impatient(f.store, f.config.Sources)
			if err := f.Fetch(t.Context(), deb(content)); err != nil {
				t.Fatal(err)
			}
			checkStored(t, f, deb(content), content)
			last := s.seen()[1]
			if last.Header.Get("Range") != "bytes=1048576-" || last.Header.Get("If-Range") == "" || len(s.seen()) != 2 {
				t.Errorf("%d requests, the last with %v", len(s.seen()), last.Header)
			}
		})
	}
}

// A wrong beginning costs one more request, not the mirror.
func TestResumeWrongBeginning(t *testing.T) {
	t.Parallel()
	content := noise(5, 100_000)
	for name, begun := range map[string]int{"shorter": 50_000, "as long": 100_000, "longer": 150_000} {
		for _, size := range []int64{0, 100_000} {
			t.Run(fmt.Sprint(name, size), func(t *testing.T) {
				t.Parallel()
				f := fromDebian(t, serve(t, whole(content)).URL)
				item := deb(content)
				item.Size = size
				w, err := f.store.Resume(t.Context(), item.SHA256)
				if err != nil {
					t.Fatal(err)
				}
				w.Write(noise(6, begun))
				w.Keep()
				if err := f.Fetch(t.Context(), item); err != nil {
					t.Fatal(err)
				}
				checkStored(t, f, item, content)
			})
		}
	}
}

// A partial file that is whole already is taken, with and without a known size.
func TestResumeWhole(t *testing.T) {
	t.Parallel()
	content := noise(7, 10_000)
	for _, size := range []int64{0, 10_000} {
		f := fromDebian(t, serve(t, whole(content)).URL)
		item := deb(content)
		item.Size = size
		w, err := f.store.Resume(t.Context(), item.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(content)
		w.Keep()
		if err := f.Fetch(t.Context(), item); err != nil {
			t.Fatal(err)
		}
		checkStored(t, f, item, content)
	}
}

// A server that never lets a download end does not keep the run for ever.
func TestEndlessTruncation(t *testing.T) {
	t.Parallel()
	content := noise(8, 100_000)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		cut(content, 50_000)(w, r)
	})
	f := fromDebian(t, s.URL)
	f.limits.gain = 1000
	var remote *RemoteError
	if err := f.Fetch(t.Context(), deb(content)); !errors.As(err, &remote) {
		t.Fatalf("got %v", err)
	}
	if n := len(s.seen()); n > 2*f.limits.tries {
		t.Errorf("%d requests", n)
	}
}

func TestMirrors(t *testing.T) {
	t.Parallel()
	content := noise(9, 10_000)
	good, wrong := whole(content), whole(noise(10, 10_000))
	loop := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }
	for name, c := range map[string]struct {
		first, second http.HandlerFunc
		// asked is how often the first mirror is asked.
		asked int
		want  error
	}{
		"absent, there":      {status(404), good, 1, nil},
		"gone, there":        {status(410), good, 1, nil},
		"forbidden, there":   {status(403), good, 1, nil},
		"broken, there":      {status(500), good, 6, nil},
		"busy, there":        {status(429), good, 6, nil},
		"wrong, there":       {wrong, good, 1, nil},
		"looping, there":     {loop, good, 11, nil},
		"cut to none, there": {cut(content, 0), good, 6, nil},
		"absent, gone":       {status(404), status(410), 1, &NotFoundError{}},
		"absent, broken":     {status(404), status(500), 1, &RemoteError{}},
		"absent, forbidden":  {status(404), status(403), 1, &RemoteError{}},
		"wrong, absent":      {wrong, status(404), 1, &RemoteError{}},
		"looping, looping":   {loop, loop, 11, &RemoteError{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := serve(t, c.first), serve(t, c.second)
			f := fromDebian(t, first.URL, second.URL)
			err := f.Fetch(t.Context(), deb(content))
			if n := len(first.seen()); n != c.asked {
				t.Errorf("the first mirror was asked %d times, want %d", n, c.asked)
			}
			checkFault(t, err, c.want)
			if c.want == nil {
				checkStored(t, f, deb(content), content)
				return
			}
			if want := name == "absent, broken"; faults.Passes(err) != want {
				t.Errorf("it may pass: %t, want %t", !want, want)
			}
			for _, part := range []string{first.URL, second.URL, "zlib1g", "1:1.2.13", deb(content).SHA256} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error does not name %s: %v", part, err)
				}
			}
			if f.store.Has(deb(content).SHA256) {
				t.Error("it is in the store")
			}
		})
	}
}

func TestWrongBytes(t *testing.T) {
	t.Parallel()
	content := noise(11, 10_000)
	for name, c := range map[string]struct {
		served []byte
		size   int64
		chunks bool
	}{
		"other":                {served: noise(12, 10_000)},
		"other, known size":    {served: noise(12, 10_000), size: 10_000},
		"longer":               {served: noise(12, 20_000), size: 10_000},
		"longer, unannounced":  {served: noise(12, 20_000), size: 10_000, chunks: true},
		"shorter":              {served: content[:9_999], size: 10_000},
		"shorter, unannounced": {served: content[:9_999], size: 10_000, chunks: true},
		"nothing":              {served: nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if !c.chunks {
					w.Header().Set("Content-Length", fmt.Sprint(len(c.served)))
				}
				w.Write(c.served)
				w.(http.Flusher).Flush()
			})
			f := fromDebian(t, s.URL)
			item := deb(content)
			item.Size = c.size
			err := f.Fetch(t.Context(), item)
			var wrong *HashError
			var remote *RemoteError
			if !errors.As(err, &wrong) || !errors.As(err, &remote) || wrong.Want != item.SHA256 {
				t.Fatalf("got %v", err)
			}
			if f.store.Has(item.SHA256) {
				t.Error("it is in the store")
			}
			if n := len(s.seen()); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// Slow is not stalled.
func TestSlow(t *testing.T) {
	t.Parallel()
	content := noise(13, 1000)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for i := range 10 {
			w.Write(content[i*100 : i*100+100])
			w.(http.Flusher).Flush()
			time.Sleep(400 * time.Millisecond)
		}
	})
	f := fromDebian(t, s.URL)
	// A busy machine is slow, too.
	f.limits.stall = 3 * time.Second
	if err := f.Fetch(t.Context(), deb(content)); err != nil {
		t.Fatal(err)
	}
	if n := len(s.seen()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// A server that takes the request and never answers is stalled too.
func TestSilent(t *testing.T) {
	t.Parallel()
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	f := fromDebian(t, s.URL)
	f.limits.stall, f.limits.tries = 50*time.Millisecond, 2
	if err := f.Fetch(t.Context(), deb(nil)); !errors.Is(err, errStalled) {
		t.Errorf("got %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	content := noise(14, 1000)
	busy := func(after string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", after)
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
	s := serve(t, busy("1"), whole(content))
	start := time.Now()
	if err := fromDebian(t, s.URL).Fetch(t.Context(), deb(content)); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(start); waited < time.Second {
		t.Errorf("waited %s", waited)
	}
	s = serve(t, busy("86400"), whole(content))
	var told *StatusError
	if err := fromDebian(t, s.URL).Fetch(t.Context(), deb(content)); !errors.As(err, &told) || told.Code != 503 {
		t.Errorf("got %v", err)
	}
	soon := http.Header{"Retry-After": {time.Now().Add(10 * time.Second).UTC().Format(http.TimeFormat)}}
	if d := retryAfter(soon); d < 5*time.Second || d > 10*time.Second {
		t.Errorf("a date gives %s", d)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	content := noise(15, 10_000)
	s := serve(t, hang(content, 100))
	f := fromDebian(t, s.URL)
	cause := errors.New("interrupted by hand")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(cause) })
	start := time.Now()
	if err := f.Fetch(ctx, deb(content)); !errors.Is(err, cause) && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %s", took)
	}
}

// All items that are gone are told in one go; another fault ends the rest.
func TestSeveralFaults(t *testing.T) {
	t.Parallel()
	a, b := deb(noise(16, 10)), deb(noise(17, 10))
	a.Name, b.Name = "libalpha", "libbeta"
	err := fromDebian(t, serve(t, status(404)).URL).Fetch(t.Context(), a, b)
	if err == nil || !strings.Contains(err.Error(), "libalpha") || !strings.Contains(err.Error(), "libbeta") {
		t.Errorf("got %v", err)
	}
}

func TestBadItems(t *testing.T) {
	t.Parallel()
	good := deb(nil)
	for name, spoil := range map[string]func(*Item){
		"prefix":       func(i *Item) { i.SHA256 = "sha256:" + i.SHA256 },
		"upper case":   func(i *Item) { i.SHA256 = strings.ToUpper(i.SHA256) },
		"above":        func(i *Item) { i.File = "../../etc/passwd" },
		"absolute":     func(i *Item) { i.File = "/etc/passwd" },
		"no file":      func(i *Item) { i.File = "" },
		"version path": func(i *Item) { i.Version = "../.." },
		"name dots":    func(i *Item) { i.Name = ".." },
		"no name":      func(i *Item) { i.Name = "" },
		"negative":     func(i *Item) { i.Size = -1 },
		"no source":    func(i *Item) { i.Source = "" },
		"unknown":      func(i *Item) { i.Source = "acme" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, status(500))
			item := good
			spoil(&item)
			if err := fromDebian(t, s.URL).Fetch(t.Context(), item); err == nil {
				t.Error("it is taken")
			}
			if n := len(s.seen()); n != 0 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	content := noise(18, 300_000)
	item := deb(content)
	f := fromDebian(t, serve(t, whole(content)).URL)
	r := progresstest.New()
	ctx := r.Context(t.Context())
	if err := f.Fetch(ctx, item); err != nil {
		t.Fatal(err)
	}
	var bytes, items, done bool
	events := r.Events()
	for _, e := range events {
		if e.Stage != progress.StageFetch {
			t.Errorf("stage %q", e.Stage)
		}
		bytes = bytes || e.Task == item.File && e.Kind == progress.Advanced && e.Done == 300_000 && e.Total == 300_000 && e.Unit == progress.Bytes
		items = items || e.Task == "" && e.Kind == progress.Advanced && e.Done == 1 && e.Total == 1 && e.Unit == progress.Items
		done = done || e.Task == item.File && e.Kind == progress.Done && !e.Reused
	}
	if !bytes || !items || !done {
		t.Errorf("events: %+v", events)
	}
	if err := f.Fetch(ctx, item); err != nil {
		t.Fatal(err)
	}
	events = r.Events()
	if last := events[len(events)-1]; !last.Reused || last.Kind != progress.Done {
		t.Errorf("last event of a second run: %+v", last)
	}
}

// Whoever wants an input that another build downloads waits for it, and says for whom.
func TestWaitingIsTold(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	content := noise(42, 200_000)
	item := deb(content)
	asked, release := make(chan bool, 10), make(chan bool)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- true
		select {
		case <-release:
		case <-r.Context().Done():
			return
		}
		whole(content)(w, r)
	})
	f := fromDebian(t, s.URL)
	first, second := progresstest.New(), progresstest.New()
	ended := make(chan error, 2)
	go func() { ended <- f.Fetch(progress.Of(first.Context(ctx), "web"), item) }()
	<-asked
	go func() { ended <- f.Fetch(second.Context(ctx), item) }()
	if e, ok := second.Await(ctx, progress.Waiting); !ok {
		t.Error("nobody is told of the waiting")
	} else if e.Stage != progress.StageFetch || e.Task != item.File || e.Holder.Build != first.Feed.Build() || e.Holder.Recipe != "web" {
		t.Errorf("%s %s waits for %+v", e.Stage, e.Task, e.Holder)
	}
	close(release)
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if n := len(s.seen()); n != 1 {
		t.Errorf("%d requests", n)
	}
	checkStored(t, f, item, content)
}
