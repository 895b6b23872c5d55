package roots

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/registry/trust/keys"
)

// New makes the first version of a root, which nobody has signed yet.
func New(name string, expires time.Time, rootKeys map[string]keys.Public, threshold int) (*Root, error) {
	f := File{
		APIVersion: recipes.APIVersion, Name: name, Version: "1", Expires: expires.UTC().Format(time.DateOnly),
		Keys: map[string]Key{}, Roles: map[string]Role{RoleRoot: {Keys: slices.Sorted(maps.Keys(rootKeys)), Threshold: strconv.Itoa(threshold)}},
	}
	for name, k := range rootKeys {
		f.Keys[name] = Key{Algorithm: keys.Algorithm, Public: k.Text()}
	}
	return f.again()
}

// again reads what was made, as whoever gets it will.
func (f File) again() (*Root, error) {
	r, err := Parse("trust.yaml", f.Encode())
	if err != nil {
		return nil, faults.New(faults.Usage, "", "making trust root: %w", err)
	}
	return r, nil
}

// Change is what a new version has that the one before has not.
type Change func(*File) error

// Next makes the version that follows with a change, which nobody has signed yet. A version
// that is not signed yet is changed itself.
func (r *Root) Next(draft bool, change Change) (*Root, error) {
	f := r.File
	f.Keys, f.Roles, f.Revoked, f.Signatures = maps.Clone(f.Keys), maps.Clone(f.Roles), maps.Clone(f.Revoked), nil
	if !draft {
		f.Version = strconv.Itoa(r.version + 1)
	}
	if err := change(&f); err != nil {
		return nil, err
	}
	return f.again()
}

// AddKey adds a key to a role. A threshold of 0 leaves that of the role, or makes it 1.
func AddKey(name string, key keys.Public, role string, threshold int, expires string) Change {
	return func(f *File) error {
		if _, there := f.Keys[name]; there {
			return faults.New(faults.Usage, "`ampoule trust rotate` replaces a key", "there is a key %s already", name)
		}
		if revoked, there := f.Revoked[name]; there {
			return faults.New(faults.Usage, "give the key another name", "a key %s was revoked: %s", name, revoked.Why)
		}
		f.Keys[name] = Key{Algorithm: keys.Algorithm, Public: key.Text(), Expires: expires}
		has := f.Roles[role]
		has.Keys = slices.Sorted(slices.Values(append(slices.Clone(has.Keys), name)))
		has.Threshold = cmp.Or(has.Threshold, "1")
		if threshold > 0 {
			has.Threshold = strconv.Itoa(threshold)
		}
		f.Roles[role] = has
		return nil
	}
}

// Rotate replaces a key by another one, in its role.
func Rotate(old, name string, key keys.Public) Change {
	return func(f *File) error {
		role, err := f.roleOf(old)
		if err != nil {
			return err
		}
		threshold := f.Roles[role].Threshold
		f.remove(old, role)
		if err := AddKey(name, key, role, 0, "")(f); err != nil {
			return err
		}
		has := f.Roles[role]
		has.Threshold = threshold
		f.Roles[role] = has
		return nil
	}
}

// Revoke takes a key away for good: nothing that it ever signed counts any more. Where a role
// would have too few keys left, that is an error: another key must take its place before.
func Revoke(name, why string) Change {
	return func(f *File) error {
		role, err := f.roleOf(name)
		if err != nil {
			return err
		}
		public, err := keys.ParsePublicText(f.Keys[name].Public)
		if err != nil {
			return err
		}
		f.remove(name, role)
		if has := f.Roles[role]; len(has.Keys) == 0 && role != RoleRoot {
			delete(f.Roles, role)
		}
		if f.Revoked == nil {
			f.Revoked = map[string]Revoked{}
		}
		f.Revoked[name] = Revoked{ID: public.ID(), Why: why}
		return nil
	}
}

// Renew moves the day on which the root expires.
func Renew(expires time.Time) Change {
	return func(f *File) error {
		f.Expires = expires.UTC().Format(time.DateOnly)
		return nil
	}
}

// roleOf is the role of a key.
func (f *File) roleOf(name string) (string, error) {
	for role, has := range f.Roles {
		if slices.Contains(has.Keys, name) {
			return role, nil
		}
	}
	return "", faults.New(faults.NotFound, "`ampoule trust show` lists the keys", "the trust root has no key %s in a role", name)
}

func (f *File) remove(name, role string) {
	delete(f.Keys, name)
	has := f.Roles[role]
	has.Keys = slices.DeleteFunc(slices.Clone(has.Keys), func(k string) bool { return k == name })
	f.Roles[role] = has
}

// Encode writes the file, in one form.
func (f File) Encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "apiVersion: %s\nname: %q\nversion: %s\nexpires: %q\nkeys:\n", f.APIVersion, f.Name, f.Version, f.Expires)
	for _, name := range slices.Sorted(maps.Keys(f.Keys)) {
		k := f.Keys[name]
		fmt.Fprintf(&b, "  %q:\n    algorithm: %s\n    public: %q\n", name, k.Algorithm, k.Public)
		if k.Expires != "" {
			fmt.Fprintf(&b, "    expires: %q\n", k.Expires)
		}
	}
	b.WriteString("roles:\n")
	for _, role := range slices.Sorted(maps.Keys(f.Roles)) {
		fmt.Fprintf(&b, "  %s:\n    keys:\n", role)
		for _, name := range f.Roles[role].Keys {
			fmt.Fprintf(&b, "    - %q\n", name)
		}
		fmt.Fprintf(&b, "    threshold: %s\n", f.Roles[role].Threshold)
	}
	if len(f.Revoked) > 0 {
		b.WriteString("revoked:\n")
	}
	for _, name := range slices.Sorted(maps.Keys(f.Revoked)) {
		fmt.Fprintf(&b, "  %q:\n    id: %q\n    why: %q\n", name, f.Revoked[name].ID, f.Revoked[name].Why)
	}
	if len(f.Signatures) > 0 {
		b.WriteString("signatures:\n")
	}
	for _, id := range slices.Sorted(maps.Keys(f.Signatures)) {
		fmt.Fprintf(&b, "  %q: %q\n", id, f.Signatures[id])
	}
	return b.Bytes()
}
