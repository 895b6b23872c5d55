package trials

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/recorded"
	"ampoule/recipes"
)

// AllServices is how many services there are.
const AllServices = 10

// services are the requirements of services of one repository: subsets of a few frameworks
// and native distributions, as its teams need them.
var services = [AllServices]struct {
	name  string
	wants []string
}{
	{"shop", []string{"flask", "gunicorn", "psycopg2"}},
	{"cart", []string{"flask", "psycopg2", "msgpack"}},
	{"mail", []string{"jinja2", "pyyaml"}},
	{"search", []string{"msgpack", "zope-interface"}},
	{"feed", []string{"multidict", "pyyaml"}},
	{"auth", []string{"flask", "itsdangerous", "greenlet"}},
	{"jobs", []string{"gunicorn", "greenlet", "psycopg2"}},
	{"events", []string{"frozenlist", "multidict"}},
	{"media", []string{"wrapt", "markupsafe"}},
	{"report", []string{"simplejson", "jinja2", "pyyaml"}},
}

// serviceImports are modules that are not named as what brings them.
var serviceImports = map[string]string{"pyyaml": "yaml._yaml", "zope-interface": "zope.interface", "markupsafe": "markupsafe._speedups"}

// The versions of CPython before and after.
const (
	oldPython = "3.13.5"
	newPython = "3.13.15"
)

// sharedFile is what all services extend.
const sharedFile = "python.yaml"

// sharedRecipe is its content.
const sharedRecipe = `apiVersion: ampoule/v1
python:
  version: ` + oldPython + `
  configure: []
  optional: [_tkinter]
base: {debian: bookworm}
runtime:
  container: {base: {debian: bookworm}}
  vm: {glibc: "2.36"}
`

// changedPackage is the Debian package whose version tells the last change.
const changedPackage = "libssl-dev"

// Services writes so many services that extend one file, and locks and builds all: with one
// version of CPython, with another, and with the libraries of Debian's security archive, which
// it does without before. Nothing of a service is compiled when it begins: its wheels have a
// setting of their own.
func (t *Trials) Services(ctx context.Context, count int) error {
	if count < 1 || count > AllServices {
		return fmt.Errorf("there are services 1 to %d, not %d", AllServices, count)
	}
	book, err := recorded.Open[recorded.Rollout](filepath.Join(t.Results, recorded.ServicesFile))
	if err != nil {
		return err
	}
	return inTemp(func(work string) error {
		r := &repository{t: t, dir: filepath.Join(work, "services"), settings: filepath.Join(work, "settings"), count: count}
		if err := r.write(); err != nil {
			return err
		}
		for _, turn := range r.turns() {
			t.Say("%s", turn.name)
			rolled, err := r.roll(ctx, turn)
			if err != nil {
				return fmt.Errorf("%s: %w", turn.name, err)
			}
			t.Say("%s: %.1f s, of which %.1f s for interpreters; %d wheels compiled, %d commands", turn.name,
				rolled.LockSeconds+rolled.BuildSeconds, rolled.InterpreterSeconds, rolled.Wheels, rolled.Commands)
			if err := book.Put(rolled); err != nil {
				return err
			}
		}
		return nil
	})
}

// repository is a tree of services.
type repository struct {
	t   *Trials
	dir string
	// settings is the directory of a configuration without Debian's security archive.
	settings string
	count    int
}

// rollout is one change of what the services share.
type rollout struct {
	name string
	// edits are what is replaced in the shared file, and what stands there then.
	edits [][2]string
	// upgrade moves the pins of packages; without has Debian's security archive left out.
	upgrade, without bool
}

func (r *repository) turns() []rollout {
	return []rollout{
		{name: "first build", without: true},
		{name: "new CPython", edits: [][2]string{{"version: " + oldPython, "version: " + newPython}}, without: true},
		{name: "new libssl", upgrade: true},
	}
}

