package trials

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/cmd/measure/internal/drive"
	"ampoule/cmd/measure/internal/recorded"
)

//go:embed verdicts.py
var importScript []byte

// verdictSuite is the Debian release that wheels are imported on.
const verdictSuite = "bookworm"

// The sorts of wheels that are judged and imported.
const (
	// wheelFitting is what pip installs there.
	wheelFitting = "fitting"
	// The others are for another Python, another C library, another processor: pip would
	// not install them, but a cache that is keyed too weakly, or a copied directory, does.
	wheelOlder   = "cp312"
	wheelMusl    = "musl"
	wheelAArch64 = "aarch64"
	// wheelThreaded is what pip installs for an interpreter without a GIL, on whose machine
	// it is judged and imported.
	wheelThreaded = "cp313t"
)

// VerdictNames lists the wheels that are judged and imported: published ones that people
// install most, PACKAGE, and some of them for another system or for an interpreter without
// a GIL, PACKAGE/SORT.
func VerdictNames() []string {
	names := slices.Clone(popularWheels)
	for i, name := range mismatched {
		names = append(names, name+"/"+[]string{wheelOlder, wheelMusl, wheelAArch64}[i%3])
	}
	for _, name := range threaded {
		names = append(names, name+"/"+wheelThreaded)
	}
	return names
}

// Verdicts compares what an audit says of published wheels with what happens when their
// modules are imported, in a container with an interpreter and nothing else.
func (t *Trials) Verdicts(ctx context.Context, names []string) error {
	names, err := chosen(VerdictNames(), names)
	if err != nil {
		return err
	}
	book, err := recorded.Open[recorded.Verdict](filepath.Join(t.Results, recorded.VerdictsFile))
	if err != nil {
		return err
	}
	return inTemp(func(work string) (err error) {
		worlds := map[string]*wheelWorld{}
		defer func() {
			for _, w := range worlds {
				err = errors.Join(err, w.close(context.WithoutCancel(ctx)))
			}
		}()
		return each(t, book, names, func(name string) (recorded.Verdict, error) {
			configure := ""
			if strings.HasSuffix(name, "/"+wheelThreaded) {
				configure = "--disable-gil"
			}
			w := worlds[configure]
			if w == nil {
				w = &wheelWorld{t: t, dir: filepath.Join(work, "world"+configure), configure: configure}
				worlds[configure] = w
				if err := w.prepare(ctx); err != nil {
					return recorded.Verdict{}, err
				}
			}
			return w.judge(ctx, name)
		})
	})
}

// wheelWorld is a machine on which wheels are imported.
type wheelWorld struct {
	t *Trials
	// dir is everything's, root the machine's root file system.
	dir, root string
	// configure is what the interpreter is configured with, if anything.
	configure string
	// pip installs for the machine's interpreter.
	pip drive.Program
	// image is Docker's name for the machine.
	image string
}

// pythonPath is where the machine has its interpreter.
const pythonPath = "/opt/python/current/bin/python3.13"

func (w *wheelWorld) prepare(ctx context.Context) error {
	w.t.Say("making a %s machine with an interpreter", verdictSuite)
	w.root = filepath.Join(w.dir, "root")
	if err := os.Mkdir(w.dir, 0o755); err != nil {
		return err
	}
	dir, err := w.t.fromCatalogue(ctx, w.dir, "minimal")
	if err != nil {
		return err
	}
	if err := configured(filepath.Join(dir, "ampoule.yaml"), w.configure); err != nil {
		return err
	}
	if _, err := w.t.lock(ctx, w.t.Store, dir, "--upgrade"); err != nil {
		return err
	}
	b, _, err := w.t.build(ctx, w.t.Store, dir)
	if err != nil {
		return err
	}
	if _, err := w.t.Bootstrap.Run(ctx, "--variant=minbase", "--format=directory", verdictSuite, w.root); err != nil {
		return err
	}
	if _, err := w.t.in(w.t.Store).Run(ctx, "install", b.Ref, "--root", filepath.Join(w.root, "opt", "python")); err != nil {
		return err
	}
	venv := filepath.Join(w.dir, "venv")
	if _, err := (drive.Program{Path: filepath.Join(w.root, pythonPath)}).Run(ctx, "-m", "venv", venv); err != nil {
		return err
	}
	w.pip = drive.Program{Path: filepath.Join(venv, "bin", "python"), Args: []string{"-m", "pip", "--quiet", "--disable-pip-version-check", "--no-cache-dir"}}
	tar := filepath.Join(w.dir, "root.tar")
	if _, err := (drive.Program{Path: "tar"}).Run(ctx, "-C", w.root, "-cf", tar, "--exclude=./dev/*", "."); err != nil {
		return err
	}
	run, err := w.t.Docker.Run(ctx, "import", tar)
	if err != nil {
		return err
	}
	w.image = run.Out
	return os.Remove(tar)
}

// configured gives a recipe's interpreter another flag of configure's.
func configured(recipe, flag string) error {
	const none = "configure: []"
	text, err := os.ReadFile(recipe)
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), none) {
		return fmt.Errorf("%s has no %q", recipe, none)
	}
	return os.WriteFile(recipe, []byte(strings.Replace(string(text), none, "configure: ["+flag+"]", 1)), 0o644)
}

func (w *wheelWorld) close(ctx context.Context) error {
	if w.image == "" {
		return nil
	}
	_, err := w.t.Docker.Run(ctx, "rmi", "--force", w.image)
	return err
}

