package trials

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/recorded"
	"ampoule/builder/progress"
	"ampoule/packaging"
	"ampoule/recipes"
	"ampoule/recipes/catalogue"
	"ampoule/store"
)

// fakeVariable makes the test's own program act as another one.
const fakeVariable = "AMPOULE_MEASURE_FAKE"

func TestMain(m *testing.M) {
	switch os.Getenv(fakeVariable) {
	case "":
		os.Exit(m.Run())
	case "ampoule":
		f := &fake{args: os.Args[1:]}
		os.Exit(f.main())
	default:
		os.Exit(fakeTool(os.Getenv(fakeVariable), os.Args[1:]))
	}
}

// program is this test acting as another program.
func program(t *testing.T, name string, env ...string) drive.Program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return drive.Program{Path: self, Env: append(slices.Clone(env), fakeVariable+"="+name), Show: io.Discard}
}

// fake is an ampoule that compiles nothing. What it was asked it writes to the
// file that FAKE_CALLS names.
type fake struct {
	args []string
	// digest is that of what it builds; empty is one for all.
	digest string
}

// flag takes the value of a flag.
func (f *fake) flag(name string) string {
	if i := slices.Index(f.args, name); i >= 0 && i+1 < len(f.args) {
		return f.args[i+1]
	}
	return ""
}

func (f *fake) main() int {
	verbs := []string{"init", "lock", "build", "inspect", "install", "pgo-profile", "audit", "cache", "keys", "trust", "registry", "copy", "verify", "sbom", "export", "version", "run"}
	i := slices.IndexFunc(f.args, func(a string) bool { return slices.Contains(verbs, a) })
	called(f.args[i:]...)
	if slices.Contains(f.args, "--all") {
		return f.all(f.args[i])
	}
	switch f.args[i] {
	case "init":
		return f.initialise()
	case "lock":
		return f.lock()
	case "build":
		return f.build()
	case "version":
		fmt.Println("ampoule 0.0.1")
	case "registry":
		switch f.args[i+1] {
		case "serve":
			return listen(f.flag("--listen"))
		case "token":
			fmt.Println("ampoule_token")
		}
	case "copy":
		if strings.Contains(os.Getenv("DOCKER_CONFIG"), anonymousHome) {
			return fail(7, needsToken)
		}
		if strings.Contains(f.args[len(f.args)-1], "/cut-") && !f.seen("copy") {
			return fail(7, "the registry is gone")
		}
	case "inspect":
		if strings.Contains(f.args[i+1], "/cut-") && !f.seen("inspect") {
			return fail(codeNotFound, "it is not there")
		}
		if f.flag("--output") == "json" && strings.Contains(os.Getenv("FAKE_CLIENTS"), "yes") {
			fmt.Printf(`{"digest": "sha256:%s"}`, digits)
			return 0
		}
		fmt.Println(`{"images": [{"layers": [{"base": true, "size": 1000}, {"size": 200}, {"size": 30}]}]}`)
	case "install":
		return f.install()
	case "audit":
		return f.audit()
	case "run":
		return f.tests()
	}
	return 0
}

// all locks or builds every recipe below the last argument.
func (f *fake) all(verb string) int {
	dir := f.args[len(f.args)-1]
	files, err := recipes.Find(dir)
	if err != nil {
		return fail(3, err.Error())
	}
	if verb == "build" {
		fmt.Print("[")
		defer fmt.Print("]")
	}
	for i, file := range files {
		one := &fake{args: append(slices.Clone(f.args), "-f", file), digest: digits[1:] + fmt.Sprint(i)}
		code := 0
		if verb == "build" {
			fmt.Print([]string{`{"result": `, `, {"result": `}[min(i, 1)])
			code = one.build()
			fmt.Print("}")
		} else {
			code = one.lock()
		}
		if code != 0 {
			return code
		}
	}
	return 0
}

