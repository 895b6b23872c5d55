package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder"
	"ampoule/builder/docker"
	"ampoule/builder/sandbox"
	"ampoule/ci"
	"ampoule/faults"
	"ampoule/store"
	"ampoule/wiring"
)

// onGitHub makes the session one of a step on GitHub, whose outputs and summary it returns.
func onGitHub(t *testing.T, s *Session) (output, summary string) {
	t.Helper()
	dir := t.TempDir()
	output, summary = filepath.Join(dir, "output"), filepath.Join(dir, "summary")
	s.Environ = []string{"GITHUB_ACTIONS=true", "GITHUB_OUTPUT=" + output, "GITHUB_STEP_SUMMARY=" + summary, "GITHUB_WORKSPACE=" + filepath.Dir(s.Recipe), "API_TOKEN=hunter22"}
	return output, summary
}

// locked writes the lock of the session's recipe.
func locked(t *testing.T, s *Session) {
	t.Helper()
	if err := os.WriteFile(lockPath(s.Recipe), lockOf(t, s.Recipe, "3.10", sumA).Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCIBuild(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	locked(t, s)
	output, summary := onGitHub(t, s)
	export := filepath.Join(t.TempDir(), "ampoule.env")
	built := builderFunc(func(context.Context) (builder.Result, error) {
		return builder.Result{Name: "web", Digest: "sha256:" + sumA, Key: "sha256:" + sumB, Reused: true}, nil
	})
	err := s.inCI(t.Context(), "", nil, func(on ci.System, log *ci.Log) error {
		return CIBuild(t.Context(), s, on, log, built, builder.Request{}, export, reference)
	})
	if err != nil {
		t.Fatal(err)
	}
	const ref = "web@sha256:" + sumA
	if out.String() != ref+"\n" || !strings.Contains(errs.String(), "::group::ampoule build web\n") || !strings.Contains(errs.String(), "::endgroup::\n") {
		t.Errorf("%s\n%s", out, errs)
	}
	for file, want := range map[string]string{
		output: "ref=" + ref + "\nname=web\ndigest=sha256:" + sumA + "\nkey=sha256:" + sumB + "\nreused=true\n",
		export: "AMPOULE_REF=" + ref + "\nAMPOULE_NAME=web\nAMPOULE_DIGEST=sha256:" + sumA + "\nAMPOULE_REUSED=true\n",
	} {
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", file, got, err)
		}
	}
	if got, err := os.ReadFile(summary); err != nil || !strings.Contains(string(got), "### Ampoule: found") {
		t.Errorf("summary %q, %v", got, err)
	}
}

// TestCITellsErrors: errors are annotations at their lines, are told once, and keep their code.
// Nothing in them is a command, and no secret is told.
func TestCITellsErrors(t *testing.T) {
	t.Parallel()
	s, _, errs := session(t, goodRecipe)
	onGitHub(t, s)
	if err := os.WriteFile(filepath.Join(filepath.Dir(s.Recipe), ".python-version"), []byte("3.11\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code := Main(s, []string{"ci", "check", "-f", s.Recipe, "--store", s.Store})
	if code != faults.Input.Code() {
		t.Errorf("code %d: %s", code, errs)
	}
	for _, want := range []string{"::error file=.python-version,line=1,col=1::", "::error file=ampoule.lock::there is no lock%0A", "\nerror: "} {
		if strings.Count(errs.String(), want) == 0 {
			t.Errorf("no %q in:\n%s", want, errs)
		}
	}
	if strings.Count(errs.String(), "ampoule.lock: there is no lock") != 1 {
		t.Errorf("told more than once:\n%s", errs)
	}

	errs.Reset()
	err := s.inCI(t.Context(), "", nil, func(ci.System, *ci.Log) error {
		return faults.New(faults.Build, "::error::b", "a step ended\n::set-output name=x::y hunter22")
	})
	if ExitCode(err) != faults.Build.Code() || strings.Contains(errs.String(), "hunter22") {
		t.Errorf("%v: %s", err, errs)
	}
	before, _, _ := strings.Cut(errs.String(), "error: a step")
	if !strings.HasPrefix(before[strings.LastIndex(before, "::stop-commands::"):], "::stop-commands::ampoule-") {
		t.Errorf("commands are obeyed in what is told:\n%s", errs)
	}
}

// printing is an engine whose programs print to both streams.
type printing struct{ engine }

func (e *printing) Run(ctx context.Context, id sandbox.ID, o docker.RunOptions) (int, error) {
	o.Stdout.Write([]byte("::set-output name=digest::bad\nhunter22\n"))
	o.Stderr.Write([]byte("::error::bad\n"))
	return e.engine.Run(ctx, id, o)
}

func (e *printing) Hold(_ sandbox.ID, o docker.RunOptions, _ []string) docker.Held {
	return e.holdBy(o, e.Run)
}

func TestCIRun(t *testing.T) {
	t.Parallel()
	const tested = goodRecipe + "  commands: [[idna, --version]]\n"
	for name, c := range map[string]struct {
		system  string
		command []string
		code    int
		output  Output
		ran     [][]string
		stdout  string
	}{
		"a command":         {"", []string{"-m", "pytest"}, 3, Text, [][]string{{"-m", "pytest"}}, ""},
		"the recipe's":      {"", nil, 0, Text, [][]string{{"python3", "-c", "import idna"}, {"idna", "--version"}}, ""},
		"in a shell":        {"shell", []string{"pytest"}, 0, Text, [][]string{{"pytest"}}, "::set-output name=digest::bad\n***\n"},
		"as JSON, in shell": {"shell", []string{"pytest"}, 1, JSON, [][]string{{"pytest"}}, "{"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, out, errs := session(t, tested)
			locked(t, s)
			onGitHub(t, s)
			s.Output = c.output
			e := &printing{engine{code: c.code}}
			to := filepath.Join(t.TempDir(), "record.json")
			var kept []byte
			err := s.inCI(t.Context(), c.system, nil, func(on ci.System, log *ci.Log) error {
				return s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
					digest := publish(ctx, t, w, sampleTree(t))
					reg, err := w.Registry()
					if err != nil {
						return err
					}
					built := builderFunc(func(context.Context) (builder.Result, error) {
						return builder.Result{Name: "web", Digest: digest, Key: "sha256:" + sumA, Reused: true}, nil
					})
					parts := CIParts{Builder: built, Puller: reg, Engine: e, Reference: w.Reference, Keep: func(_ string, record []byte) error {
						kept = record
						return nil
					}}
					return CIRun(ctx, s, on, log, parts, ciRunOptions{
						command: c.command, workspace: filepath.Dir(s.Recipe), user: "1000:1000", env: []string{"API_TOKEN"}, to: to,
					})
				})
			})
			if ExitCode(err) != c.code || c.code == 0 && err != nil {
				t.Fatalf("%v: %s", err, errs)
			}
			dir := filepath.Dir(s.Recipe)
			if e.open != 0 {
				t.Errorf("%d containers are left", e.open)
			}
			last := c.ran[len(c.ran)-1]
			if e.ran.User != "1000:1000" || e.ran.Dir != dir || cmp.Diff([]string{dir + ":" + dir}, e.ran.Volumes) != "" ||
				cmp.Diff([]string{"API_TOKEN=hunter22"}, e.ran.Env) != "" || cmp.Diff(last, e.ran.Args) != "" {
				t.Errorf("run as %+v", e.ran)
			}
			if !strings.HasPrefix(out.String(), c.stdout) || c.stdout == "" && out.Len() > 0 {
				t.Errorf("stdout %q, want %q", out, c.stdout)
			}
			written, err := os.ReadFile(to)
			if err != nil || !bytes.Equal(written, kept) {
				t.Errorf("record %s, kept %s: %v", written, kept, err)
			}
			var r ci.Record
			if err := json.Unmarshal(written, &r); err != nil {
				t.Fatal(err)
			}
			var ran [][]string
			for _, one := range r.Runs {
				ran = append(ran, one.Command)
			}
			if diff := cmp.Diff(c.ran, ran); diff != "" || r.Passed != (c.code == 0) || r.Failed() != c.code || r.Digest == "" || strings.Contains(string(written)+errs.String()+out.String(), "hunter22") {
				t.Errorf("record %s (-want +got):\n%s\n%s", written, diff, errs)
			}
		})
	}
}

