//go:build docker

package endtoend

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/internal/postgres"
	"ampoule/service/database"
	"ampoule/service/queue/history"
)

// before is the program as it was before the database's last migration. It is kept for later runs.
func before(t *testing.T) string {
	t.Helper()
	root := filepath.Join("..", "..", "..")
	commit := run(t, "git", "-C", root, "log", "-1", "--diff-filter=A", "--format=%P", "--", "service/database/migrations")
	commit, _, _ = strings.Cut(commit, " ")
	if commit == "" {
		t.Fatal("the repository has no commit before the last migration: its history is needed")
	}
	dir := filepath.Join(cache, "before", commit)
	made := filepath.Join(dir, "ampoule-before")
	if _, err := os.Stat(made); err == nil {
		return made
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "sh", "-c", `git -C "$1" archive "$2" | tar -x -C "$3"`, "sh", root, commit, dir)
	run(t, "go", "build", "-C", dir, "-o", made+".new", "./cmd/ampoule")
	if err := os.Rename(made+".new", made); err != nil {
		t.Fatal(err)
	}
	return made
}

// TestTwoVersions has the program as it was before the database's last migration, and this one, serve
// from one PostgreSQL. Where both compute the same key, each builds what the other has accepted, and both
// answer with its digest. Otherwise what one has accepted waits for its worker.
func TestTwoVersions(t *testing.T) {
	beside(t)
	old := before(t)
	server, err := postgres.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	place := []string{"--database", server.URL("postgres")}
	serve := func(program string, more ...string) (*process, string) {
		args := append([]string{"--store", filepath.Join(cache, "store"), "serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0"}, place...)
		return newProcess(t, program, append(args, more...)...)
	}
	oldWorker, oldURL := serve(old)
	// The tables are the older program's until here.
	out, err := exec.CommandContext(t.Context(), old, append([]string{"token", "create", "versions", "--scope", "admin:*"}, place...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(string(out))
	newAPI, newURL := serve(program, "--no-worker")
	done := func(what, id string) {
		t.Helper()
		key := awaitDone(t, token, what, newURL, id)
		for _, url := range []string{oldURL, newURL} {
			var published struct{ Digest string }
			if askJSON(t, token, url+"/v1/keys/"+key, &published); published.Digest == "" {
				t.Errorf("%s: %s has no digest for the key", what, url)
			}
		}
	}

	file := recipeOfVersions(t)
	same := keyBy(t, old, file) == keyBy(t, program, file)
	t.Logf("both compute the same key: %t", same)
	first := submitTo(t, token, archiveOf(t, file), "first", newURL)
	if same {
		done("accepted by the new one, built by the old one", first)
	} else {
		awaitGivenBack(t, token, newURL, first)
	}
	oldWorker.end()
	newAPI.end()

	_, oldURL = serve(old, "--no-worker")
	_, newURL = serve(program)
	if !same {
		done("given back by the old one, built by the new one", first)
	}
	second := submitTo(t, token, archiveOf(t, recipeOfVersions(t)), "second", oldURL)
	if same {
		done("accepted by the old one, built by the new one", second)
	} else {
		awaitGivenBack(t, token, newURL, second)
		cancelled := in(t, "", []string{"AMPOULE_SERVER=" + newURL, "AMPOULE_TOKEN=" + token}, "cancel", second)
		if cancelled.code != 0 {
			t.Errorf("cancelling what waits for the old one: code %d\n%s", cancelled.code, cancelled.errs)
		}
	}

	db, err := database.Open(t.Context(), database.Options{URL: server.URL("postgres")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	faults, err := history.Check(t.Context(), db, []string{first, second}, true)
	if err != nil || len(faults) > 0 {
		t.Errorf("history: %v, %v", faults, err)
	}
}

// recipeOfVersions is the quickstart's recipe under a name of its own. It names no profile: an older
// program may not have it, or refuse where it is used. Its interpreter is the plain shared one that other
// tests have.
func recipeOfVersions(t *testing.T) (file string) {
	t.Helper()
	return quickstart(t, fmt.Sprintf("versions-%d", time.Now().UnixNano()),
		"[--enable-optimizations]", "[--enable-shared]", "\n  profile: ", "\n  # profile: ")
}

// keyBy is the key that a program computes for a recipe.
func keyBy(t *testing.T, program, file string) string {
	t.Helper()
	planned := run(t, program, "--store", filepath.Join(cache, "store"), "-f", file, "plan")
	line, _, _ := strings.Cut(planned, "\n")
	key, found := strings.CutPrefix(line, "key ")
	if !found {
		t.Fatalf("%s plans without a key:\n%s", program, planned)
	}
	return strings.TrimSpace(key)
}

// archiveOf is a submission of a recipe.
func archiveOf(t *testing.T, file string) []byte {
	t.Helper()
	archive := filepath.Join(filepath.Dir(file), "submission.tar.gz")
	run(t, "tar", "-C", filepath.Dir(file), "-czf", archive, "ampoule.yaml", "ampoule.lock", "requirements.txt")
	data, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// awaitDone waits until a build is done, and returns its key.
func awaitDone(t *testing.T, token, what, url, id string) (key string) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		var b struct {
			State, Key string
			Failure    struct{ Message string }
		}
		switch askJSON(t, token, url+"/v1/builds/"+id, &b); {
		case b.State == "done":
			return b.Key
		case b.State == "failed" || b.State == "cancelled" || time.Since(begun) > buildTime:
			t.Fatalf("%s: build %s is %s: %s", what, id, b.State, b.Failure.Message)
		}
	}
}

// awaitGivenBack waits until a worker has given a build back, as another version has its key.
func awaitGivenBack(t *testing.T, token, url, id string) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(200 * time.Millisecond) {
		var told struct {
			Events []struct{ What, State, Message string }
		}
		askJSON(t, token, url+"/v1/builds/"+id+"/events", &told)
		for _, e := range told.Events {
			if e.What == "released" && e.State == "queued" && strings.Contains(e.Message, "for this worker's version") {
				return
			}
		}
	}
	t.Fatalf("no worker gives build %s back", id)
}

// askJSON reads an answer.
func askJSON(t *testing.T, token, url string, into any) {
	t.Helper()
	s := &served{t: t, url: url, token: token}
	s.get("", into)
}