// audit refuses a library of one distribution, and a program of another that was moved.
func (f *fake) audit() int {
	target := f.args[slices.Index(f.args, "audit")+1]
	moved := ""
	if target != madeAt {
		moved = fmt.Sprintf(`, {"check": "metadata", "severity": "refuse", "file": "%s/bin/shop", "distribution": "shop 1.0"}`, target)
	}
	fmt.Printf(`{"units": [{"findings": [
		{"check": "closure", "severity": "refuse", "file": "%[1]s/lib/python3.11/site-packages/cart/broken.so", "distribution": "Cart 2.0"},
		{"check": "closure", "severity": "refuse", "file": "%[1]s/lib/python3.11/site-packages/cart/broken.so", "distribution": "Cart 2.0"},
		{"check": "isa", "severity": "undecided", "file": "%[1]s/lib/python3.11/site-packages/shop/fast.so", "distribution": "shop 1.0"},
		{"check": "record", "severity": "warn", "file": "a"}, {"check": "record", "severity": "warn", "file": "b"}%s]}]}`, target, moved)
	return fail(codeRefused, "the audit refuses 1 of what is in it")
}

// tests lists two modules of CPython's tests, or says what came of those asked for: one fails
// over the artifact alone. Those of a raw build that FAKE_SUITE breaks end after the first.
func (f *fake) tests() int {
	program := f.flag("--")
	if program == "sh" { // It compiles the raw build.
		return 0
	}
	names := f.args[slices.Index(f.args, "--")+3:]
	if len(names) == 0 {
		fmt.Print("test_os\ntest.test_asyncio.test_locks\n")
	}
	raw := strings.HasPrefix(program, rawPrefix)
	for i, name := range names {
		switch {
		case raw && i > 0 && os.Getenv("FAKE_SUITE") == "broken":
			return fail(8, "killed")
		case name == "test_os" && !raw:
			fmt.Printf(`{"test": %q, "result": "failed", "failed": ["test_os.A.test_b", "test_os.A.test_c"], "seconds": 2}`+"\n", name)
		case name == "test_os":
			fmt.Printf(`{"test": %q, "result": "failed", "failed": ["test_os.A.test_c"], "seconds": 2}`+"\n", name)
		default:
			fmt.Printf(`{"test": %q, "result": "passed", "skipped": {"needs root": 3}, "seconds": 1.5}`+"\n", name)
		}
	}
	return 0
}

// seen reports whether the store has done something before, and does it.
func (f *fake) seen(what string) bool {
	mark := filepath.Join(f.flag("--store"), "seen-"+what)
	_, err := os.Stat(mark)
	return err == nil || os.WriteFile(mark, nil, 0o644) != nil
}