// With a group, the recipe's tests run without it first; a report that is not written is an
// error although the command ended with 0.
func TestCIRunWithGroup(t *testing.T) {
	t.Parallel()
	s, _, errs := session(t, goodRecipe)
	locked(t, s)
	onGitHub(t, s)
	var kept ci.Record
	var loads [][]string
	err := s.inCI(t.Context(), "", nil, func(on ci.System, log *ci.Log) error {
		return s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
			digest := publish(ctx, t, w, sampleTree(t))
			publishGroup(ctx, t, w, digest, "sha256:"+sumB, "lib/python3.13/site-packages/extra.py")
			reg, err := w.Registry()
			if err != nil {
				return err
			}
			e := &loading{}
			defer func() { loads = e.loads }()
			parts := CIParts{Puller: reg, Engine: e, Reference: w.Reference, Keep: func(_ string, record []byte) error {
				return json.Unmarshal(record, &kept)
			}}
			return CIRun(ctx, s, on, log, parts, ciRunOptions{
				command: []string{"pytest"}, groups: []string{"test"}, workspace: filepath.Dir(s.Recipe), ref: w.Reference("web", digest), junit: []string{"report.xml"},
			})
		})
	})
	if faults.Of(err) != faults.Input || !strings.Contains(errs.String(), "reading report report.xml") {
		t.Errorf("%v: %s", err, errs)
	}
	if len(kept.Runs) != 2 || len(kept.Runs[0].Groups) != 0 || len(kept.Runs[1].Groups) != 1 || kept.Runs[1].Groups[0].Name != "test" || kept.Passed {
		t.Errorf("%+v", kept)
	}
	extra := "opt/ampoule/lib/python3.13/site-packages/extra.py"
	if len(loads) != 2 || strings.Contains(strings.Join(loads[0], " "), extra) || !strings.Contains(strings.Join(loads[1], " "), extra) {
		t.Errorf("%q", loads)
	}
}

