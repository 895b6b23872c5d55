package recipes

import "errors"

var errNotYet = errors.New("not written")

// ReadLock reads the lock at path. Whatever is wrong in it is told at once, as [Faults].
func ReadLock(path string) (*Lock, error) { return nil, errNotYet }

// ParseLock reads a lock from data; file is the name that faults give it.
func ParseLock(file string, data []byte) (*Lock, error) { return nil, errNotYet }

// Encode gives the lock's canonical text: the same for equal locks, whatever the
// order of their parts.
func (l *Lock) Encode() []byte { return nil }

// Dist gives the dist with that ID.
func (l *Lock) Dist(id string) (Dist, bool) { return Dist{}, false }

// Debs gives the packages of all the lists of names in that suite, each once,
// sorted by name. A name that the lock does not have is an error.
func (l *Lock) Debs(suite string, names ...[]string) ([]Deb, error) { return nil, errNotYet }

// Check tells what is wrong in a lock: what it refers to and does not have, what
// nothing refers to, what is malformed. ParseLock and ReadLock do this.
func (l *Lock) Check() error { return errNotYet }

// MakeAnswers gives what a lock of the recipe and its requirements answers.
func MakeAnswers(r *Recipe, reqs *RequirementSet) Answers { return Answers{} }

// CheckFresh tells what in the recipe or its requirements files the lock does not
// answer any more, as [Faults] naming the lines. nil means that the lock is fresh.
func CheckFresh(r *Recipe, reqs *RequirementSet, l *Lock) error { return errNotYet }

// Key is what a build is addressed by: "sha256:" and a hash over the canonical
// recipe, the lock, the platform and the builder's epoch.
func Key(r *Recipe, l *Lock, platform string, epoch int) string { return "" }

// Schema gives the JSON Schema of a recipe, for editors.
func Schema() ([]byte, error) { return nil, errNotYet }

// Suggest writes a first recipe from what a directory holds. The notes say what
// it chose and what it could not know.
func Suggest(dir string) (recipe []byte, notes []string, err error) { return nil, nil, errNotYet }