// called notes a call.
func called(words ...string) {
	file, err := os.OpenFile(os.Getenv("FAKE_CALLS"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		fmt.Fprintln(file, strings.ReplaceAll(strings.Join(words, " "), "\n", ";"))
		file.Close()
	}
}

func fail(code int, message string) int {
	fmt.Fprintln(os.Stderr, "error: "+message)
	return code
}

// initialise copies a recipe of the real catalogue, without its lock unless
// FAKE_LOCK asks for one.
func (f *fake) initialise() int {
	name, dir := f.flag("--from"), f.args[len(f.args)-1]
	source, err := catalogue.Open(name)
	if err != nil {
		return fail(2, err.Error())
	}
	if err := os.CopyFS(dir, source); err != nil {
		return fail(1, err.Error())
	}
	os.Remove(filepath.Join(dir, lockFile))
	if os.Getenv("FAKE_LOCK") != "" {
		f.args = append(f.args, "-f", filepath.Join(dir, recipeFile))
		return f.lock()
	}
	return 0
}

// tell writes an event as --progress json does.
func tell(second int, kind progress.Kind, stage progress.Stage, task string) {
	e := drive.Event{Time: time.Date(2026, 5, 4, 12, 0, second, 0, time.UTC), Event: progress.Event{Kind: kind, Stage: stage, Task: task}}
	line, _ := json.Marshal(e)
	fmt.Fprintln(os.Stderr, string(line))
}

const digits = "0000000000000000000000000000000000000000000000000000000000000000"

// lock pins every requirement to 1.0, as an sdist. Requiring wrapt fails.
func (f *fake) lock() int {
	r, err := recipes.ReadRecipe(f.flag("-f"))
	if err != nil {
		return fail(3, err.Error())
	}
	reqs, err := recipes.ReadRequirements(r)
	if err != nil {
		return fail(3, err.Error())
	}
	base := recipes.LockedBase{Image: "registry.example/base@sha256:" + digits}
	l := &recipes.Lock{
		APIVersion: recipes.APIVersion, Answers: recipes.MakeAnswers(r, reqs), Base: base,
		Python:  recipes.LockedPython{Version: r.Python.Version, File: "Python-" + r.Python.Version + ".tar.xz", SHA256: digits},
		Targets: map[string]recipes.LockedBase{"container": base},
	}
	for _, q := range reqs.Requirements {
		name := packaging.NormalName(q.Name)
		if name == "wrapt" {
			tell(1, progress.Failed, progress.StageLock, "requirements")
			return fail(8, "no compiler can make wrapt")
		}
		if os.Getenv("FAKE_SLOW") == name {
			time.Sleep(time.Minute)
		}
		d := recipes.Dist{Name: name, Version: "1.0", File: name + "-1.0.tar.gz", SHA256: digits, Build: &recipes.BuildSet{}}
		if name == "mmh3" {
			d.Build.Overrides = []recipes.Applied{{Name: "mmh3", Revision: "1", Why: "it hashes"}}
		}
		l.Dists = append(l.Dists, d)
		l.Requirements = append(l.Requirements, d.ID())
	}
	slices.Sort(l.Requirements)
	slices.SortFunc(l.Dists, func(a, b recipes.Dist) int { return strings.Compare(a.ID(), b.ID()) })
	if err := os.WriteFile(strings.TrimSuffix(f.flag("-f"), ".yaml")+".lock", l.Encode(), 0o644); err != nil {
		return fail(1, err.Error())
	}
	return 0
}

// build takes 100 s for an interpreter and 3 s for each wheel, by its own clock.
// What a store has built under a name and lock it has for ever. psutil does not pass the gate.
func (f *fake) build() int {
	r, err := recipes.ReadRecipe(f.flag("-f"))
	if err != nil {
		return fail(3, err.Error())
	}
	text, err := os.ReadFile(strings.TrimSuffix(f.flag("-f"), ".yaml") + ".lock")
	if err != nil {
		return fail(3, err.Error())
	}
	if gone := os.Getenv("FAKE_GONE"); gone != "" && os.Remove(gone) == nil {
		tell(1, progress.Failed, progress.StageFetch, "")
		return fail(7, "a package is not on the mirror any more")
	}
	l, err := recipes.ParseLock("ampoule.lock", text)
	if err != nil {
		return fail(3, err.Error())
	}
	st, err := store.Open(f.flag("--store"))
	if err != nil {
		return fail(1, err.Error())
	}
	reused, err := st.Lookup("built-by-fake", r.Name+string(text), new(bool))
	if err != nil {
		return fail(1, err.Error())
	}
	if os.Getenv("FAKE_GATES") != "" {
		gated, err := st.Lookup(gateRecords[0], digits, new(bool))
		if err = errors.Join(err, st.Record(gateRecords[0], digits, true)); err != nil {
			return fail(1, err.Error())
		}
		reused = reused && gated
		defer gates(r.Name)
	}
	if !reused && !fromCache(f.flag("--cache-key")) {
		if code := compile(st, r.Name, string(text), l); code != 0 {
			return code
		}
	}
	groups := ""
	if f.flag("--group") != "" {
		groups = `, "groups": [{"digest": "sha256:` + digits[1:] + `1"}]`
	}
	fmt.Printf(`{"ref": "%[1]s@sha256:%[2]s", "digest": "sha256:%[2]s", "reused": %[3]v%[4]s}`, r.Name, cmp.Or(f.digest, os.Getenv("FAKE_DIGEST"), digits), reused, groups)
	return 0
}

// fromCache reports whether a build reads what another one has put into the cache that is
// configured. One that has the cache's key fills it.
func fromCache(key string) bool {
	config := filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "ampoule", "config.toml")
	text, err := os.ReadFile(config)
	if err != nil || !strings.Contains(string(text), "[cache]") || os.Getenv("FAKE_CACHE") == "lost" {
		return false
	}
	if key != "" {
		return os.WriteFile(config+".filled", nil, 0o644) != nil
	}
	_, err = os.Stat(config + ".filled")
	return err == nil
}

