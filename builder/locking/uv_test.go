package locking

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/faults"
)

// What uv says when the stand-in refuses to build.
const refusal = "error: Failed to build `docopt==0.6.2`\n" +
	"  cause: The build backend returned an error\n" +
	"  cause: Call to `setuptools.build_meta:__legacy__.get_requires_for_build_wheel` failed (exit status: 97)\n\n" +
	"         [stderr]\n         ampoule: code of an sdist does not run here\n"

// What uv says of an index that does not answer.
const away = "error: Request failed after 3 retries in 7.2s\n  cause: Failed to fetch: https://index.invalid/simple/flask/\n"

func TestExplain(t *testing.T) {
	t.Parallel()
	exit := &sandbox.ExitError{Args: []string{"uv"}, Code: 1}
	for name, c := range map[string]struct {
		stderr string
		want   error
	}{
		"refused":     {refusal, &refused{"docopt", "0.6.2"}},
		"downloaded":  {strings.Replace(refusal, "Failed to build", "Failed to download and build", 1), &refused{"docopt", "0.6.2"}},
		"local part":  {strings.Replace(refusal, "0.6.2", "1!0.6.2+a.1", 1), &refused{"docopt", "1!0.6.2+a.1"}},
		"other fault": {strings.Replace(refusal, "97", "1", 1), &ResolutionError{Told: strings.TrimSpace(strings.Replace(refusal, "97", "1", 1))}},
		"no solution": {"  × No solution found when resolving dependencies:\n  ╰─▶ Because a==1 …\n", &ResolutionError{Told: "× No solution found when resolving dependencies:\n  ╰─▶ Because a==1 …"}},
		"index away":  {away, indexFailed(strings.TrimSpace(away))},
		"download":    {"error: Failed to download `a==1`\n", indexFailed("error: Failed to download `a==1`")},
		// What is missing may have been told by an index that failed once.
		"both": {"error: No solution found\n  cause: Failed to fetch a\n", &ResolutionError{Told: "error: No solution found\n  cause: Failed to fetch a"}},
	} {
		got := explain(exit, c.stderr)
		if diff := cmp.Diff(c.want.Error(), got.Error()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if fmt.Sprintf("%T", got) != fmt.Sprintf("%T", c.want) || faults.Of(got) != faults.Of(c.want) {
			t.Errorf("%s: got a %T, want a %T", name, got, c.want)
		}
	}
	for name, err := range map[string]error{
		"killed": explain(&sandbox.ExitError{Args: []string{"uv"}, Code: 137}, away), "silent": explain(exit, " \n"),
	} {
		if ended := (*sandbox.ExitError)(nil); !errors.As(err, &ended) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	lost := errors.New("the engine went away")
	if got := explain(lost, refusal); !errors.Is(got, lost) {
		t.Errorf("got %v", got)
	}
}

// What it prints and how it ends is what explain knows a refusal by.
func TestStandInRefuses(t *testing.T) {
	t.Parallel()
	if !strings.Contains(standIn, "exit 97") || !strings.Contains(standIn, "code of an sdist does not run here") {
		t.Errorf("the stand-in is %s", standIn)
	}
}

func TestImpersonal(t *testing.T) {
	t.Parallel()
	told := `{"result": "success", "markers": {"platform_release": "6.1.0-37-cloud", "platform_version": "#1 SMP", "python_version": "3.13"},
"sys_executable": "/opt/ampoule/bin/python3.13", "sys_base_executable": "/opt/ampoule/bin/python3.13", "sys_prefix": "/opt/ampoule"}`
	got, err := impersonal([]byte(told))
	if err != nil {
		t.Fatal(err)
	}
	var info any
	if err := json.Unmarshal(got, &info); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"result": "success", "sys_prefix": "/opt/ampoule", "sys_executable": pythonPath, "sys_base_executable": pythonPath,
		"markers": map[string]any{"platform_release": "", "platform_version": "", "python_version": "3.13"},
	}
	if diff := cmp.Diff(any(want), info); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, text := range map[string]string{
		"no JSON": "{", "refused": `{"result": "error", "markers": {}}`, "no markers": `{"result": "success"}`, "list": `[]`,
	} {
		if _, err := impersonal([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// No password of a proxy, and none of the index, is in what the engine is told of a step.
func TestPasswordsStayHidden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := Online{Index: "https://me:index-word@index.invalid/simple", Environ: []string{"https_proxy=http://me:proxy-word@proxy.invalid"}}
	r, err := startResolver(t.Context(), fake.Online{Runner: w.runner}, w.load(), o, []byte("{}"), w.log)
	if err != nil {
		t.Fatal(err)
	}
	w.uv = func(string, string) (answer, stderr string) { return "", unsolvable }
	if _, err := r.resolve(t.Context(), query{file: "in.txt", files: map[string][]byte{"in.txt": []byte("x\n")}}); err == nil {
		t.Error("an unsolvable query was solved")
	}
	steps := w.runner.Sandboxes()[0].Steps()
	if len(steps) == 0 || !slices.Contains(steps[0].Secrets, o.Environ[0]) {
		t.Fatalf("uv does not get the proxy: %+v", steps)
	}
	for _, step := range steps {
		if told := strings.Join(slices.Concat(step.Args, step.Env), " "); strings.Contains(told, "-word") {
			t.Errorf("a step tells %s", told)
		}
	}
}

// What reaches the resolver of this machine: proxies, certificates, the index.
func TestStartResolver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	certificates := filepath.Join(t.TempDir(), "bundle.pem")
	if err := os.WriteFile(certificates, []byte("PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Online{
		Index: "https://index.invalid/simple", CertFile: certificates,
		Environ: []string{"HTTPS_PROXY=http://proxy.invalid", "no_proxy=x", "AWS_SECRET_ACCESS_KEY=1", "PIP_INDEX_URL=y", "MY_HTTP_PROXY=z"},
	}
	r, err := startResolver(t.Context(), fake.Online{Runner: w.runner}, w.load(), o, []byte("{}"), w.log)
	if err != nil {
		t.Fatal(err)
	}
	want := sandbox.Env(
		"UV_CACHE_DIR=/ampoule-build/uv-cache", "UV_NO_PROGRESS=1", "UV_HTTP_RETRIES=6", "UV_HTTP_TIMEOUT=60",
		"SSL_CERT_FILE="+caPath)
	if diff := cmp.Diff(want, r.env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"HTTPS_PROXY=http://proxy.invalid", "no_proxy=x"}, r.secrets); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	if r.index != o.Index {
		t.Errorf("index %q", r.index)
	}
	s := w.runner.Sandboxes()[0]
	var files []string
	for _, e := range s.Files().Sub("ampoule-build/uv").Entries() {
		files = append(files, e.Path)
	}
	if diff := cmp.Diff([]string{"ca-certificates.crt", "interpreter.json", "python"}, files); diff != "" || !s.Online {
		t.Errorf("online: %t, files (-want +got):\n%s", s.Online, diff)
	}
	o.CertFile += "x"
	if _, err := startResolver(t.Context(), fake.Online{Runner: w.runner}, w.load(), o, nil, w.log); err == nil {
		t.Error("certificates that are not there are no error")
	}
}

func TestResolverAsks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.uv = func(asked, config string) (string, string) {
		if asked != "flask\n" || !strings.Contains(config, `name = "flask"`) || !strings.Contains(config, "dependency-metadata") {
			t.Errorf("asked %q with %s", asked, config)
		}
		return "packages = []\n", ""
	}
	p := w.start(nil, Options{})
	q := query{files: map[string][]byte{"in/base.txt": []byte("flask\n"), "more.txt": nil}, file: "in/base.txt", prefer: map[string]string{"flask": "3"}}
	for range 2 { // Each in a directory of its own: nothing is left of the one before.
		if got, err := p.resolver.resolve(t.Context(), q); err != nil || string(got) != "packages = []\n" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	steps := w.runner.Sandboxes()[0].Steps()
	for _, option := range []string{"--no-python-downloads", "--python", "--format", "--quiet"} {
		if !slices.Contains(steps[0].Args, option) {
			t.Errorf("uv is asked %q", steps[0].Args)
		}
	}
	if steps[0].Dir == steps[2].Dir {
		t.Errorf("both were asked in %s", steps[0].Dir)
	}
}
