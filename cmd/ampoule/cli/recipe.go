package cli

import (
	"errors"
	"io/fs"
	"os"

	"ampoule/builder"
	"ampoule/recipes"
	"ampoule/recipes/lint"
)

// inputs are the files that a person keeps.
type inputs struct {
	recipe *recipes.Recipe
	reqs   *recipes.RequirementSet
	// lock is nil when there is none.
	lock *recipes.Lock
}

// request asks for these, otherwise as how says.
func (in inputs) request(how builder.Request) builder.Request {
	how.Recipe, how.Requirements, how.Lock = in.recipe, in.reqs, in.lock
	return how
}

// read reads the session's recipe, its requirements, and its lock if there is one.
// All faults of all files are told in one go.
func (s *Session) read() (inputs, error) {
	if _, err := os.Stat(s.Recipe); errors.Is(err, fs.ErrNotExist) {
		return inputs{}, recipes.Faults{{File: s.Recipe, What: "there is no recipe",
			Hint: "write one with `ampoule init`, or name another one with -f"}}
	}
	var in inputs
	var faults recipes.Faults
	var err error
	if in.recipe, err = recipes.ReadRecipe(s.Recipe); err != nil {
		return inputs{}, err
	}
	if in.reqs, err = recipes.ReadRequirements(in.recipe); !gather(&faults, err) {
		return inputs{}, err
	}
	in.lock, err = recipes.ReadLock(lockPath(s.Recipe))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		in.lock = nil
	case !gather(&faults, err):
		return inputs{}, err
	}
	return in, faults.Err()
}

// readLocked reads the same, and wants a lock.
func (s *Session) readLocked() (inputs, error) {
	in, err := s.read()
	if err == nil && in.lock == nil {
		err = recipes.Faults{{File: lockPath(s.Recipe), What: "there is no lock", Hint: "make it with `ampoule lock`"}}
	}
	return in, err
}

// agree compares the recipe's Python with what the repository around it says to other
// tools. What is only told is told if tell is set.
func (s *Session) agree(r *recipes.Recipe, tell bool) error {
	told, err := lint.Pythons(r)
	if tell {
		for _, fault := range told {
			s.note("%s", fault)
		}
	}
	return err
}

// gather adds an error's faults to others. It returns false for an error that is
// something else.
func gather(all *recipes.Faults, err error) bool {
	if err == nil {
		return true
	}
	var faults recipes.Faults
	if !errors.As(err, &faults) {
		return false
	}
	*all = append(*all, faults...)
	return true
}
