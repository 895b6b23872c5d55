package locking

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/address"
	"ampoule/audit/wheel"
	"ampoule/builder/buildlog"
	"ampoule/builder/fetch"
	"ampoule/builder/layers"
	"ampoule/builder/once"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/faults"
	"ampoule/store"
	"ampoule/tree"
)

// uvWheel is the resolver: a static program inside a wheel, pinned by hash. It
// enters no build.
var uvWheel = fetch.Item{
	Source: "pypi", Name: "uv", Version: "0.13.8",
	File:   "uv-0.13.8-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
	SHA256: "e18a57b8b352eb7c8feb317b9f6f533c8f0ad9673fd6cf34bbe3cf1a9f6a8984",
}

const (
	uvMember = "uv-0.13.8.data/scripts/uv"
	// maxUV bounds the unpacked program, in bytes.
	maxUV = 256 << 20
	// maxPylock bounds what uv answers, in bytes.
	maxPylock = 32 << 20
)

// Paths inside the containers that uv runs in.
const (
	uvProgram   = "ampoule-uv"
	uvDir       = sandbox.WorkDir + "/uv"
	uvPath      = "/" + uvProgram + "/uv"
	pythonPath  = uvDir + "/python"
	caPath      = uvDir + "/ca-certificates.crt"
	projectsDir = sandbox.WorkDir + "/projects"
)

// programKey names the layer of the resolver whose wheel has a sha256.
func programKey(sum string) string { return layers.Key("resolver-program", 1, sum) }

// resolverKey names what the interpreter at a path in an image says to the resolver whose
// wheel has a sha256, when a script asks for it.
func resolverKey(image sandbox.Image, python, sum, script string) string {
	return layers.Key("resolver-python", 1, map[string]any{"image": layers.DiffIDs(image), "python": python, "uv": sum, "tap": script})
}

// uvLayer is the program as a layer for images.
func uvLayer(ctx context.Context, st *store.Store) (sandbox.Layer, error) {
	task := progress.Later(ctx, progress.StageLock, "the resolver")
	layer, reused, err := layers.Remembered(once.Alone(ctx), st, task, "resolver-program", programKey(uvWheel.SHA256), func(ctx context.Context) (sandbox.Layer, error) {
		uv, err := readUV(st)
		if err != nil {
			return sandbox.Layer{}, err
		}
		t, err := tree.New([]tree.Entry{uv})
		if err != nil {
			return sandbox.Layer{}, err
		}
		return layers.Save(ctx, st, t, uvProgram)
	})
	task.Finish(reused, err)
	return layer, err
}

