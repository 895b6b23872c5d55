package trials

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/machine"
	"ampoule/bench/internal/recorded"
	"ampoule/recipes"
	"ampoule/recipes/profiles"
)

// peersScript starts interpreters in turns.
//
//go:embed peers.py
var peersScript string

// sitecustomize has pyperformance compare processor time.
//
//go:embed sitecustomize.py
var sitecustomize string

// clockDir is the directory of that module in the machine.
const clockDir = "/srv/clock"

// What peers are compared with.
const (
	// peersSuite is the Debian release in which all peers run, with its own Python among them.
	peersSuite = "trixie"
	// pyperformance is the version of the set of benchmarks.
	pyperformance = "1.14.0"
	// startTimes is how often each interpreter is started.
	startTimes = 40
)

// optimised are the flags of what is compared as fast.
var optimised = []string{"--enable-optimizations", "--with-lto"}

// boltFlag has BOLT arrange an interpreter.
const boltFlag = "--enable-bolt"

// peer is one interpreter.
type peer struct {
	name string
	// python is its path in the machine.
	python string
	// interpreter is what it is made of. Of Debian's own that is not known.
	interpreter
	// built says that Ampoule builds it; what is neither built nor Debian's is compiled by hand.
	built bool
	// executable is the hash of what is built, as [recorded.Peer] has it.
	executable string
}

// choices are what a recipe may choose beside the link mode, each of a static interpreter.
var choices = []struct {
	name, suite string
	keys        map[string]string
	builtin     bool
}{
	{name: "static, GCC 12", suite: "bookworm"},
	{name: "static, GCC 12, fixed address", suite: "bookworm", keys: map[string]string{"executable": "no-pie"}},
	{name: "static, GCC 14", suite: peersSuite},
	{name: "static, GCC 14, modules linked in", suite: peersSuite, builtin: true},
	{name: "static, clang 18", suite: peersSuite, keys: map[string]string{"compiler": "clang-18"}},
	{name: "static, GCC 14, x86-64-v3", suite: peersSuite, keys: map[string]string{"cpu": "x86-64-v3"}},
}

// Debian's interpreter is what the others are divided by.
func peers() []peer {
	all := []peer{
		{name: recorded.PeerBase, python: "/usr/bin/python3.13"},
		{name: "pyenv", python: "/opt/pyenv/bin/python3"},
		{name: "by hand", python: "/opt/by-hand/bin/python3", interpreter: interpreter{configure: optimised}},
	}
	// These are the fastest that docs/interpreter.md recommends.
	for _, m := range linkModes {
		what := interpreter{configure: slices.Concat(m.configure, optimised, []string{boltFlag}), suite: peersSuite, builtin: true}
		what.initialExec = what.mode() == recipes.Shared
		all = append(all, ours(m.name, what))
	}
	for _, c := range choices {
		all = append(all, ours(c.name, interpreter{configure: optimised, suite: c.suite, keys: c.keys, builtin: c.builtin}))
	}
	return all
}

// ours is an interpreter that Ampoule builds.
func ours(name string, what interpreter) peer {
	p := peer{name: recorded.PeerOurs + name, interpreter: what, built: true}
	p.python = p.root() + "/current/bin/python3"
	return p
}

// asFile makes a peer's name one of a file.
var asFile = strings.NewReplacer(" ", "-", ",", "")

// root is the directory that a peer of this project's own making is in.
func (p peer) root() string { return "/opt/" + asFile.Replace(p.name) }

// work is the peer's own directory in the machine: an environment with the benchmarks.
func (p peer) work() string { return "/srv/peers/" + asFile.Replace(p.name) }

// step names the preparation of a peer, by the artifact that is installed or by what is compiled.
func (p peer) step(artifact string) string {
	of := artifact
	if !p.built {
		of = fmt.Sprintf("%+v", p.interpreter)
	}
	sum := sha256.Sum256([]byte(of))
	return fmt.Sprintf("peer-%s-%x", asFile.Replace(p.name), sum[:6])
}

