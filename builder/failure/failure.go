// Package failure keeps what a build step that failed left behind, so that a person
// can look at it later: the image, the command, and the contents of the directories
// that the step worked in. Nothing of it enters any build.
package failure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/store"
)

// State is a step that failed: what to open again.
type State struct {
	// Recipe is the recipe's name.
	Recipe string
	// Step is "interpreter" or the name of a wheel's distribution.
	Step string
	// Title is the step's name for people, such as "wheel psycopg2==2.9.10".
	Title string
	// Key is the key of the stage that failed.
	Key string
	// Image is what its sandbox started from.
	Image sandbox.Image
	// Args, Env and Dir are the command that failed, its whole environment and its
	// working directory.
	Args []string
	Env  []string
	Dir  string
	// Log is the path of the step's log.
	Log string
	// Dirs are the directories whose contents are kept, absolute. One that the sandbox
	// does not have is left out.
	Dirs []string
	// Time is when it failed; [Keep] sets one that is zero.
	Time time.Time
	// Lost says why the contents of Dirs were not kept; empty when they were. [Keep]
	// sets it.
	Lost string

	contents []contents
}

// contents is what one directory held.
type contents struct {
	Dir string
	// SHA256 names it in the store.
	SHA256 string
}

// The kinds of records: one of each step's failure, by [stepKey], and one of each
// recipe's failed steps, by the recipe's name, in the order in which they failed.
const (
	stepKind   = "failure"
	recipeKind = "failures"
)

func stepKey(recipe, step string) string { return recipe + "/" + step }

// record is a State as the store has it.
type record struct {
	Recipe, Step, Title, Key string
	Config                   sandbox.Config
	// Layers are DiffIDs of layers that the store holds.
	Layers    []string
	Args, Env []string
	Dir, Log  string
	Dirs      []string
	Time      time.Time
	Lost      string
	Contents  []contents
}

// Content implements [store.Namer].
func (r record) Content() []string {
	var sums []string
	for _, id := range r.Layers {
		sums = append(sums, sumOf(id))
	}
	for _, c := range r.Contents {
		sums = append(sums, c.SHA256)
	}
	return sums
}

func (s State) record() record {
	return record{
		Recipe: s.Recipe, Step: s.Step, Title: s.Title, Key: s.Key,
		Config: s.Image.Config, Layers: layers.DiffIDs(s.Image),
		Args: s.Args, Env: s.Env, Dir: s.Dir, Log: s.Log, Dirs: s.Dirs, Time: s.Time, Lost: s.Lost, Contents: s.contents,
	}
}

func (r record) state(st *store.Store) State {
	image := sandbox.Image{Config: r.Config}
	for _, id := range r.Layers {
		image = image.With(layers.Stored(st, sumOf(id)))
	}
	return State{
		Recipe: r.Recipe, Step: r.Step, Title: r.Title, Key: r.Key, Image: image,
		Args: r.Args, Env: r.Env, Dir: r.Dir, Log: r.Log, Dirs: r.Dirs, Time: r.Time, Lost: r.Lost, contents: r.Contents,
	}
}

// Keep takes what the state's Dirs hold out of the sandbox in which the step failed,
// and records the state as the step's last failure and as its recipe's. What an
// earlier failure of the same step left is dropped. Contents that are too large, or
// that cannot be had because the sandbox is gone or the disk is full, are not kept,
// and the state's Lost says so: that is no error.
func Keep(ctx context.Context, st *store.Store, sb sandbox.Sandbox, s State) error {
	if err := keep(ctx, st, sb, s); err != nil {
		return fmt.Errorf("keeping what %s left: %w", s.Title, err)
	}
	return nil
}

func keep(ctx context.Context, st *store.Store, sb sandbox.Sandbox, s State) error {
	if s.Recipe == "" || s.Step == "" {
		return errors.New("a state needs a recipe and a step")
	}
	if err := keepLayers(ctx, st, s.Image); err != nil {
		return err
	}
	var lost error
	s.contents, lost = take(ctx, st, sb, s.Dirs, maxContents)
	if err := context.Cause(ctx); err != nil {
		drop(st, s.contents)
		return err
	}
	if s.Time.IsZero() {
		s.Time = time.Now().UTC()
	}
	s.Lost = ""
	if lost != nil {
		s.Lost = lost.Error()
	}
	if err := replace(ctx, st, s); err != nil {
		drop(st, s.contents)
		return err
	}
	return nil
}

// replace records a state in the place of an earlier one.
func replace(ctx context.Context, st *store.Store, s State) error {
	unlock, err := lock(ctx, st, s.Recipe)
	if err != nil {
		return err
	}
	defer unlock()
	var earlier record
	key := stepKey(s.Recipe, s.Step)
	if _, err := st.Lookup(stepKind, key, &earlier); err != nil {
		return err
	}
	steps, err := Steps(st, s.Recipe)
	if err != nil {
		return err
	}
	if err := st.Record(stepKind, key, s.record()); err != nil {
		return err
	}
	drop(st, earlier.Contents)
	return st.Record(recipeKind, s.Recipe, append(without(steps, s.Step), s.Step))
}

// Steps lists the steps of a recipe whose failures are kept, the last one last.
func Steps(st *store.Store, recipe string) ([]string, error) {
	var steps []string
	_, err := st.Lookup(recipeKind, recipe, &steps)
	return steps, err
}

// Last finds the last failure of a recipe's step that was not forgotten; an empty step
// is the one that failed last.
func Last(st *store.Store, recipe, step string) (State, bool, error) {
	steps, err := Steps(st, recipe)
	if err != nil {
		return State{}, false, fmt.Errorf("looking for failures of %s: %w", recipe, err)
	}
	if step == "" && len(steps) > 0 {
		step = steps[len(steps)-1]
	}
	if !slices.Contains(steps, step) {
		return State{}, false, nil
	}
	var r record
	found, err := st.Lookup(stepKind, stepKey(recipe, step), &r)
	if err != nil || !found {
		return State{}, false, err
	}
	return r.state(st), true, nil
}

// Forget drops a step's failure, if there is one: the step has succeeded since.
func Forget(ctx context.Context, st *store.Store, recipe, step string) error {
	// Nearly always there is none, and nobody has to wait for that.
	if _, found, err := Last(st, recipe, step); err != nil || !found {
		return err
	}
	if err := forget(ctx, st, recipe, step); err != nil {
		return fmt.Errorf("forgetting the failure of %s: %w", step, err)
	}
	return nil
}

func forget(ctx context.Context, st *store.Store, recipe, step string) error {
	unlock, err := lock(ctx, st, recipe)
	if err != nil {
		return err
	}
	defer unlock()
	var r record
	if _, err := st.Lookup(stepKind, stepKey(recipe, step), &r); err != nil {
		return err
	}
	steps, err := Steps(st, recipe)
	if err != nil {
		return err
	}
	if err := st.Record(recipeKind, recipe, without(steps, step)); err != nil {
		return err
	}
	drop(st, r.Contents)
	return st.Forget(stepKind, stepKey(recipe, step))
}

func lock(ctx context.Context, st *store.Store, recipe string) (unlock func(), err error) {
	return st.Lock(ctx, recipeKind+"-"+recipe)
}

// without returns the steps without one of them.
func without(steps []string, step string) []string {
	return slices.DeleteFunc(slices.Clone(steps), func(s string) bool { return s == step })
}
