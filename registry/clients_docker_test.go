//go:build docker

package registry_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/registry/tokens"
)

// foreign starts Debian's docker-registry, which has no referrers API, and returns its address.
func foreign(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, dir := free.Addr().String(), t.TempDir()
	free.Close()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\nlog: {level: error}\n", filepath.Join(dir, "content"), address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, "docker-registry", "serve", config)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: .ci/setup installs it", err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return address
		}
	}
	t.Fatalf("docker-registry does not answer:\n%s", said.String())
	return ""
}

// client runs a program of others, and returns what it prints.
func client(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := clientAt(t, t.TempDir(), program, args...)
	if err != nil {
		t.Error(err)
	}
	return out
}

// clientAt runs a program of others that keeps its tokens in a directory.
func clientAt(t *testing.T, home, program string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "HOME="+home, "REGISTRY_AUTH_FILE="+filepath.Join(home, "auth.json"))
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, messages.String())
	}
	return strings.TrimSpace(out.String()), err
}

// crane is compiled: it belongs to a library that is used here anyway.
func crane(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "crane")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/google/go-containerregistry/cmd/crane")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compiling crane: %v\n%s", err, out)
	}
	return program
}

// Programs of others read an artifact in the store's registry and in one of others, copy it from
// one to the other, and push it. `make clients` tries more of them with a real artifact.
func TestClients(t *testing.T) {
	e := embedded.Open(t.TempDir())
	ours, theirs, cranes := serve(t, e), foreign(t), crane(t)
	r, err := registry.Local(e)
	if err != nil {
		t.Fatal(err)
	}
	other, err := registry.Open(theirs)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := sample(t, key("1"), string(compile(t)))
	done, err := r.Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := registry.Copy(t.Context(), r, done.Ref, other, "web")
	if err != nil || copied.Digest != done.Digest {
		t.Fatalf("%+v, %v", copied, err)
	}
	source := ours + "/" + done.Ref
	for _, ref := range []string{source, copied.Ref} {
		client(t, cranes, "validate", "--remote", ref)
		for said, digest := range map[string]string{
			"crane":  client(t, cranes, "digest", ref),
			"skopeo": client(t, "skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", "docker://"+ref),
		} {
			if digest != done.Digest {
				t.Errorf("%s says of %s that it is %s", said, ref, digest)
			}
		}
	}
	to := func(name string) string { return theirs + "/" + name + ":v1" }
	client(t, cranes, "copy", source, to("crane"))
	client(t, "skopeo", "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+source, "docker://"+to("skopeo"))
	for _, name := range []string{"crane", "skopeo"} {
		if d, err := other.Resolve(t.Context(), to(name)); err != nil || d.Digest != done.Digest {
			t.Errorf("%s has copied %s, %v", name, d.Digest, err)
		}
	}

	docker(t, "", "pull", "--quiet", copied.Ref)
	remove(t, "rmi", "--force", copied.Ref, to("docker"))
	docker(t, "", "tag", copied.Ref, to("docker"))
	docker(t, "", "push", "--quiet", to("docker"))
	docker(t, "", "rmi", "--force", copied.Ref, to("docker"))
	if got, want := docker(t, "", "run", "--rm", "--network=none", to("docker"), "pushed"), "/opt/ampoule/bin/python3 pushed ID=test\n"; got != want {
		t.Errorf("what docker has pushed says %q, want %q", got, want)
	}
}

// secret is the only token of a registry: it may push to team/*.
type secret string

func (secret) Any() (bool, error) { return true, nil }

func (s secret) Check(text string) (tokens.Token, error) {
	if text != string(s) {
		return tokens.Token{}, tokens.ErrUnknown
	}
	scope, err := tokens.ParseScope("push:team/*")
	return tokens.Token{ID: "clients", Name: "ci", Scopes: []tokens.Scope{scope}}, err
}

// Programs of others push an artifact to the store's registry after they have logged in, where
// the token's scope lets them, and are refused before that.
func TestClientsPush(t *testing.T) {
	from, to := embedded.Open(t.TempDir()), embedded.Open(t.TempDir())
	address, cranes := serveTo(t, to, secret("ampoule_ci")), crane(t)
	r, err := registry.Local(from)
	if err != nil {
		t.Fatal(err)
	}
	target, err := registry.Local(to)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := sample(t, key("1"), string(compile(t)))
	done, err := r.Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	source := serve(t, from) + "/" + done.Ref
	account := []string{"--username", "ci", "--password", "ampoule_ci", address}
	for name, c := range map[string]struct {
		program string
		login   []string
		push    func(to string) []string
	}{
		"crane": {cranes, []string{"auth", "login"}, func(to string) []string { return []string{"copy", source, to} }},
		"skopeo": {"skopeo", []string{"login", "--tls-verify=false"}, func(to string) []string {
			return []string{"copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://" + source, "docker://" + to}
		}},
		"docker": {"docker", []string{"login"}, func(to string) []string { return []string{"push", "--quiet", to} }},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			if err := os.WriteFile(filepath.Join(home, "auth.json"), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
			allowed, foreign := "team/"+name, "other/"+name
			if name == "docker" {
				docker(t, "", "pull", "--quiet", source)
				for _, ref := range []string{allowed, foreign} {
					docker(t, "", "tag", source, address+"/"+ref+":v1")
					remove(t, "rmi", "--force", address+"/"+ref+":v1")
				}
				remove(t, "rmi", "--force", source)
			}
			push := func(to string) error {
				_, err := clientAt(t, home, c.program, c.push(address+"/"+to+":v1")...)
				return err
			}
			if err := push(allowed); err == nil {
				t.Error("it has pushed without a token")
			}
			if _, err := clientAt(t, home, c.program, slices.Concat(c.login, account)...); err != nil {
				t.Fatal(err)
			}
			if err := push(allowed); err != nil {
				t.Fatal(err)
			}
			if err := push(foreign); err == nil {
				t.Error("it has pushed where the token does not let it")
			}
			if _, err := target.Resolve(t.Context(), foreign+":v1"); faults.Of(err) != faults.NotFound {
				t.Errorf("what was refused is there: %v", err)
			}
			d, err := target.Resolve(t.Context(), allowed+":v1")
			if err != nil {
				t.Fatal(err)
			}
			// The engine writes a manifest of its own.
			if name != "docker" && d.Digest != done.Digest {
				t.Errorf("it has pushed %s, not %s", d.Digest, done.Digest)
			}
		})
	}
}
