package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/registry/server"
	"ampoule/registry/tokens"
	"ampoule/wiring"
)

// TestOwnClientPushes copies an artifact into a served registry, and installs it from there, with
// the credentials that docker login writes.
func TestOwnClientPushes(t *testing.T) {
	serving, out, errs := session(t, goodRecipe)
	log := filepath.Join(t.TempDir(), "access.log")
	docker := t.TempDir()
	t.Setenv("DOCKER_CONFIG", docker)
	err := serving.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		book := tokens.Open(w.Store)
		token := func(scope string) string {
			out.Reset()
			if err := TokenCreate(serving, book, strings.NewReplacer(":", "-", "/", "-", "*", "all").Replace(scope), []string{scope}, time.Time{}); err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(out.String())
		}
		pull, push := token("pull:*"), token("push:team/*")
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		ready, ended := make(chan string, 1), make(chan error, 1)
		go func() {
			ended <- ServeRegistry(ctx, serving, book, log, server.Config{Listen: "127.0.0.1:0"}, func(ctx context.Context, c server.Config, told func(string)) error {
				return server.Serve(ctx, w.Own, book, c, func(address string) { told(address); ready <- address })
			})
		}()
		address := <-ready
		login := func(secret string) {
			raw, err := json.Marshal(map[string]any{"auths": map[string]any{address: map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte("me:" + secret))}}})
			if err == nil {
				err = os.WriteFile(filepath.Join(docker, "config.json"), raw, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		pushAndInstall(t, address, login, pull, push)
		cancel()
		return <-ended
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
	raw, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(raw), `"token":"push-team-all"`) || strings.Contains(string(raw), "ampoule_") {
		t.Errorf("the access log is %s, %v", raw, err)
	}
	if strings.Contains(errs.String(), "ampoule_") || !strings.Contains(errs.String(), "reading and writing need a token") {
		t.Errorf("told: %s", errs)
	}
}

// pushAndInstall is what another machine does.
func pushAndInstall(t *testing.T, address string, login func(secret string), pull, push string) {
	t.Helper()
	s, _, errs := session(t, goodRecipe)
	err := s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		digest := publish(ctx, t, w, sampleTree(t))
		from, err := s.locate(ctx, w, "web@"+digest)
		if err != nil {
			return err
		}
		copyTo := func(name string) error {
			to, err := s.destination(w, address+"/"+name)
			if err != nil {
				return err
			}
			return Copy(ctx, s, from, to)
		}
		for _, c := range []struct {
			secret, name string
			code         int
		}{{"", "team/web", faults.Remote.Code()}, {pull, "team/web", faults.Remote.Code()}, {push, "other/web", faults.Remote.Code()}, {push, "team/web", codeDone}, {push, "team/web", codeDone}} {
			login(c.secret)
			if err := copyTo(c.name); ExitCode(err) != c.code || err != nil && strings.Contains(err.Error(), "ampoule_") {
				t.Errorf("copying to %s with %.3q ends with code %d, %v", c.name, c.secret, ExitCode(err), err)
			}
		}
		login(pull)
		reg, err := w.Registry()
		if err != nil {
			return err
		}
		return Install(ctx, s, reg, address+"/team/web@"+digest, installBelow(t.TempDir()))
	})
	if err != nil {
		t.Errorf("%v\n%s", err, errs)
	}
}