// Peers starts several interpreters in one Debian, and runs the default set of pyperformance by them: all, or
// those benchmarks (starting is [recorded.PeerStarts]) and interpreters that are asked for. The interpreters
// take turns with each benchmark, or are together, and each turn is recorded as it ends.
func (t *Trials) Peers(ctx context.Context, benchmarks, only []string) error {
	all, err := chosenPeers(only)
	if err != nil {
		return err
	}
	book, err := recorded.Open[recorded.Peer](filepath.Join(t.Results, recorded.PeersFile))
	if err != nil {
		return err
	}
	world, err := t.peersWorld(ctx)
	if err != nil {
		return err
	}
	m := t.peersMachine(world)
	return m.With(ctx, func() error {
		r := &race{t: t, m: m, book: book, peers: all}
		if r.way, err = t.networked(m); err != nil {
			return err
		}
		r.way.Env = append(r.way.Env, "SSL_CERT_FILE="+trustedFile)
		for i := range r.peers {
			if err := r.prepare(ctx, &r.peers[i]); err != nil {
				return fmt.Errorf("preparing %s: %w", r.peers[i].name, err)
			}
		}
		if len(benchmarks) == 0 || slices.Contains(benchmarks, recorded.PeerStarts) {
			if err := r.starts(ctx); err != nil {
				return err
			}
		}
		asked := slices.DeleteFunc(slices.Clone(benchmarks), func(name string) bool { return name == recorded.PeerStarts })
		if len(asked) == 0 && len(benchmarks) > 0 {
			return nil
		}
		return r.benchmarks(ctx, asked)
	})
}

// PeerNames lists the interpreters of [Trials.Peers].
func PeerNames() []string {
	var names []string
	for _, p := range peers() {
		names = append(names, p.name)
	}
	return names
}

// chosenPeers are all if none is asked for. Debian's, which the others are divided by, is always one.
func chosenPeers(asked []string) ([]peer, error) {
	names, err := chosen(PeerNames(), asked)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(peers(), func(p peer) bool { return p.name != recorded.PeerBase && !slices.Contains(names, p.name) }), nil
}

// race is a comparison in one machine.
type race struct {
	t   *Trials
	m   *machine.Machine
	way machine.Way
	// mu guards book.
	mu   sync.Mutex
	book *recorded.Book[recorded.Peer]
	// peers are those that race, Debian's first.
	peers []peer
	// set is how many benchmarks pyperformance's default set has, once that is known.
	set int
}

// peersPackages are what compiling CPython takes, and what benchmarks and the web recipe compile.
const peersPackages = "ca-certificates,python3.13,python3.13-venv,python3.13-dev,build-essential,pkg-config,libssl-dev,libffi-dev,libsqlite3-dev,libbz2-dev,liblzma-dev,libreadline-dev," +
	"libncurses-dev,uuid-dev,zlib1g-dev,libgdbm-dev,libexpat1-dev,xz-utils,libtirpc3t64,libnsl2,netbase,tzdata,git,libpq-dev"

// peersWorld makes the system that the peers run in. What stood on another one goes.
func (t *Trials) peersWorld(ctx context.Context) (string, error) {
	return t.system(ctx, "peers-world", peersSuite, peersPackages, t.peersMachine("").Forget)
}

// peersMachine is the machine of the peers, above such a system.
func (t *Trials) peersMachine(world string) *machine.Machine {
	return t.Host.Over(filepath.Join(t.Machines, "peers-machine"), world)
}

// sh runs a script in the machine.
func (r *race) sh(ctx context.Context, script string, args ...string) (*drive.Run, error) {
	return r.m.Program(r.way, "sh").Run(ctx, append([]string{"-ec", script, "sh"}, args...)...)
}

// prepare makes a peer and its environment, once. What Ampoule builds is built anew if the program or
// the recipe's base would now make another artifact.
func (r *race) prepare(ctx context.Context, p *peer) error {
	var artifact string
	if p.built {
		var err error
		if artifact, err = r.t.artifact(ctx, p.interpreter); err != nil {
			return err
		}
	}
	if step := p.step(artifact); !r.m.Done(step) {
		r.t.Say("%s: preparing it", p.name)
		if err := r.environment(ctx, *p, artifact); err != nil {
			return err
		}
		if err := r.m.Finish(step); err != nil {
			return err
		}
	}
	if !p.built {
		return nil
	}
	var err error
	p.executable, err = executableHash(r.m.File(p.root()))
	return err
}

// environment makes a peer, installed from an artifact or compiled, and its environment.
func (r *race) environment(ctx context.Context, p peer, artifact string) error {
	if err := r.m.Remove(p.work(), p.root()); err != nil {
		return err
	}
	var err error
	switch {
	case p.built:
		err = r.installed(ctx, artifact, p.root())
	case p.name != recorded.PeerBase:
		err = r.compile(ctx, p)
	}
	if err != nil {
		return err
	}
	web, _, err := r.web(ctx)
	if err != nil {
		return err
	}
	const script = `python=$1 dir=$2; shift 2; "$python" -m venv "$dir"; ` + byOneCompiler + ` "$dir/bin/pip" install --quiet "$@"`
	_, err = r.sh(ctx, script, append([]string{p.python, p.work(), "pyperformance==" + pyperformance}, web...)...)
	return err
}

