package trials

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ampoule/bench/internal/corpus"
	"ampoule/bench/internal/machine"
	"ampoule/bench/internal/recorded"
)

// A subject is an environment of the corpus, whole or broken.
type subject struct {
	env    corpus.Environment
	python string
	// breakage is nil for a whole one, of which breaks says that there are breakages.
	breakage *corpus.Breakage
	breaks   bool
}

// name is what it is recorded under.
func (s subject) name() string {
	name := s.env.Name + "/" + s.python
	if s.breakage != nil {
		name += "/" + s.breakage.Name
	}
	return name
}

// what says what it is for, or what was broken.
func (s subject) what() string {
	if s.breakage != nil {
		return s.breakage.What
	}
	return s.env.What
}

// Where an environment is in its machine, as it was made and as the subject is.
const madeAt = "/srv/env"

func (s subject) at() string {
	if s.breakage != nil && s.breakage.Now != "" {
		return s.breakage.Now
	}
	return madeAt
}

// subjects lists the corpus: each environment whole, and behind it what becomes of it.
func subjects() ([]subject, error) {
	environments, err := corpus.Environments()
	if err != nil {
		return nil, err
	}
	breakages, err := corpus.Breakages()
	if err != nil {
		return nil, err
	}
	var all []subject
	for _, env := range environments {
		for _, python := range env.Pythons {
			whole := subject{env: env, python: python}
			var broken []subject
			for _, b := range breakages {
				if b.Of == whole.name() {
					broken = append(broken, subject{env: env, python: python, breakage: &b, breaks: true})
				}
			}
			whole.breaks = len(broken) > 0
			all = append(append(all, whole), broken...)
		}
	}
	return all, nil
}

// VerdictNames lists the corpus: NAME/PYTHON, and NAME/PYTHON/BREAKAGE.
func VerdictNames() ([]string, error) {
	all, err := subjects()
	var names []string
	for _, s := range all {
		names = append(names, s.name())
	}
	return names, err
}

// Verdicts compares what an audit says of the corpus's environments with what works in them:
// each extension module is imported and each program is started, in a machine that is a
// directory. Machines are kept below Machines, and what was seen in one is kept with it, so
// that another program is asked about the same bytes without installing and importing again.
func (t *Trials) Verdicts(ctx context.Context, names []string) error {
	all, err := subjects()
	if err != nil {
		return err
	}
	known := map[string]subject{}
	var order []string
	for _, s := range all {
		known[s.name()], order = s, append(order, s.name())
	}
	if names, err = chosen(order, names); err != nil {
		return err
	}
	book, err := recorded.Open[recorded.Verdict](filepath.Join(t.Results, recorded.VerdictsFile))
	if err != nil {
		return err
	}
	return each(t, book, names, func(name string) (recorded.Verdict, error) {
		return t.verdict(ctx, book, known[name])
	})
}

// verdict makes a subject's machine, looks what works in it, and audits it.
func (t *Trials) verdict(ctx context.Context, book *recorded.Book[recorded.Verdict], s subject) (recorded.Verdict, error) {
	r := recorded.Verdict{Name: s.name(), Outcome: t.today(), What: s.what()}
	whole := subject{env: s.env, python: s.python, breaks: s.breaks}
	m, err := t.wholeMachine(ctx, whole)
	if err != nil {
		return r, t.failed(&r.Outcome, err, "install")
	}
	had, err := t.observed(ctx, whole, m)
	if err != nil {
		return r, err
	}
	before, now := recorded.Verdict{}, had
	if s.breakage != nil {
		var ok bool
		before, ok = book.Get(whole.name())
		if !ok {
			return r, fmt.Errorf("%s is to be measured whole first", whole.name())
		}
		if m, err = t.brokenMachine(ctx, s, m); err != nil {
			return r, t.failed(&r.Outcome, err, "break")
		}
		if now, err = t.observedBroken(ctx, s, m, had); err != nil {
			return r, err
		}
	} else if err := madeOf(&r, m); err != nil {
		return r, err
	}
	return r, m.With(ctx, func() error {
		told, err := t.audited(ctx, s, m)
		if err != nil {
			return err
		}
		r.Passed, r.Seconds, r.Code = true, seconds(told.took), told.code
		describe(&r, s, had, now)
		judge(&r, s, told, before)
		return nil
	})
}