// serve is a registry that answers until it is ended.
func serve(config string) int {
	text, err := os.ReadFile(config)
	if err != nil {
		return fail(1, err.Error())
	}
	_, rest, _ := strings.Cut(string(text), `addr: "`)
	address, _, _ := strings.Cut(rest, `"`)
	return listen(address)
}

// listen answers on an address until it is ended.
func listen(address string) int {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fail(1, err.Error())
	}
	for {
		if _, err := l.Accept(); err != nil {
			return fail(1, err.Error())
		}
	}
}

// gates tells of a gate and a publication, which overlap with nothing.
func gates(name string) {
	tell(400, progress.Started, progress.StageGate, name)
	tell(404, progress.Done, progress.StageGate, name)
	tell(405, progress.Started, progress.StagePublish, name)
	tell(407, progress.Done, progress.StagePublish, name)
}

// compile tells what building for real tells, and records it.
func compile(st *store.Store, name, text string, l *recipes.Lock) int {
	tell(0, progress.Started, progress.StageInterpreter, "CPython")
	tell(100, progress.Done, progress.StageInterpreter, "CPython")
	for i, d := range l.Dists {
		tell(100+3*i, progress.Started, progress.StageWheel, d.ID())
		tell(103+3*i, progress.Done, progress.StageWheel, d.ID())
	}
	tell(300, progress.Started, progress.StageSeal, "tree")
	tell(301, progress.Done, progress.StageSeal, "tree")
	if strings.Contains(text, "psutil") {
		tell(302, progress.Failed, progress.StageGate, name)
		return fail(4, "the gate refuses it")
	}
	// CPython's source is in the store of whoever compiled it.
	source := st.Path(digits)
	_, err := st.ID(context.Background())
	if err := errors.Join(err, st.Record("built-by-fake", name+text, true),
		os.MkdirAll(filepath.Dir(source), 0o755), os.WriteFile(source, []byte("source"), 0o644)); err != nil {
		return fail(1, err.Error())
	}
	return 0
}

// install makes a tree with the requirements of the quickstart recipe.
func (f *fake) install() int {
	root := f.flag("--root")
	shell, _ := os.ReadFile("/bin/sh")
	files := map[string]string{
		"bin/python3": string(shell), "lib/libpq.so.5": "carried for nothing that this tree has",
	}
	for _, name := range []string{"flask", "markupsafe", "psycopg2"} {
		site := "lib/python3.13/site-packages/"
		files[site+name+".py"] = "12345"
		files[site+name+"-1.0.dist-info/RECORD"] = name + ".py,,5\n"
	}
	if strings.HasPrefix(filepath.Base(filepath.Dir(root)), "export-") {
		files["current/bin/python3"] = "#!/bin/sh\necho True\n"
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		if os.MkdirAll(filepath.Dir(path), 0o755) != nil || os.WriteFile(path, []byte(text), 0o755) != nil {
			return fail(1, "cannot install")
		}
	}
	fmt.Println(root)
	return 0
}

// needsToken is what a client says that pushes without a token.
const needsToken = "unauthorized: this needs a token"

