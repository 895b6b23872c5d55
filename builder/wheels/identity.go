package wheels

import (
	"fmt"
	"strings"

	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/recipes"
)

// IdentityError says that an sdist built a wheel of something else.
type IdentityError struct {
	// Dist is the sdist, as NAME==VERSION; Built says what its wheel is.
	Dist, Built string
}

func (e *IdentityError) Error() string {
	return fmt.Sprintf("the sdist of %s built a wheel of %s", e.Dist, e.Built)
}

// Kind says whose fault it is.
func (*IdentityError) Kind() faults.Kind { return faults.Build }

// checkIdentity refuses a wheel that is not of the sdist that was locked. First-party code says
// its version by being built.
func checkIdentity(sdist recipes.Dist, wheel string) error {
	built, err := packaging.ParseWheelName(wheel)
	if err != nil {
		return fmt.Errorf("%q is not a wheel's file name (binary distribution format)", wheel)
	}
	if name := packaging.NormalName(built.Distribution); name != sdist.Name {
		return &IdentityError{sdist.ID(), name}
	}
	if sdist.Own {
		return nil
	}
	// In a file name "_" stands for "-", and older tools write it for "+".
	for _, meant := range []string{"_", "-", "+"} {
		if packaging.SameVersion(strings.ReplaceAll(built.Version, "_", meant), sdist.Version) {
			return nil
		}
	}
	return &IdentityError{sdist.ID(), "version " + built.Version}
}