// interpreters are the prefixes of the machines' Pythons, by minor version.
func (t *Trials) interpreters() (map[string]string, error) {
	found := map[string]string{}
	for _, minor := range []string{"3.9", "3.11", "3.13"} {
		prefixes, err := filepath.Glob(filepath.Join(t.Pythons, minor+".*"))
		if err != nil || len(prefixes) == 0 {
			return nil, fmt.Errorf("there is no Python %s below %s: %w", minor, t.Pythons, errors.Join(err, os.ErrNotExist))
		}
		found[minor] = slices.Max(prefixes)
	}
	return found, nil
}

// suite is the Debian release of the machines.
const suite = "bookworm"

// libraries are what the interpreters' own modules need of Debian, and what any Python program
// may want to find.
const libraries = "ca-certificates,libssl3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5,libreadline8,libncursesw6,libuuid1,libtirpc3,libnsl2,netbase,tzdata,media-types"

// world makes the system below all machines, once: Debian with three interpreters at the paths
// that they have here, without what was installed into them.
func (t *Trials) world(ctx context.Context) (string, error) {
	dir := filepath.Join(t.Machines, "world")
	done := dir + ".made"
	if _, err := os.Stat(done); err == nil {
		return dir, nil
	}
	prefixes, err := t.interpreters()
	if err != nil {
		return "", err
	}
	t.Say("making a %s system with %d interpreters", suite, len(prefixes))
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(t.Machines, 0o755)); err != nil {
		return "", err
	}
	if _, err := t.Bootstrap.Run(ctx, "--variant=minbase", "--format=directory", "--include="+libraries, suite, dir); err != nil {
		return "", err
	}
	for minor, prefix := range prefixes {
		if err := t.copyInterpreter(ctx, prefix, minor, dir); err != nil {
			return "", fmt.Errorf("copying Python %s: %w", minor, err)
		}
	}
	return dir, os.WriteFile(done, nil, 0o644)
}

// copyScript copies a prefix to the same path below another root.
const copyScript = `set -e
prefix=$1 lib=$1/lib/python$2 root=$3
tar -C / -cf - --exclude=".$lib/site-packages" --exclude=".$lib/test" --exclude=__pycache__ --exclude='*.a' \
  ".$prefix/lib" ".$prefix/include" ".$prefix/bin/python" ".$prefix/bin/python3" ".$prefix/bin/python$2" | tar -C "$root" -xf -
mkdir -p "$root$lib/site-packages"
for dir in $(echo "$prefix" | tr / ' '); do path=$path/$dir; chmod a+rx "$root$path"; done
chroot "$root" "$prefix/bin/python3" -m ensurepip >/dev/null
`

func (t *Trials) copyInterpreter(ctx context.Context, prefix, minor, root string) error {
	_, err := t.Shell.Run(ctx, "-c", copyScript, "sh", prefix, minor, root)
	return err
}

// installed and broke are the steps of a machine that are noted in it.
const (
	installed = "installed"
	broke     = "broken"
)

// installScript makes an environment, with the packages of the system behind the interpreter.
// With UV that installs: it needs no pip in the environment, which only breakages call.
const installScript = `set -e
python=$1; shift
if [ $# -gt 0 ]; then
  apt-get update -qq
  apt-get install -qq -y --no-install-recommends "$@" >/dev/null
  rm -rf /var/lib/apt/lists/*
fi
if [ -n "$UV" ]; then
  "$python" -m venv $WITHOUT_PIP /srv/env
  "$UV" pip install --quiet --python /srv/env/bin/python -r /srv/requirements.txt
  "$UV" pip freeze --python /srv/env/bin/python
else
  "$python" -m venv /srv/env
  /srv/env/bin/pip install --quiet --no-compile -r /srv/requirements.txt
  /srv/env/bin/pip freeze
fi
`

// uvFile is where a machine has uv, while something is installed.
const uvFile = "/tmp/uv"

// installer is how something is installed in a machine: by uv if there is one, else by pip.
func (t *Trials) installer(s subject, m *machine.Machine, way *machine.Way) (string, error) {
	if t.UV == "" {
		return "pip", nil
	}
	program, err := os.ReadFile(t.UV)
	if err == nil {
		err = m.Write(uvFile, string(program))
	}
	if err == nil {
		err = os.Chmod(m.File(uvFile), 0o755)
	}
	way.Env = append(way.Env, "UV="+uvFile, "UV_CACHE_DIR=/var/cache/pip/uv", "UV_LINK_MODE=copy", "SSL_CERT_FILE="+trustedFile)
	if !s.breaks {
		way.Env = append(way.Env, "WITHOUT_PIP=--without-pip")
	}
	return "uv", err
}

