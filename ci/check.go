package ci

import (
	"context"
	"errors"

	"ampoule/builder"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/recipes/lint"
)

// Finder finds what is published under a key.
type Finder interface {
	FindKey(ctx context.Context, name, key string) (digest string, found bool, err error)
}

// Checked is what a checkout was found to be.
type Checked struct {
	Name string
	Key  string
	// Digest is what is published of it; empty if nothing is.
	Digest string
	// Told are statements about Python that decide nothing, see [lint.Pythons].
	Told recipes.Faults
}

// Check looks whether a checkout is what was tested: its lock answers its recipe, all that it
// says of Python agrees, and tested, if it is not empty, is the digest that is published of it.
// Faults of files are [recipes.Faults], all at once; another digest is a
// [*NotTestedError]. Nothing is built. Without a lock only what is said of Python is looked at.
func Check(ctx context.Context, req builder.Request, environ []string, f Finder, tested string) (Checked, error) {
	c := Checked{Name: req.Recipe.Name}
	var wrong recipes.Faults
	told, err := lint.Pythons(req.Recipe)
	c.Told = told
	if !gather(&wrong, err) {
		return c, err
	}
	if req.Lock == nil {
		return c, wrong.Err()
	}
	plan, err := builder.PlanBuild(ctx, req, environ)
	if !gather(&wrong, err) {
		return c, err
	}
	if len(wrong) > 0 {
		return c, wrong
	}
	c.Key = plan.Key
	var found bool
	if c.Digest, found, err = f.FindKey(ctx, c.Name, c.Key); err != nil {
		return c, err
	}
	if !found {
		c.Digest = ""
	}
	if tested != "" && tested != c.Digest {
		return c, &NotTestedError{Name: c.Name, Key: c.Key, Published: c.Digest, Tested: tested}
	}
	return c, nil
}

// gather adds the faults of an error to others. It returns false for an error that is
// something else.
func gather(all *recipes.Faults, err error) bool {
	var faults recipes.Faults
	if err == nil || errors.As(err, &faults) {
		*all = append(*all, faults...)
		return true
	}
	return false
}

// NotTestedError says that the artifact of a checkout is another one than was tested.
type NotTestedError struct {
	Name, Key string
	// Published is the digest of the checkout; empty if none is published.
	Published string
	Tested    string
}

func (e *NotTestedError) Error() string {
	if e.Published == "" {
		return e.Name + "@" + e.Tested + " was tested, and of this checkout nothing is published (key " + e.Key + ")"
	}
	return e.Name + "@" + e.Tested + " was tested, and this checkout is " + e.Name + "@" + e.Published
}

// Kind says whose fault it is.
func (*NotTestedError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do about it.
func (*NotTestedError) Hint() string {
	return "run `ampoule ci build` and `ampoule ci run` for the revision that is deployed, and hand on the digest of that run"
}
