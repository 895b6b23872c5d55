package trials

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/recorded"
)

// auditSample are the packages whose published wheels are audited beside auditwheel.
var auditSample = []string{
	"numpy", "lxml", "cryptography", "pillow", "grpcio", "uvloop", "gevent", "greenlet", "pyyaml", "orjson",
	"pydantic-core", "psycopg2-binary", "markupsafe", "cffi", "aiohttp", "msgpack", "regex", "multidict", "psutil", "zstandard",
}

const (
	// auditedWheels is how many files are audited: the sample under many names.
	auditedWheels = 1000
	// auditGoal is how much of auditwheel's time an audit is to take, a goal.
	auditGoal = 1.0 / 30
	// limitAuditPeak is in MiB.
	limitAuditPeak = 256
)

// unpackScript unpacks wheels and keeps nothing of them.
const unpackScript = "import sys, zipfile\nfor name in sys.argv[1:]: zipfile.ZipFile(name).testzip()"

// Audits compares what auditing a wheel takes with `auditwheel show`, in one run: 1,000
// wheels at once, against an interpreter, beside one call for each wheel of the sample.
func (t *Trials) Audits(ctx context.Context) ([]recorded.Figure, error) {
	book, err := recorded.Open[recorded.Figure](filepath.Join(t.Results, recorded.AuditsFile))
	if err != nil {
		return nil, err
	}
	var figures []recorded.Figure
	if err := inTemp(func(work string) (err error) {
		figures, err = t.audits(ctx, work)
		return err
	}); err != nil {
		return nil, err
	}
	for _, f := range figures {
		if err := book.Put(f); err != nil {
			return nil, err
		}
	}
	return figures, nil
}

func (t *Trials) audits(ctx context.Context, work string) ([]recorded.Figure, error) {
	t.Say("fetching %d wheels and auditwheel", len(auditSample))
	venv, wheels := filepath.Join(work, "venv"), filepath.Join(work, "wheels")
	if _, err := (drive.Program{Path: "python3"}).Run(ctx, "-m", "venv", venv); err != nil {
		return nil, err
	}
	pip := drive.Program{Path: filepath.Join(venv, "bin", "python"), Args: []string{"-m", "pip", "--quiet", "--disable-pip-version-check"}}
	if _, err := pip.Run(ctx, "install", "auditwheel"); err != nil {
		return nil, err
	}
	args := []string{"download", "--no-deps", "--only-binary", ":all:", "--dest", wheels, "--implementation", "cp", "--python-version", "3.13", "--abi", "cp313", "--abi", "abi3"}
	for _, platform := range []string{"manylinux2014_x86_64", "manylinux_2_27_x86_64", "manylinux_2_28_x86_64"} {
		args = append(args, "--platform", platform)
	}
	if _, err := pip.Run(ctx, append(args, auditSample...)...); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(wheels, "*.whl"))
	if err != nil || len(files) == 0 {
		return nil, errors.Join(err, errors.New("pip downloaded no wheels"))
	}
	many := filepath.Join(work, "many")
	if err := copies(files, many); err != nil {
		return nil, err
	}
	python, err := t.interpreter(ctx, work)
	if err != nil {
		return nil, err
	}

	t.Say("auditwheel show, on each of %d", len(files))
	show := drive.Program{Path: filepath.Join(venv, "bin", "auditwheel")}
	var theirs, theirCPU time.Duration
	for _, file := range files {
		run, err := show.Run(ctx, "show", file)
		if err != nil {
			return nil, err
		}
		theirs += run.Wall
		theirCPU += run.CPU
	}
	// What has to be done at least: every member is unpacked, by zlib, and nothing else.
	unpacked, err := (drive.Program{Path: "python3"}).Run(ctx, append([]string{"-c", unpackScript}, files...)...)
	if err != nil {
		return nil, err
	}
	t.Say("ampoule audit, on %d", auditedWheels)
	run, err := t.Ampoule.Run(ctx, "audit", many, "--against", python, "--output", "json")
	if err != nil {
		return nil, err
	}
	if n := strings.Count(run.Out, `"kind": "wheel"`); n != auditedWheels {
		return nil, fmt.Errorf("ampoule audit judged %d wheels, not %d", n, auditedWheels)
	}
	ownCPU, otherCPU := run.CPU.Seconds()/auditedWheels, theirCPU.Seconds()/float64(len(files))
	own, other := run.Wall.Seconds()/auditedWheels, theirs.Seconds()/float64(len(files))
	figure := func(name string, value, limit float64, unit, of string) recorded.Figure {
		return recorded.Figure{Name: name, Value: value, Limit: limit, Unit: unit, Of: of, When: t.Now().UTC().Format(time.DateOnly), Cores: runtime.NumCPU()}
	}
	return []recorded.Figure{
		figure("audit, of auditwheel's time", math.Round(own/other*1e4)/1e4, auditGoal, "",
			fmt.Sprintf("ampoule audit of %d wheels, all files hashed and all checks made: %.1f ms each; auditwheel show on each of %d: %.0f ms each; unpacking each with Python's zipfile, in one process: %.0f ms each; a goal",
				auditedWheels, own*1000, len(files), other*1000, unpacked.Wall.Seconds()/float64(len(files))*1000)),
		figure("audit, of auditwheel's processor time", math.Round(ownCPU/otherCPU*1e4)/1e4, auditGoal, "",
			fmt.Sprintf("the same runs: %.1f ms of a processor for each wheel; auditwheel show: %.0f ms; unpacking each with Python's zipfile: %.0f ms; a goal",
				ownCPU*1000, otherCPU*1000, unpacked.CPU.Seconds()/float64(len(files))*1000)),
		figure("audit, peak memory", math.Round(float64(run.PeakBytes)/(1<<20)), limitAuditPeak, "MiB", "the largest resident set of that ampoule process"),
	}, nil
}

// copies links wheels under as many names as are to be audited: build numbers of their own.
func copies(files []string, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for i := range auditedWheels {
		file := files[i%len(files)]
		parts := strings.SplitN(filepath.Base(file), "-", 3)
		name := fmt.Sprintf("%s-%s-%d-%s", parts[0], parts[1], i+1, parts[2])
		if err := os.Link(file, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// interpreter installs the minimal recipe's and returns its path.
func (t *Trials) interpreter(ctx context.Context, work string) (string, error) {
	dir, err := t.fromCatalogue(ctx, work, "minimal")
	if err != nil {
		return "", err
	}
	if _, err := t.lock(ctx, t.Store, dir, "--upgrade"); err != nil {
		return "", err
	}
	b, _, err := t.build(ctx, t.Store, dir)
	if err != nil {
		return "", err
	}
	root := filepath.Join(work, "python")
	_, err = t.in(t.Store).Run(ctx, "install", b.Ref, "--root", root)
	return filepath.Join(root, "current", "bin", "python3.13"), err
}