// write writes the services.
func (r *repository) write() error {
	files := map[string]string{
		filepath.Join(r.dir, sharedFile):                    sharedRecipe,
		filepath.Join(r.settings, "ampoule", "config.toml"): "[sources.debian]\nwithout = [\"security\"]\n",
	}
	// A setting that no build asks for makes other keys.
	only := fmt.Sprint(r.t.Now().UnixNano())
	for _, s := range services[:r.count] {
		files[filepath.Join(r.dir, s.name, recipeFile)] = serviceRecipe(s.name, s.wants, only)
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// serviceRecipe is the recipe of one service.
func serviceRecipe(name string, wants []string, only string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: ampoule/v1\nextends: ../%s\nname: services/%s\nrequirements: [%s]\npackages:\n", sharedFile, name, strings.Join(wants, ", "))
	native := slices.Clone(wants)
	if slices.Contains(wants, "flask") || slices.Contains(wants, "jinja2") {
		native = append(native, "markupsafe")
	}
	slices.Sort(native)
	for _, dist := range slices.Compact(native) {
		if dist == "psycopg2" {
			fmt.Fprintf(&b, "  %s: {build: [libpq-dev], env: {AMPOULE_SERVICES: %q}}\n", dist, only)
			continue
		}
		if !slices.Contains(pureServices, dist) {
			fmt.Fprintf(&b, "  %s: {env: {AMPOULE_SERVICES: %q}}\n", dist, only)
		}
	}
	imports := make([]string, len(wants))
	for i, dist := range wants {
		imports[i] = dist
		if module, other := serviceImports[dist]; other {
			imports[i] = module
		}
	}
	fmt.Fprintf(&b, "test: {imports: [%s]}\n", strings.Join(imports, ", "))
	return b.String()
}

// pureServices are what has no native code: published wheels of it are taken.
var pureServices = []string{"flask", "gunicorn", "itsdangerous", "jinja2"}

// roll makes a change, and locks and builds all services.
func (r *repository) roll(ctx context.Context, turn rollout) (recorded.Rollout, error) {
	o := recorded.Rollout{Name: turn.name, Outcome: r.t.today(), Services: r.count, Edits: len(turn.edits)}
	for _, e := range turn.edits {
		if err := edit(filepath.Join(r.dir, sharedFile), e[0], e[1]); err != nil {
			return o, err
		}
	}
	ampoule := r.t.in(r.t.Store)
	if turn.without {
		ampoule.Env = append(slices.Clone(ampoule.Env), "XDG_CONFIG_HOME="+r.settings)
	}
	lock := []string{"lock", "--all"}
	if turn.upgrade {
		lock = append(lock, "--upgrade")
	}
	locked, err := ampoule.Run(ctx, append(lock, r.dir)...)
	if err != nil {
		return o, err
	}
	build := []string{"build", "--all", "--output", "json"}
	if r.t.Jobs > 0 {
		build = append(build, "--jobs", fmt.Sprint(r.t.Jobs))
	}
	made, err := ampoule.Run(ctx, append(build, r.dir)...)
	if err != nil {
		return o, err
	}
	o.Passed, o.Commands = true, 2
	o.LockSeconds, o.BuildSeconds = seconds(locked.Wall), seconds(made.Wall)
	o.InterpreterSeconds = seconds(interpreterTime(locked, made))
	o.Interpreters = len(madeIn("interpreter", locked, made))
	o.Wheels = len(madeIn("wheel", locked, made))
	if o.Digests, err = digestsOf(made.Out, r.count); err != nil {
		return o, err
	}
	o.Python, o.Libssl, err = r.versions()
	return o, err
}

// madeIn lists the tasks of a stage that runs did, each time that one did.
func madeIn(stage string, runs ...*drive.Run) []string {
	var tasks []string
	for _, run := range runs {
		tasks = append(tasks, run.Tasks(stage)...)
	}
	return tasks
}

// digestsOf reads what `ampoule build --all --output json` printed: as many different digests as
// there are services.
func digestsOf(text string, count int) ([]string, error) {
	var all []struct{ Result built }
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("reading what ampoule build --all printed: %w", err)
	}
	var digests []string
	for _, one := range all {
		digests = append(digests, one.Result.Digest)
	}
	slices.Sort(digests)
	digests = slices.Compact(digests)
	if len(digests) != count || digests[0] == "" {
		return nil, fmt.Errorf("ampoule build --all gave the digests %q of %d services", digests, count)
	}
	return digests, nil
}

// versions are those of CPython and of libssl, which are the same for all services.
func (r *repository) versions() (python, libssl string, err error) {
	for i, s := range services[:r.count] {
		lock, err := readLock(filepath.Join(r.dir, s.name))
		if err != nil {
			return "", "", err
		}
		found := ""
		for _, suite := range lock.Debian {
			if i := slices.IndexFunc(suite, func(p recipes.Deb) bool { return p.Name == changedPackage }); i >= 0 {
				found = suite[i].Version
			}
		}
		if i > 0 && (python != lock.Python.Version || libssl != found) {
			return "", "", fmt.Errorf("%s has CPython %s and %s %s, the one before %s and %s", s.name, lock.Python.Version, changedPackage, found, python, libssl)
		}
		python, libssl = lock.Python.Version, found
	}
	return python, libssl, nil
}
