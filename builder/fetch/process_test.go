package fetch

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"ampoule/store"
)

// childVariable makes the test binary a process that fetches an item: it holds a
// task as JSON.
const childVariable = "FETCH_TEST_CHILD"

type task struct {
	Store, Mirror string
	Item          Item
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		if err := fetchTask(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func fetchTask(text string) error {
	var job task
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		return err
	}
	st, err := store.Open(job.Store)
	if err != nil {
		return err
	}
	return impatient(st, map[string]Source{Debian: {Mirrors: []string{job.Mirror}}}).Fetch(context.Background(), job.Item)
}

func process(t *testing.T, st *store.Store, mirror string, item Item) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(task{st.Root(), mirror, item})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	return cmd
}

// What a killed process has received, the next one does not ask for again.
func TestKill(t *testing.T) {
	t.Parallel()
	content := noise(40, 4<<20)
	const half = 2 << 20
	s := serve(t, hang(content, half), whole(content))
	st := openStore(t)
	cmd := process(t, st, s.URL, deb(content))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	partialFile := st.Dir(store.Tmp) + "/partial-" + deb(content).SHA256
	for received := int64(0); received < half; time.Sleep(5 * time.Millisecond) {
		if info, err := os.Stat(partialFile); err == nil {
			received = info.Size()
		}
		if t.Context().Err() != nil {
			t.Fatal("the child received nothing")
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	if st.Has(deb(content).SHA256) {
		t.Fatal("half of the item is visible")
	}
	again, err := store.Open(st.Root())
	if err != nil {
		t.Fatal(err)
	}
	f := impatient(again, map[string]Source{Debian: {Mirrors: []string{s.URL}}})
	if err := f.Fetch(t.Context(), deb(content)); err != nil {
		t.Fatal(err)
	}
	checkStored(t, f, deb(content), content)
	if r := s.seen()[1].Header.Get("Range"); r != fmt.Sprintf("bytes=%d-", half) {
		t.Errorf("asked again for %q", r)
	}
}

// Two processes that want one item fetch it once.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	content := noise(41, 300_000)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for part := range 10 {
			w.Write(content[part*30_000 : (part+1)*30_000])
			w.(http.Flusher).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	})
	st := openStore(t)
	var group sync.WaitGroup
	for range 3 {
		cmd := process(t, st, s.URL, deb(content))
		group.Go(func() {
			if err := cmd.Run(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	checkStored(t, impatient(st, nil), deb(content), content)
	if n := len(s.seen()); n != 1 {
		t.Errorf("%d requests", n)
	}
	if kept, err := os.ReadDir(st.Dir(store.Tmp)); err != nil || len(kept) > 0 {
		t.Errorf("left behind: %v, %v", kept, err)
	}
}