// loading is an engine that remembers the files of each image.
type loading struct {
	engine
	loads [][]string
}

func (e *loading) Load(ctx context.Context, config sandbox.Config, layers ...sandbox.Layer) (sandbox.ID, error) {
	e.files = nil
	id, err := e.engine.Load(ctx, config, layers...)
	e.loads = append(e.loads, e.files)
	return id, err
}

// finds is a Finder of one key.
type finds struct{ key, digest string }

func (f finds) FindKey(_ context.Context, _, key string) (string, bool, error) {
	return f.digest, key == f.key, nil
}

func TestCICheck(t *testing.T) {
	t.Parallel()
	s, out, _ := session(t, goodRecipe)
	locked(t, s)
	in, err := s.readLocked()
	if err != nil {
		t.Fatal(err)
	}
	key := builder.MakePlan(in.recipe, in.lock, in.recipe.Platforms[0], "").Key
	here, other := "sha256:"+sumA, "sha256:"+sumB
	for name, c := range map[string]struct {
		finder finds
		tested string
		want   string
		kind   faults.Kind
	}{
		"agrees":             {finds{"", ""}, "", "key " + key + "\n", faults.Unknown},
		"is published":       {finds{key, here}, "", "key " + key + "\nweb@" + here + "\n", faults.Unknown},
		"was tested":         {finds{key, here}, here, "key " + key + "\nweb@" + here + "\n", faults.Unknown},
		"another was tested": {finds{key, here}, other, "", faults.Refused},
		"is not published":   {finds{"x", here}, here, "", faults.Refused},
	} {
		out.Reset()
		err := CICheck(t.Context(), s, c.finder, c.tested, reference)
		if out.String() != c.want || (err != nil) != (c.want == "") || err != nil && faults.Of(err) != c.kind {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
	if err := os.WriteFile(s.Recipe, []byte(strings.Replace(goodRecipe, "idna==3.10", "idna==3.11", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := CICheck(t.Context(), s, finds{}, "", reference); faults.Of(err) != faults.Input {
		t.Errorf("a stale lock: %v", err)
	}
}

func TestCIUsage(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"ci run pytest":                       `"pytest" stands before --`,
		"ci run --":                           "want a command behind --",
		"ci run --group test":                 "--group lies over the artifact for a command",
		"ci build --system travis":            `"travis" is no CI system`,
		"ci chekc":                            "did you mean check?",
		"ci check --digest latest":            `"latest" is no digest`,
		"ci check --digest a --record b":      "want one of them",
		"ci check --record nowhere/none.json": "reading record",
	} {
		s, _, errs := session(t, goodRecipe)
		code := Main(s, append([]string{"-f", s.Recipe, "--store", s.Store}, strings.Fields(args)...))
		if code != faults.Usage.Code() && !strings.Contains(args, "none.json") || code == 0 || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: code %d, %s", args, code, errs)
		}
	}
}

// A copy is mounted in the place of the workspace, and taken away. An artifact that is named
// needs no recipe.
func TestCIRunOnACopy(t *testing.T) {
	t.Parallel()
	s, _, errs := session(t, goodRecipe)
	dir := filepath.Dir(s.Recipe)
	s.Recipe = filepath.Join(t.TempDir(), "none.yaml")
	e := &engine{}
	err := s.inCI(t.Context(), "shell", nil, func(on ci.System, log *ci.Log) error {
		return s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
			digest := publish(ctx, t, w, sampleTree(t))
			reg, err := w.Registry()
			if err != nil {
				return err
			}
			parts := CIParts{Puller: reg, Engine: e, Reference: w.Reference, Keep: func(string, []byte) error { return nil }}
			return CIRun(ctx, s, on, log, parts, ciRunOptions{command: []string{"x"}, workspace: dir, ref: w.Reference("web", digest), copied: true})
		})
	})
	if err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	source, target, _ := strings.Cut(e.ran.Volumes[0], ":")
	if source == dir || target != dir || e.ran.Dir != dir {
		t.Errorf("run as %+v", e.ran)
	}
	if _, err := os.Stat(source); err == nil {
		t.Error("the copy stays")
	}
}

// TestRecordOfTeam: the record of an artifact with a team's name is kept as that of any other.
func TestRecordOfTeam(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := recordKeeper(st)("team/web", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(st.Root(), "logs", "*-ci-team--web-*", "record.json"))
	if err != nil || len(kept) != 1 {
		t.Errorf("kept %q, %v", kept, err)
	}
}