// readUV takes the program out of its wheel.
func readUV(st *store.Store) (_ tree.Entry, err error) {
	f, err := st.Open(uvWheel.SHA256)
	if err != nil {
		return tree.Entry{}, fmt.Errorf("reading uv: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return tree.Entry{}, fmt.Errorf("reading uv: %w", err)
	}
	z, err := wheel.Open(f, info.Size(), wheel.DefaultLimits)
	if err != nil {
		return tree.Entry{}, fmt.Errorf("reading uv: %w", err)
	}
	member, err := z.Open(uvMember)
	if err != nil {
		return tree.Entry{}, fmt.Errorf("reading uv: %w", err)
	}
	defer func() { err = errors.Join(err, member.Close()) }()
	data, err := io.ReadAll(io.LimitReader(member, maxUV))
	if err != nil {
		return tree.Entry{}, fmt.Errorf("reading uv: %w", err)
	}
	return tree.FileEntry("uv", 0o755, data), nil
}

// tapScript stands for the interpreter while uv asks it about itself: it keeps the answer.
const tapScript = `#!/bin/sh
exec "$AMPOULE_PYTHON" "$@" > "$AMPOULE_TOLD"
`

// askInterpreter lets uv ask the recipe's interpreter about itself, in a sealed
// sandbox whose image has uv, and returns the answer with nothing of this machine in it.
func askInterpreter(ctx context.Context, r sandbox.Runner, image sandbox.ID, python string, log io.Writer) (_ []byte, err error) {
	sb, err := r.Start(ctx, sandbox.Spec{Image: image, Name: "ask-interpreter"})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	if err := sandbox.MakeDirs(ctx, sb, sandbox.WorkDir+"/home"); err != nil {
		return nil, err
	}
	files, err := tree.New([]tree.Entry{tree.FileEntry("python", 0o755, []byte(tapScript))})
	if err != nil {
		return nil, err
	}
	if err := sandbox.ImportTree(ctx, sb, uvDir, files); err != nil {
		return nil, err
	}
	told := sandbox.WorkDir + "/told.json"
	ask := sandbox.Step{
		// What uv makes of an interpreter that does not answer it is of no interest here.
		Args:   []string{"/bin/sh", "-c", uvPath + " --offline --no-config python find --no-python-downloads " + pythonPath + "; test -s " + told},
		Env:    sandbox.Env("AMPOULE_PYTHON="+python, "AMPOULE_TOLD="+told),
		Stdout: log, Stderr: log,
	}
	if err := sb.Exec(ctx, ask); err != nil {
		return nil, err
	}
	out, err := sandbox.Output(ctx, sb, sandbox.Step{Args: []string{"cat", told}, Env: sandbox.Env()}, maxPylock)
	if err != nil {
		return nil, err
	}
	return impersonal(out)
}

// impersonal replaces what an interpreter tells of the kernel that it runs on, and
// its own path by that of the stand-in.
func impersonal(told []byte) ([]byte, error) {
	var info map[string]any
	if err := json.Unmarshal(told, &info); err != nil {
		return nil, fmt.Errorf("reading what the interpreter tells: %w", err)
	}
	markers, ok := info["markers"].(map[string]any)
	if !ok || info["result"] != "success" {
		return nil, fmt.Errorf("reading what the interpreter tells: no markers in %.200s", told)
	}
	markers["platform_release"], markers["platform_version"] = "", ""
	info["sys_executable"], info["sys_base_executable"] = pythonPath, pythonPath
	return json.Marshal(info)
}

// standIn is all the Python that there is where uv resolves: it repeats what the
// interpreter told about itself and refuses everything else. No code of an sdist
// can run there, since nothing could run it.
const standIn = `#!/bin/sh
case "$*" in
*get_interpreter_info*) exec cat ` + uvDir + `/interpreter.json ;;
esac
echo "ampoule: code of an sdist does not run here" >&2
exit 97
`

// resolver is a running container in which uv resolves.
type resolver struct {
	sb sandbox.Sandbox
	// index is the package index's address, with its credentials. uv reads it from a
	// file: variables it would put into whatever asks for them, and a command line
	// is seen by others.
	index string
	env   []string
	// secrets are the proxies, which have passwords in them.
	secrets []string
	log     *buildlog.Log
	queries int
	// known is the metadata that was computed in sealed sandboxes.
	known []metadata
	// front answers instead of the index; nil where uv asks the index itself.
	front *fetch.Front
}

// knows reports whether it has the metadata of a release.
func (r *resolver) knows(name, version string) bool {
	return slices.ContainsFunc(r.known, func(m metadata) bool { return m.Name == name && m.Version == version })
}

// Online is what resolution may take of this machine into its container.
type Online struct {
	// Index is the address of the package index (PEP 503), credentials included.
	Index string
	// Environ is the environment that proxies are taken from, as KEY=value.
	Environ []string
	// CertFile is the path of a bundle of certificates on this machine; may be empty.
	CertFile string
}

// proxies are the variables that are taken along.
var proxies = regexp.MustCompile(`(?i)^(https?|all|no)_proxy=`)

// uvEnv is uv's environment. timeout is how long it waits for an answer, in seconds.
func uvEnv(timeout int, extra ...string) []string {
	return sandbox.Env(append([]string{
		"UV_CACHE_DIR=" + sandbox.WorkDir + "/uv-cache", "UV_NO_PROGRESS=1",
		// Three retries more than uv's own: with its growing pauses an index may be away for half a minute.
		"UV_HTTP_RETRIES=6", fmt.Sprintf("UV_HTTP_TIMEOUT=%d", timeout),
	}, extra...)...)
}

// uvFiles are what uv has in its container, beside what it is asked.
func uvFiles(interpreter []byte, more ...tree.Entry) []tree.Entry {
	return append([]tree.Entry{
		tree.FileEntry("python", 0o755, []byte(standIn)), tree.FileEntry("interpreter.json", 0o644, interpreter),
	}, more...)
}

// importFiles puts files into a sandbox that was just started, and closes it on an error.
func importFiles(ctx context.Context, sb sandbox.Sandbox, files []tree.Entry) error {
	t, err := tree.New(files)
	if err == nil {
		err = errors.Join(sandbox.MakeDirs(ctx, sb, sandbox.WorkDir+"/home", projectsDir), sandbox.ImportTree(ctx, sb, uvDir, t))
	}
	if err != nil {
		return errors.Join(err, sb.Close())
	}
	return nil
}

// startResolver starts it in an image that has uv.
func startResolver(ctx context.Context, online sandbox.Online, image sandbox.ID, o Online, interpreter []byte, log *buildlog.Log) (*resolver, error) {
	files, env := uvFiles(interpreter), uvEnv(60)
	var secrets []string
	for _, kv := range o.Environ {
		if proxies.MatchString(kv) {
			secrets = append(secrets, kv)
		}
	}
	if o.CertFile != "" {
		data, err := os.ReadFile(o.CertFile)
		if err != nil {
			return nil, fmt.Errorf("reading certificates: %w", err)
		}
		files = append(files, tree.FileEntry(path.Base(caPath), 0o644, data))
		env = append(env, "SSL_CERT_FILE="+caPath)
	}
	sb, err := online.StartOnline(ctx, sandbox.OnlineSpec{Image: image, Name: "resolve"})
	if err != nil {
		return nil, err
	}
	if err := importFiles(ctx, sb, files); err != nil {
		return nil, err
	}
	return &resolver{sb: sb, index: o.Index, env: env, secrets: secrets, log: log}, nil
}

// startSealed starts it without a network, in an image that has uv: what it asks, a front
// answers. The downloader behind that asks again by itself, and uv waits for it.
func startSealed(ctx context.Context, runner sandbox.Runner, image sandbox.ID, front *fetch.Front, interpreter []byte, log *buildlog.Log) (*resolver, error) {
	sb, err := runner.Start(ctx, sandbox.Spec{Image: image, Name: "resolve"})
	if err != nil {
		return nil, err
	}
	if err := importFiles(ctx, sb, uvFiles(interpreter, tree.FileEntry(path.Base(relayPath), 0o644, relayScript))); err != nil {
		return nil, err
	}
	return &resolver{sb: sb, index: relayIndex, env: uvEnv(900), log: log, front: front}, nil
}

// query is one resolution.
type query struct {
	// files are the requirement files, by relative path; file is the one that counts.
	files map[string][]byte
	file  string
	// prefer are the versions to keep where the requirements allow it, by name.
	prefer map[string]string
	// limits are further constraints (PEP 508).
	limits []string
	// specs are further requirements (PEP 508).
	specs []string
}

// refused says that uv wanted to run code of an sdist to learn its metadata.
type refused struct{ name, version string }

func (r *refused) Error() string {
	return "resolution needs the metadata of " + r.name + "==" + r.version
}

// wanted finds whose code uv wanted to run: what its two errors about building say.
var wanted = regexp.MustCompile("Failed to (?:download and )?build `([A-Za-z0-9._-]+)==([^`\\s]+)`")

// unanswered finds that the index, or a way to it, failed.
var unanswered = regexp.MustCompile("Request failed after|Failed to fetch|Failed to download `|error sending request")

// unsolvable is what uv says when every answer came, and no set of versions is in them.
const unsolvable = "No solution found"

// indexFailed says that the package index did not answer the resolver: told is uv's
// explanation.
func indexFailed(told string) error {
	return faults.New(faults.Remote, "run it again once the package index answers; another one is configured as source pypi",
		"resolving requirements: the index fails:\n%s", told)
}

// ResolutionError says that there is no set of versions that satisfies everything.
type ResolutionError struct {
	// Told is uv's explanation.
	Told string
	// Group is the dependency group that cannot be laid over the artifact; empty for the
	// artifact's own requirements.
	Group string
	// Overrides are the distributions whose overrides take part in it, sorted.
	Overrides []string
}

func (e *ResolutionError) Error() string {
	if e.Group != "" {
		return "resolving dependency group " + e.Group + " over the artifact's versions:\n" + e.Told
	}
	return "resolving requirements:\n" + e.Told
}

// Kind says whose fault it is.
func (*ResolutionError) Kind() faults.Kind { return faults.Input }

// Hint says what can be done.
func (e *ResolutionError) Hint() string {
	hint := "loosen one of the requirements that the explanation names"
	if e.Group != "" {
		hint = "a group is laid over the artifact, whose versions stand: loosen the group's requirement, or move the artifact's pin with `ampoule lock --upgrade NAME`"
	}
	if len(e.Overrides) > 0 {
		hint += ", or leave out what Ampoule knows of building it: packages: {" + strings.Join(e.Overrides, ": {overrides: none}, ") + ": {overrides: none}}"
	}
	return hint
}

// resolve asks uv once. The error is a [*refused] when metadata is wanting.
func (r *resolver) resolve(ctx context.Context, q query) ([]byte, error) {
	r.queries++
	dir := fmt.Sprintf("%s/%d", projectsDir, r.queries)
	entries := []tree.Entry{tree.FileEntry("uv.toml", 0o600, uvConfig(r.index, r.known))}
	if len(q.prefer) > 0 {
		entries = append(entries, tree.FileEntry("pylock.toml", 0o644, preferences(q.prefer)))
	}
	entries = append(entries, tree.FileEntry("limits.txt", 0o644, []byte(strings.Join(q.limits, "\n")+"\n")))
	requirements := []string{q.file}
	if len(q.specs) > 0 {
		requirements = append([]string{dir + "/specs.txt"}, requirements...)
		entries = append(entries, tree.FileEntry("specs.txt", 0o644, []byte(strings.Join(q.specs, "\n")+"\n")))
	}
	for name, data := range q.files {
		entries = append(entries, tree.FileEntry("in/"+name, 0o644, data))
	}
	t, err := tree.New(entries)
	if err != nil {
		return nil, err
	}
	if err := sandbox.ImportTree(ctx, r.sb, dir, t); err != nil {
		return nil, err
	}
	var stderr strings.Builder
	step := sandbox.Step{
		Args: append([]string{
			uvPath, "--config-file", dir + "/uv.toml", "pip", "compile", "--quiet", "--no-python-downloads",
			"--python", pythonPath, "--format", "pylock.toml", "--no-header", "--no-annotate",
			"--constraints", dir + "/limits.txt", "--output-file", dir + "/pylock.toml",
		}, requirements...),
		Env: r.env, Secrets: r.secrets, Dir: dir + "/in", Stdout: r.log, Stderr: &stderr,
	}
	err = r.run(ctx, step)
	told := address.Redact(stderr.String()) // uv repeats addresses as they are
	r.log.Printf("%s", told)
	if err != nil {
		return nil, r.explain(err, told)
	}
	return sandbox.Output(ctx, r.sb, sandbox.Step{Args: []string{"cat", dir + "/pylock.toml"}, Env: r.env}, maxPylock)
}

// run runs uv, with the front within its reach if there is one.
func (r *resolver) run(ctx context.Context, step sandbox.Step) (err error) {
	if r.front == nil {
		return r.sb.Exec(ctx, step)
	}
	through, err := startRelay(ctx, r.sb, r.front, r.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, through.stop()) }()
	return r.sb.Exec(ctx, step)
}