// fakeTool is pip, python, docker, mmdebstrap, apt-config or a client.
func fakeTool(name string, args []string) int {
	called(append([]string{name}, args...)...)
	last := args[len(args)-1]
	writes := slices.Contains([]string{"push", "copy", "sign"}, args[0])
	switch {
	case writes && strings.Contains(os.Getenv("HOME"), anonymousHome) && os.Getenv("FAKE_OPEN") == "":
		return fail(1, needsToken)
	case name == "unshare":
		i := slices.Index(args, "-i")
		return inFakeMachine(args[i-4], args[i+1:])
	case name == "python":
		fmt.Printf("global.index-url='%s/simple'\n", os.Getenv("FAKE_INDEX"))
	case name == "pip" && args[0] == "config":
		fmt.Print("global.index-url='https://index.example/simple'\n:env:.find-links='/opt/wheels'\n")
	case name == "pip" && strings.HasPrefix(last, "psycopg2"):
		return fail(1, "No matching distribution found for "+last)
	case name == "pip":
		site := args[slices.Index(args, "--target")+1]
		if os.MkdirAll(site, 0o755) != nil || os.WriteFile(filepath.Join(site, "x.py"), []byte("1234"), 0o644) != nil {
			return 1
		}
	case name == "apt-config":
		fmt.Print("Acquire::Check-Date \"false\";\nAPT::Architecture \"amd64\";\nAcquire::http::Proxy \"http://proxy.example\";\n")
	case name == "docker" && args[0] == "image" && args[1] == "ls":
		fmt.Println("ampoule.invalid/fakeid:1\nampoule.invalid/fakeid:2")
	case strings.HasPrefix(name, "client"):
		return fakeClient(strings.TrimPrefix(name, "client "), args)
	case name == "docker" && args[0] == "run" && last == compileByPip:
		fmt.Println(os.Getenv("FAKE_NANOSECONDS"))
	case name == "docker" && args[0] == "run":
		fmt.Println("True")
	case name == "docker" && args[0] == "version":
		fmt.Println("28.0.1")
	case name == "docker-registry":
		return serve(last)
	case name == "docker" && args[0] == "build" && slices.Contains(args, "--cache-from"):
		cached := []string{" ---> Using cache\n", ""}[min(1, len(os.Getenv("FAKE_LAYERS")))]
		fmt.Printf("Step 1/2 : FROM base\nStep 2/2 : COPY x\n%s", cached)
	case name == "docker" && args[0] == "build":
		if os.Getenv("FAKE_DOCKER") == "broken" {
			return fail(1, "no space")
		}
		if kept := os.Getenv("FAKE_CONTEXT"); kept != "" {
			os.RemoveAll(kept)
			os.CopyFS(kept, os.DirFS(last))
		}
		time.Sleep(50 * time.Millisecond)
	}
	return 0
}

// fakeClient is crane, oras, skopeo, cosign or Python. FAKE_WRONG names one that finds another
// digest or fails.
func fakeClient(name string, args []string) int {
	digest := "sha256:" + digits
	wrong := os.Getenv("FAKE_WRONG") == name
	if wrong {
		digest = "sha256:" + digits[1:] + "9"
	}
	switch {
	case args[0] == "--version":
		fmt.Println(name + " version 1.2.3")
	case args[0] == "digest", args[0] == "inspect":
		fmt.Println(digest)
	case args[0] == "discover":
		var all []string
		for _, t := range append(referring, orasComment) {
			all = append(all, fmt.Sprintf(`{"digest": %q, "artifactType": %q}`, digest, t))
		}
		if !wrong {
			all = append(all, fmt.Sprintf(`{"digest": %q, "artifactType": %q}`, digest, "more"))
		}
		fmt.Printf(`{"referrers": [%s]}`, strings.Join(all, ", "))
	case args[0] == "pull" && name == "oras":
		if os.WriteFile(filepath.Join(args[slices.Index(args, "--output")+1], "verdict.json"), []byte(`{"passed": true}`), 0o644) != nil {
			return 1
		}
	case wrong && strings.HasPrefix(args[0], "verify"):
		return fail(1, "no matching signatures")
	case name == "python" && strings.Contains(args[1], "m.version"):
		fmt.Println("11.0.0")
	}
	return 0
}