// judge installs one package, imports it in the container, and audits it.
func (w *wheelWorld) judge(ctx context.Context, name string) (recorded.Verdict, error) {
	pkg, sort, ok := strings.Cut(name, "/")
	if !ok {
		sort = wheelFitting
	}
	r := recorded.Verdict{Name: name, Sort: sort, Outcome: w.t.today(), Refused: []string{}}
	site := filepath.Join(w.root, "srv", "wheels")
	if err := os.RemoveAll(site); err != nil {
		return r, err
	}
	began := w.t.Now()
	if err := w.place(ctx, pkg, sort, site); err != nil {
		return r, w.t.failed(&r.Outcome, err, "install")
	}
	var imported struct {
		File    string
		Modules int
		Broken  []string
	}
	run, err := w.t.Docker.Run(ctx, "run", "--rm", "--network", "none", "--volume", site+":/srv/wheels:ro", w.image, pythonPath, "-B", "-c", string(importScript), pkg)
	if err != nil {
		return r, w.t.failed(&r.Outcome, err, "import")
	}
	lines := strings.Split(run.Out, "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &imported); err != nil {
		return r, fmt.Errorf("reading what importing %s told: %w", pkg, err)
	}
	r.Passed, r.Wheel, r.Modules, r.Works = true, imported.File, imported.Modules, len(imported.Broken) == 0
	if !r.Works {
		r.Reason = w.t.scrub(imported.Broken[0])
	}
	r.Refused, err = w.audit(ctx, pkg)
	r.Seconds = seconds(w.t.Now().Sub(began))
	return r, err
}

// place puts a wheel, and what it requires if pip can, into a directory.
func (w *wheelWorld) place(ctx context.Context, pkg, sort, site string) error {
	if sort == wheelFitting || sort == wheelThreaded {
		_, err := w.pip.Run(ctx, "install", "--only-binary", ":all:", "--target", site, pkg)
		return err
	}
	downloads := filepath.Join(w.dir, "downloads")
	if err := os.RemoveAll(downloads); err != nil {
		return err
	}
	args := []string{"download", "--no-deps", "--only-binary", ":all:", "--dest", downloads, "--implementation", "cp"}
	switch sort {
	case wheelOlder:
		args = append(args, "--python-version", "3.12", "--abi", "cp312", "--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64")
	case wheelMusl:
		args = append(args, "--python-version", "3.13", "--abi", "cp313", "--platform", "musllinux_1_1_x86_64", "--platform", "musllinux_1_2_x86_64")
	case wheelAArch64:
		args = append(args, "--python-version", "3.13", "--abi", "cp313", "--platform", "manylinux2014_aarch64", "--platform", "manylinux_2_28_aarch64")
	}
	if _, err := w.pip.Run(ctx, append(args, pkg)...); err != nil {
		return err
	}
	wheels, err := filepath.Glob(filepath.Join(downloads, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return fmt.Errorf("pip downloaded %d wheels of %s: %w", len(wheels), pkg, err)
	}
	_, err = (drive.Program{Path: filepath.Join(w.root, pythonPath)}).Run(ctx, "-m", "zipfile", "-e", wheels[0], site)
	return err
}

// audit lists the checks that refuse files of a package's own wheel.
func (w *wheelWorld) audit(ctx context.Context, pkg string) ([]string, error) {
	run, err := w.t.Ampoule.Run(ctx, "audit", "/srv/wheels", "--root", w.root, "--against", pythonPath, "--output", "json")
	var failure *drive.FailureError
	if err != nil && (!errors.As(err, &failure) || failure.Code != codeRefused) {
		return nil, err
	}
	var report struct {
		Units []struct {
			Findings []struct{ Check, Severity, File, Value string }
		}
	}
	if err := json.Unmarshal([]byte(run.Out), &report); err != nil {
		return nil, fmt.Errorf("reading what ampoule audit printed: %w", err)
	}
	own, err := ownFiles(filepath.Join(w.root, "srv", "wheels"), pkg)
	if err != nil {
		return nil, err
	}
	refused := []string{}
	for _, u := range report.Units {
		for _, f := range u.Findings {
			if f.Severity == "refuse" && own[strings.TrimPrefix(f.File, "/srv/wheels/")] && !slices.Contains(refused, f.Check) {
				refused = append(refused, f.Check)
			}
		}
	}
	slices.Sort(refused)
	return refused, nil
}

// codeRefused is the exit code of an audit that refuses something.
const codeRefused = 4

// ownFiles are the files that a distribution's RECORD lists.
func ownFiles(site, pkg string) (map[string]bool, error) {
	infos, err := filepath.Glob(filepath.Join(site, "*.dist-info"))
	if err != nil {
		return nil, err
	}
	for _, info := range infos {
		name, _, _ := strings.Cut(filepath.Base(info), "-")
		if normalized(name) != normalized(pkg) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(info, "RECORD"))
		if err != nil {
			return nil, err
		}
		own := map[string]bool{filepath.Base(info): true}
		for line := range strings.Lines(string(data)) {
			file, _, _ := strings.Cut(line, ",")
			own[strings.Trim(file, `"`)] = true
		}
		return own, nil
	}
	return nil, fmt.Errorf("%s is not in %s", pkg, site)
}

func normalized(name string) string {
	return strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
}