// explain is [explain], unless the front knows better why an answer was missing.
func (r *resolver) explain(err error, told string) error {
	err = explain(err, told)
	var wants *refused
	if r.front == nil || errors.As(err, &wants) {
		return err
	}
	if fault := r.front.Faults(); fault != nil {
		return fmt.Errorf("resolving requirements: %w", fault)
	}
	return err
}

// explain makes an error of what uv said when it failed: 1 and 2 are the codes that it
// ends with itself.
func explain(err error, stderr string) error {
	var exit *sandbox.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	stderr = strings.TrimSpace(stderr)
	if (exit.Code != 1 && exit.Code != 2) || stderr == "" {
		return fmt.Errorf("resolving requirements: %w\n%s", err, stderr)
	}
	if m := wanted.FindStringSubmatch(stderr); m != nil && strings.Contains(stderr, "exit status: 97") {
		return &refused{name: m[1], version: m[2]}
	}
	if unanswered.MatchString(stderr) && !strings.Contains(stderr, unsolvable) {
		return indexFailed(stderr)
	}
	return &ResolutionError{Told: stderr}
}

// preferences writes the versions to keep as an earlier result: uv keeps what it
// finds in its output file.
func preferences(prefer map[string]string) []byte {
	var b strings.Builder
	b.WriteString("lock-version = \"1.0\"\ncreated-by = \"ampoule\"\n")
	for _, name := range sortedKeys(prefer) {
		fmt.Fprintf(&b, "\n[[packages]]\nname = %q\nversion = %q\n", name, prefer[name])
	}
	return []byte(b.String())
}