// fakePeer starts interpreters, and runs benchmarks by them: each takes Ampoule's half a second,
// the others a whole one. Nobody can run the second benchmark but Debian's.
func fakePeer(root string, command []string) int {
	script := command[min(2, len(command)-1)]
	switch {
	case strings.Contains(script, " install "):
		path := filepath.Join(root, command[len(command)-1], "current/bin/python3")
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(os.Getenv("FAKE_PYTHON")), 0o644)); err != nil {
			return fail(1, err.Error())
		}
	case slices.Contains(command, "/srv/peers.py"):
		for _, peer := range peers() {
			fmt.Printf(`{"peer": %q, "values": {"python3 -c pass, seconds": [0.01, 0.02]}}`+"\n", peer.name)
		}
	case strings.Contains(script, "pyperformance list"):
		fmt.Print("'all' benchmarks:\n- 2to3\n- chaos\n\nTotal: 2 benchmarks\n")
	case strings.Contains(script, "pyperformance run"):
		dir, inherited, name, took := command[5], strings.Split(command[7], ","), command[9], 1.0
		for _, setting := range []string{"PIP_CACHE_DIR", "SSL_CERT_FILE", "CC"} {
			if !slices.Contains(inherited, setting) {
				return fail(1, "without "+setting+" pip finds nothing")
			}
		}
		if strings.Contains(dir, "ampoule") {
			took = 0.5
		}
		if name == "chaos" && !strings.Contains(dir, recorded.PeerBase) {
			return fail(1, "no wheel of it")
		}
		text := fmt.Sprintf(`{"metadata": {"name": %q}, "benchmarks": [{"runs": [{"warmups": []}, {"values": [%[2]v, %[2]v]}, {"values": [%[2]v]}]}]}`, name, took)
		path := filepath.Join(root, dir, "result.json")
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			return fail(1, err.Error())
		}
	}
	return 0
}

// inFakeMachine answers for what runs in a machine with this root, behind its environment's variables.
func inFakeMachine(root string, args []string) int {
	command := slices.DeleteFunc(args, func(arg string) bool { return regexp.MustCompile(`^[A-Z_]+=`).MatchString(arg) })
	moved := slices.ContainsFunc(command, func(arg string) bool { return strings.HasPrefix(arg, "/srv/app/") })
	if slices.ContainsFunc(command, func(arg string) bool { return strings.HasPrefix(arg, "/srv/peers") || strings.HasPrefix(arg, "/opt/") }) {
		return fakePeer(root, command)
	}
	switch {
	case slices.Contains(command, installScript) && os.Getenv("FAKE_PIP") == "broken":
		return fail(1, "there is no wheel of it")
	case slices.Contains(command, installScript):
		fmt.Print("shop==1.0\ncart==2.0\n")
	case slices.Contains(command, "list"):
		fmt.Print(`{"things": [{"name": "shop", "kind": "package"}, {"name": "shop.fast", "kind": "native", "file": "shop/fast.so", "dist": "shop 1.0"},
			{"name": "cart.good", "kind": "native", "file": "cart/good.so", "dist": "cart 2.0"}, {"name": "cart.broken", "kind": "native", "file": "cart/broken.so", "dist": "cart 2.0"}],
			"tags": {"shop 1.0": ["cp311-abi3-linux_x86_64"], "cart 2.0": ["cp311-cp311-linux_x86_64"]}, "programs": ["cart", "shop"]}`)
	case slices.Contains(command, "try"):
		fast := `"works", "why": ""`
		if moved {
			fast = `"fails", "why": "ImportError: it moved"`
		}
		fmt.Printf(`{"name": "shop", "word": "works", "why": ""}
			{"name": "shop.fast", "word": %s}
			{"name": "cart.good", "word": "loads", "why": "ImportError: another package"}
			{"name": "cart.broken", "word": "fails", "why": "OSError:  no such library"}`, fast)
	case slices.Contains(command, startScript):
		shop := "42\t\tshop"
		if moved {
			shop = "126\tsh: shop: bad interpreter\tshop"
		}
		fmt.Print("127\tsh: cart: not found\tcart\n" + shop + "\n")
	}
	return 0
}
