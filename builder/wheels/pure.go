package wheels

import (
	"fmt"
	"slices"

	"ampoule/audit"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/recipes"
)

// IsPure reports whether a wheel's file name claims no ABI and no platform (PEP 425).
func IsPure(file string) bool {
	name, err := packaging.ParseWheelName(file)
	return err == nil && !slices.ContainsFunc(name.Tags(), func(t packaging.Tag) bool { return !t.Pure() })
}

// NativeError says that a wheel that calls itself pure holds native code.
type NativeError struct {
	// Dist is NAME==VERSION, File the wheel's name, Member a file with native code.
	Dist, File, Member string
}

func (e *NativeError) Error() string {
	return fmt.Sprintf("%s of %s calls itself pure and holds native code: %s", e.File, e.Dist, e.Member)
}

// Kind says whose fault it is.
func (*NativeError) Kind() faults.Kind { return faults.Refused }

// Hint says what can be done.
func (e *NativeError) Hint() string {
	return "native code that was not built here comes in by binary.accept alone, and only from a wheel that names its platform; choose another version"
}

// checkPure refuses a wheel that calls itself pure and is not: nobody would look for
// what interpreter it was made for.
func (s *Stage) checkPure(d recipes.Dist) error {
	if !IsPure(d.File) {
		return nil
	}
	f, err := s.Store.Open(d.SHA256)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	native, err := audit.NativeMembers(f, info.Size())
	if err != nil {
		return fmt.Errorf("reading %s: %w", d.File, err)
	}
	if len(native) > 0 {
		return &NativeError{d.ID(), d.File, native[0]}
	}
	return nil
}