// executableHash hashes the executable of the current release in a directory, and its libpython if it has one.
func executableHash(dir string) (sum string, err error) {
	const executable, library = "current/bin/python3", "current/lib/libpython*.so.1.0"
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	libraries, err := fs.Glob(root.FS(), library)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, name := range append([]string{executable}, libraries...) {
		text, err := root.ReadFile(name)
		if err != nil {
			return "", err
		}
		hash.Write(text)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// byOneCompiler has extension modules compiled by the machine's GCC, also for an interpreter of clang.
const byOneCompiler = "CC=gcc CXX=g++"

// web lists what the web recipe requires, and the modules that its test imports.
func (r *race) web(ctx context.Context) (requirements, imports []string, err error) {
	err = inTemp(func(work string) error {
		dir, err := r.t.fromCatalogue(ctx, work, webRecipe)
		if err != nil {
			return err
		}
		recipe, err := recipes.ReadRecipe(filepath.Join(dir, recipeFile))
		if err != nil {
			return err
		}
		lock, err := readLock(dir)
		if err != nil {
			return err
		}
		requirements, imports = lock.Requirements, recipe.Test.Imports
		return nil
	})
	return requirements, imports, err
}

// locked locks a recipe of an interpreter below work, and returns its directory.
func (t *Trials) locked(ctx context.Context, work string, what interpreter) (dir string, err error) {
	dir = filepath.Join(work, "peers")
	text, err := what.recipe("peers", "")
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, recipeFile), []byte(text), 0o644)
	}
	if err != nil {
		return "", err
	}
	_, err = t.lock(ctx, t.Store, dir)
	return dir, err
}

// shipped pins the training profile that ships for an optimised interpreter, if one does.
func (i interpreter) shipped() (interpreter, bool) {
	if i.keys["cpu"] != "" {
		return i, false
	}
	b := profiles.Build{
		Version: testedPython, Suite: i.base(), Compiler: i.keys["compiler"],
		Mode: i.mode(), Bolt: slices.Contains(i.configure, boltFlag), Builtin: i.builtin, InitialExec: i.initialExec,
	}
	profile, ok := profiles.For(b)
	if ok {
		i.keys = maps.Clone(i.keys)
		if i.keys == nil {
			i.keys = map[string]string{}
		}
		i.keys["profile"] = profile
	}
	return i, ok
}

// artifact builds an interpreter, if the store has not done so, and names the artifact.
func (t *Trials) artifact(ctx context.Context, what interpreter) (ref string, err error) {
	err = inTemp(func(work string) error {
		what, ships := what.shipped()
		dir, err := t.locked(ctx, work, what)
		if err != nil {
			return err
		}
		if !ships {
			// A build by a profile takes a quarter of the time of one that trains for itself alone.
			if _, err := t.in(t.Store).Run(ctx, "pgo-profile", "--write", "-f", filepath.Join(dir, recipeFile)); err != nil {
				return err
			}
		}
		b, _, err := t.build(ctx, t.Store, dir)
		ref = b.Ref
		return err
	})
	return ref, err
}

// installed installs an artifact in the machine: a program of this system's would look whether the
// artifact runs on this system, which may be an older one.
func (r *race) installed(ctx context.Context, ref, root string) (err error) {
	const program, file, store = "/srv/ampoule", "/srv/artifact.tar", "/srv/store"
	defer func() { err = errors.Join(err, r.m.Remove(program, file, store)) }()
	text, err := os.ReadFile(r.t.Ampoule.Path)
	if err != nil {
		return err
	}
	if err := r.m.Write(program, string(text)); err != nil {
		return err
	}
	if _, err := r.t.in(r.t.Store).Run(ctx, "export", ref, "--to", r.m.File(file)); err != nil {
		return err
	}
	const script = `chmod +x "$1"; exec "$1" --store "$2" install "$3" --root "$4"`
	_, err = r.sh(ctx, script, program, store, file, root)
	return err
}

// compile compiles a peer in the machine, of the source that Ampoule's own are made of.
func (r *race) compile(ctx context.Context, p peer) error {
	return inTemp(func(work string) error {
		dir, err := r.t.locked(ctx, work, interpreter{})
		if err != nil {
			return err
		}
		source, _, err := r.t.source(ctx, dir)
		if err == nil {
			err = r.m.Write("/srv/source.tar.xz", string(source))
		}
		if err != nil {
			return err
		}
		const script = `prefix=$1 jobs=$2; shift 2
			rm -rf /srv/source; mkdir /srv/source; tar -C /srv/source --strip-components 1 -xf /srv/source.tar.xz; cd /srv/source
			{ ./configure --prefix="$prefix" "$@"; make -j"$jobs"; make install; } >/srv/build.log 2>&1; rm -rf /srv/source`
		_, err = r.sh(ctx, script, append([]string{p.root(), fmt.Sprint(r.t.jobs())}, p.configure...)...)
		return err
	})
}