// wholeMachine is the machine of a whole subject, which it makes if it is not there.
func (t *Trials) wholeMachine(ctx context.Context, s subject) (*machine.Machine, error) {
	world, err := t.world(ctx)
	if err != nil {
		return nil, err
	}
	m := t.Host.Over(filepath.Join(t.Machines, s.env.Name+"-"+s.python, "whole"), world)
	if m.Done(installed) {
		return m, nil
	}
	prefixes, err := t.interpreters()
	if err != nil {
		return nil, err
	}
	if err := m.Forget(); err != nil {
		return nil, err
	}
	err = m.With(ctx, func() error {
		way, err := t.networked(m)
		if err != nil {
			return err
		}
		if err := m.Write("/srv/requirements.txt", s.env.Requirements); err != nil {
			return err
		}
		name, err := t.installer(s, m, &way)
		if err != nil {
			return err
		}
		args := append([]string{"-c", installScript, "sh", filepath.Join(prefixes[s.python], "bin", "python3")}, s.env.System...)
		run, err := m.Program(way, "sh").Run(ctx, args...)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(m.State(freezeFile), []byte(run.Out), 0o644), os.WriteFile(m.State(installerFile), []byte(name), 0o644), m.Remove(trustedFile, uvFile))
	})
	if err != nil {
		return nil, err
	}
	return m, m.Finish(installed)
}

// Files that are kept with a whole machine: what was installed, and by what.
const (
	freezeFile    = "freeze"
	installerFile = "installer"
)

// madeOf writes down what a machine was made of.
func madeOf(r *recorded.Verdict, m *machine.Machine) error {
	frozen, err := os.ReadFile(m.State(freezeFile))
	if err != nil {
		return err
	}
	by, err := os.ReadFile(m.State(installerFile))
	r.Frozen, r.Installer = strings.Fields(string(frozen)), strings.TrimSpace(string(by))
	return err
}

// brokenMachine is a whole machine after a breakage.
func (t *Trials) brokenMachine(ctx context.Context, s subject, whole *machine.Machine) (*machine.Machine, error) {
	m := t.Host.Over(filepath.Join(t.Machines, s.env.Name+"-"+s.python, s.breakage.Name), append([]string{whole.Layer()}, whole.Lower...)...)
	if m.Done(broke) {
		return m, nil
	}
	prefixes, err := t.interpreters()
	if err != nil {
		return nil, err
	}
	if err := m.Forget(); err != nil {
		return nil, err
	}
	other := "3.11"
	if s.python == other {
		other = "3.13"
	}
	err = m.With(ctx, func() error {
		way, err := t.networked(m)
		if err != nil {
			return err
		}
		way.Env = append(way.Env, "ENV="+madeAt, "SITE="+site(s, madeAt), "BASE="+prefixes[s.python], "OTHER="+prefixes[other],
			"PATH="+madeAt+"/bin:"+systemPath)
		if _, err := m.Program(way, "sh").Run(ctx, "-ec", s.breakage.Script); err != nil {
			return err
		}
		return m.Remove(trustedFile)
	})
	if err != nil {
		return nil, err
	}
	return m, m.Finish(broke)
}

func site(s subject, env string) string { return env + "/lib/python" + s.python + "/site-packages" }

const (
	systemPath = "/usr/sbin:/usr/bin:/sbin:/bin"
	// trustedFile is where a machine has what this one trusts, while something is installed.
	trustedFile = "/tmp/trustedFile.pem"
)

// networked is how something is installed: as root, with this system's network, pip's
// variables and pip's cache.
func (t *Trials) networked(m *machine.Machine) (machine.Way, error) {
	way := machine.Way{Network: true, Cache: t.Cache, Env: []string{
		"PATH=" + systemPath, "HOME=/tmp", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "PIP_CACHE_DIR=/var/cache/pip", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_ROOT_USER_ACTION=ignore",
	}}
	if err := os.MkdirAll(t.Cache, 0o755); err != nil {
		return way, err
	}
	names, err := os.ReadFile("/etc/resolv.conf")
	if err == nil {
		err = m.Write("/etc/resolv.conf", string(names))
	}
	if err != nil {
		return way, err
	}
	for _, name := range []string{"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_DEFAULT_TIMEOUT"} {
		if value := os.Getenv(name); value != "" {
			way.Env = append(way.Env, name+"="+value)
		}
	}
	if file := os.Getenv("PIP_CERT"); file != "" {
		trusted, err := os.ReadFile(file)
		if err == nil {
			err = m.Write(trustedFile, string(trusted))
		}
		if err != nil {
			return way, err
		}
		way.Env = append(way.Env, "PIP_CERT="+trustedFile)
	}
	return way, nil
}

// tryTime bounds what looking at one machine takes.
const tryTime = 30 * time.Minute
