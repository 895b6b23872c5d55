package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// seedPrefix begins the names of seeds; failures that were found once begin with "found-".
const seedPrefix = "seed-"

// goCommand is the go command in a directory.
type goCommand struct{ dir string }

// output runs it and gives what it prints.
func (g goCommand) output(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = g.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("running go %s: %w\n%s", args[0], err, errs.String())
	}
	return out.String(), nil
}

// A fuzzer is one of a package's fuzz tests.
type fuzzer struct {
	pkg, name string
	// dir is the package's directory, program its compiled tests, which count what they
	// reach, and work a directory for what they need.
	dir, program, work string
	// cache is where go keeps what fuzzing found.
	cache string
}

// fuzzers compiles a package's tests and lists its fuzzers.
func (g goCommand) fuzzers(ctx context.Context, pkg, work string) ([]fuzzer, error) {
	found, err := g.output(ctx, "list", "-f", "{{.ImportPath}}\t{{.Dir}}", pkg)
	if err != nil {
		return nil, err
	}
	path, dir, _ := strings.Cut(strings.TrimSpace(found), "\t")
	program := filepath.Join(work, strings.ReplaceAll(path, "/", "-")+".test")
	if _, err := g.output(ctx, "test", "-c", "-cover", "-coverpkg=./...", "-o", program, pkg); err != nil {
		return nil, err
	}
	list, err := exec.CommandContext(ctx, program, "-test.list", "^Fuzz").Output()
	if err != nil {
		return nil, fmt.Errorf("listing fuzzers of %s: %w", path, err)
	}
	var all []fuzzer
	for name := range strings.FieldsSeq(string(list)) {
		if strings.HasPrefix(name, "Fuzz") {
			all = append(all, fuzzer{pkg: path, name: name, dir: dir, program: program, work: filepath.Join(work, path, name)})
		}
	}
	return all, nil
}

// seeds is the directory of the inputs that the repository has.
func (f fuzzer) seeds() string { return filepath.Join(f.dir, "testdata", "fuzz", f.name) }

// staged is where the fuzzer looks for inputs when it runs in the directory work.
func (f fuzzer) staged() string { return filepath.Join(f.work, "testdata", "fuzz", f.name) }

// choose makes the seeds of the repository those that reach most.
func (f fuzzer) choose(ctx context.Context, limit int, largest int64) (choice, error) {
	inputs, err := f.inputs(largest)
	if err != nil || len(inputs) == 0 {
		return choice{}, err
	}
	if err := f.stage(); err != nil {
		return choice{}, err
	}
	base, err := f.reach(ctx, "(seed#|found-).*")
	if err != nil {
		return choice{}, err
	}
	for i := range inputs {
		if inputs[i].reached, err = f.reachOf(ctx, inputs[i]); err != nil {
			return choice{}, err
		}
	}
	c, chosen := greedy(base, inputs, limit)
	return c, f.keep(inputs, chosen)
}

// inputs lists what may be a seed: what is one, and what the cache has.
func (f fuzzer) inputs(largest int64) ([]input, error) {
	var inputs []input
	for _, dir := range []string{f.seeds(), f.cache} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			candidate := dir == f.cache || strings.HasPrefix(e.Name(), seedPrefix)
			if candidate && info.Size() <= largest {
				inputs = append(inputs, input{name: e.Name(), path: filepath.Join(dir, e.Name()), size: info.Size()})
			}
		}
	}
	return inputs, nil
}

// stage makes a directory that looks to the fuzzer as its package's own. Of the inputs it
// has those that are no seeds.
func (f fuzzer) stage() error {
	if err := os.MkdirAll(f.staged(), 0o755); err != nil {
		return err
	}
	if err := link(f.dir, f.work, "testdata"); err != nil {
		return err
	}
	if err := link(filepath.Join(f.dir, "testdata"), filepath.Join(f.work, "testdata"), "fuzz"); err != nil {
		return err
	}
	return link(f.seeds(), f.staged(), seedPrefix)
}

// reachOf lists what one input reaches: nothing if the fuzzer refuses it, as an input of
// another form or one that it fails on.
func (f fuzzer) reachOf(ctx context.Context, in input) (map[string]bool, error) {
	staged := filepath.Join(f.staged(), in.name)
	if err := os.Symlink(in.path, staged); err != nil {
		return nil, err
	}
	reached, err := f.reach(ctx, regexp.QuoteMeta(in.name))
	if errors.As(err, new(*exec.ExitError)) && ctx.Err() == nil {
		reached, err = nil, nil
	}
	return reached, errors.Join(err, os.Remove(staged))
}

// link makes symbolic links to all that a directory has, but to names that begin with a
// prefix.
func link(from, to, except string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), except) && err == nil {
			err = os.Symlink(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
		}
	}
	return err
}

// reach runs the fuzzer on the inputs whose names match and lists the blocks of code that
// were run.
func (f fuzzer) reach(ctx context.Context, names string) (map[string]bool, error) {
	profile := filepath.Join(f.work, "profile")
	cmd := exec.CommandContext(ctx, f.program, "-test.run", "^"+f.name+"$/^"+names+"$", "-test.coverprofile", profile)
	cmd.Dir = f.work
	cmd.Stdout = io.Discard
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("running %s on %s: %w", f.name, names, err)
	}
	file, err := os.Open(profile)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return blocks(file)
}

// blocks reads a profile of coverage: FILE:FROM,TO STATEMENTS COUNT.
func blocks(r io.Reader) (map[string]bool, error) {
	reached := map[string]bool{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[2] != "0" {
			reached[fields[0]] = true
		}
	}
	return reached, lines.Err()
}

// keep makes the chosen inputs seeds, and moves the others that were seeds to the cache.
func (f fuzzer) keep(inputs []input, chosen map[string]bool) error {
	for _, dir := range []string{f.seeds(), f.cache} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, in := range inputs {
		plain := strings.TrimPrefix(in.name, seedPrefix)
		to := filepath.Join(f.cache, plain)
		if chosen[in.name] {
			to = filepath.Join(f.seeds(), seedPrefix+plain)
		}
		if to == in.path {
			continue
		}
		data, err := os.ReadFile(in.path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return err
		}
		if filepath.Dir(in.path) == f.seeds() {
			if err := os.Remove(in.path); err != nil {
				return err
			}
		}
	}
	return nil
}
