package trials

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"

	"ampoule/bench/internal/recorded"
	"ampoule/recipes/catalogue"
)

// checked is what `ampoule build --check --output json` tells.
type checked struct {
	First       string `json:"first"`
	Second      string `json:"second"`
	Differences []struct {
		File  string `json:"file"`
		Place string `json:"place"`
		Cause string `json:"cause"`
	} `json:"differences"`
}

// Checks builds recipes of the catalogue a second time in another environment, all if none
// is named, and records whether that gives the same digest.
func (t *Trials) Checks(ctx context.Context, names []string) error {
	names, err := chosen(catalogue.Names(), names)
	if err != nil {
		return err
	}
	book, err := recorded.Open[recorded.Check](filepath.Join(t.Results, recorded.ChecksFile))
	if err != nil {
		return err
	}
	return each(t, book, names, func(name string) (recorded.Check, error) {
		var result recorded.Check
		err := inTemp(func(work string) (err error) {
			result, err = t.check(ctx, work, name)
			return err
		})
		return result, err
	})
}

// check builds one recipe twice.
func (t *Trials) check(ctx context.Context, work, name string) (recorded.Check, error) {
	r := recorded.Check{Name: name, Outcome: t.today()}
	var err error
	if r.Of, err = recorded.RecipeHash(name); err != nil {
		return r, err
	}
	dir, err := t.fromCatalogue(ctx, work, name)
	if err != nil {
		return r, err
	}
	// The first build is no part of the time, and reports whether the lock that ships can
	// still be had.
	if _, err := t.buildShipped(ctx, dir, &recorded.Recipe{Name: name}); err != nil {
		return r, t.failed(&r.Outcome, err, "build")
	}
	args := []string{"build", "--check", "--output", "json", "-f", filepath.Join(dir, recipeFile)}
	if t.Jobs > 0 {
		args = append(args, "--jobs", strconv.Itoa(t.Jobs))
	}
	run, err := t.in(t.Store).Run(ctx, args...)
	r.Seconds = seconds(run.Wall)
	if run.Out == "" {
		return r, t.failed(&r.Outcome, err, "check")
	}
	var c checked
	if err := json.Unmarshal([]byte(run.Out), &c); err != nil {
		return r, fmt.Errorf("reading what ampoule build --check printed: %w", err)
	}
	r.Passed, r.Digest, r.Second = c.First == c.Second, c.First, c.Second
	if !r.Passed {
		r.Stage, r.Error = "check", fmt.Sprintf("the second digest is %s", c.Second)
	}
	for _, d := range c.Differences {
		told := d.File + ": " + d.Place
		if d.Cause != "" {
			told += " (" + d.Cause + ")"
		}
		r.Differences = append(r.Differences, t.scrub(told))
	}
	return r, nil
}
