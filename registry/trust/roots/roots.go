// Package roots reads, checks and changes trust roots: the file trust.yaml, which says which
// keys count for what.
//
// It obeys the rules of TUF's root (The Update Framework, specification 1.0, section 5.3): a
// version is signed by enough root keys of the version before, and by enough of its own;
// versions come one after the other, and none is gone back to.
package roots

import (
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/keys"
)

// Roles of keys.
const (
	// RoleRoot signs trust roots.
	RoleRoot = "root"
	// RoleBuild signs what was built: provenance, the gate's verdict, the list of contents.
	RoleBuild = "build"
	// RoleTest signs results of tests.
	RoleTest = "test"
	// RolePromote and RoleApprove sign what may be used where; RoleCache signs what is shared
	// between builders.
	RolePromote = "promote"
	RoleApprove = "approve"
	RoleCache   = "cache"
	// RoleHost signs what hosts say of themselves.
	RoleHost = "host"
)

// Roles lists all roles.
func Roles() []string {
	return []string{RoleRoot, RoleBuild, RoleTest, RolePromote, RoleApprove, RoleCache, RoleHost}
}

// Limits.
const (
	// maxFile bounds a trust root, in bytes.
	maxFile = 256 << 10
	maxKeys = 64
)

//go:embed file.go
var source string

var form = recipes.Form{
	What: "a trust root", Limit: maxFile, Source: source,
	Rules: map[string]recipes.Rule{
		"key name":  {Means: "a name of at most 64 letters, digits, -, _ and .", Pattern: regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`), Numbers: true, Example: "build-1"},
		"count":     {Means: "a number from 1 to 999999", Pattern: regexp.MustCompile(`^[1-9][0-9]{0,5}$`), Numbers: true, Example: "1"},
		"day":       {Means: "a day as YYYY-MM-DD", Pattern: regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`), Example: "2027-11-28"},
		"role":      {Means: "a role", Enum: Roles()},
		"algorithm": {Means: "an algorithm that this Ampoule verifies", Enum: []string{keys.Algorithm}, Example: keys.Algorithm},
		"base64":    {Means: "base64", Pattern: regexp.MustCompile(`^[A-Za-z0-9+/]+={0,2}$`)},
		"key ID":    {Means: "sha256: and 64 hexadecimal digits", Pattern: regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)},
	},
}

// Schema gives the JSON Schema of trust.yaml.
func Schema() ([]byte, error) {
	return form.Schema("Ampoule trust root (trust.yaml)", reflect.TypeFor[File]())
}

// Root is a trust root that was read, whether it is signed or not.
type Root struct {
	// File is what it says. Whoever changes it makes another root of it.
	File
	version int
	expires time.Time
	keys    map[string]key
}

// key is a key with its one role.
type key struct {
	public  keys.Public
	expires time.Time
	role    string
}

// Parse reads a trust root; file is its name in faults. It checks all that needs neither
// another root nor a clock.
func Parse(file string, data []byte) (*Root, error) {
	var f File
	places, found := form.Decode(file, data, &f)
	if err := found.Err(); err != nil {
		return nil, err
	}
	return f.root(places)
}

// root checks what the file says.
func (f File) root(places recipes.Places) (*Root, error) {
	r := &Root{File: f, keys: map[string]key{}}
	r.version, _ = strconv.Atoi(f.Version)
	var all recipes.Faults
	tell := func(what, hint string, path ...string) { all = append(all, places.Fault(what, hint, path...)) }
	var err error
	if r.expires, err = endOf(f.Expires); err != nil {
		tell(fmt.Sprintf("%s is no day", f.Expires), "", "expires")
	}
	if len(f.Keys) > maxKeys {
		tell(fmt.Sprintf("there are more than %d keys", maxKeys), "", "keys")
	}
	r.readKeys(tell)
	r.readRoles(tell)
	if _, ok := f.Roles[RoleRoot]; !ok {
		tell("there is no role root", "root keys sign this file: add them as roles.root", "roles")
	}
	for _, name := range slices.Sorted(maps.Keys(f.Revoked)) {
		for other, k := range r.keys {
			if k.public.ID() == f.Revoked[name].ID {
				tell(fmt.Sprintf("key %s is revoked as %s, and stands among the keys", other, name), "remove it from keys and roles", "revoked", name)
			}
		}
	}
	if err := all.Err(); err != nil {
		return nil, err
	}
	return r, nil
}

// readKeys reads the keys. One key under two names would count twice.
func (r *Root) readKeys(tell func(what, hint string, path ...string)) {
	names := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(r.Keys)) {
		written := r.Keys[name]
		public, err := keys.ParsePublicText(written.Public)
		if err != nil {
			tell(fmt.Sprintf("key %s: %v", name, err), "", "keys", name, "public")
			continue
		}
		if other, twice := names[public.ID()]; twice {
			tell(fmt.Sprintf("keys %s and %s are one key", other, name), "keep one", "keys", name)
		}
		names[public.ID()] = name
		k := key{public: public, expires: r.expires}
		if written.Expires != "" {
			if k.expires, err = endOf(written.Expires); err != nil {
				tell(fmt.Sprintf("%s is no day", written.Expires), "", "keys", name, "expires")
			}
		}
		r.keys[name] = k
	}
}

// readRoles gives keys their roles.
func (r *Root) readRoles(tell func(what, hint string, path ...string)) {
	for _, role := range slices.Sorted(maps.Keys(r.Roles)) {
		has := r.Roles[role]
		for _, name := range has.Keys {
			k, known := r.keys[name]
			switch {
			case !known && r.Keys[name].Public == "":
				tell(fmt.Sprintf("role %s names key %s, which is not among the keys", role, name), "", "roles", role, "keys")
			case k.role != "" && k.role != role:
				tell(fmt.Sprintf("key %s has the roles %s and %s", name, k.role, role), "a key has one role: who steals it can do one thing", "roles", role, "keys")
			}
			k.role = role
			r.keys[name] = k
		}
		if n, _ := strconv.Atoi(has.Threshold); n > len(has.Keys) {
			tell(fmt.Sprintf("role %s wants %s signatures of %d keys", role, has.Threshold, len(has.Keys)), "", "roles", role, "threshold")
		}
	}
}

// endOf is the end of a day in UTC.
func endOf(day string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, day)
	return t.AddDate(0, 0, 1), err
}

// Number is the version as a number.
func (r *Root) Number() int { return r.version }

// payload is what is signed.
func (r *Root) payload() []byte {
	f := r.File
	f.Signatures = nil
	// Maps are encoded in the order of their keys.
	data, err := json.Marshal(f)
	if err != nil {
		panic("roots: " + err.Error())
	}
	return data
}

// Hash names what the root says, without its signatures: "sha256:" and a hash.
func (r *Root) Hash() string {
	sum := sha256.Sum256(r.payload())
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Message is what a root key signs for a payload of a type: the encoding of DSSE.
func Message(mediaType string, payload []byte) []byte { return evidence.PAE(mediaType, payload) }

// Sign adds the signature of a key to a copy.
func (r *Root) Sign(ctx context.Context, by keys.Signer) (*Root, error) {
	sig, err := by.Sign(ctx, Message(artifact.TrustRootType, r.payload()))
	if err != nil {
		return nil, err
	}
	signed := *r
	signed.Signatures = maps.Clone(r.Signatures)
	if signed.Signatures == nil {
		signed.Signatures = map[string]string{}
	}
	signed.Signatures[by.Public().ID()] = base64.StdEncoding.EncodeToString(sig)
	return &signed, nil
}

// signers names the root keys that signed another root, or this one.
func (r *Root) signers(of *Root) []string {
	return r.Signers(artifact.TrustRootType, of.payload(), of.Signatures)
}

// Signers names the root keys that signed a payload of a type. The signatures are in base64, each
// under the ID of its key; a key signs what [Message] makes.
func (r *Root) Signers(mediaType string, payload []byte, signatures map[string]string) []string {
	message := Message(mediaType, payload)
	var found []string
	for _, name := range r.Roles[RoleRoot].Keys {
		k := r.keys[name]
		sig, err := base64.StdEncoding.Strict().DecodeString(signatures[k.public.ID()])
		if err == nil && k.public.Verify(message, sig) {
			found = append(found, name)
		}
	}
	return found
}

// SignedBy says that a root has enough signatures of the root keys of a version, which may be
// its own.
func (r *Root) SignedBy(by *Root) error {
	found := by.signers(r)
	role := by.Roles[RoleRoot]
	if want, _ := strconv.Atoi(role.Threshold); len(found) < want {
		return &ThresholdError{Name: r.Name, Version: r.version, Of: by.version, Want: want, Found: found, Keys: role.Keys}
	}
	return nil
}

// ThresholdError says that a root has not enough signatures.
type ThresholdError struct {
	// Name and Version are the root's; Of is the version whose root keys are missing.
	Name    string
	Version int
	Of      int
	// Want is how many are needed, Found which have signed, Keys all that can.
	Want  int
	Found []string
	Keys  []string
}

func (e *ThresholdError) Error() string {
	signed := "none"
	if len(e.Found) > 0 {
		signed = strings.Join(e.Found, ", ")
	}
	return fmt.Sprintf("trust root %s version %d needs %d signatures of the root keys of version %d (%s), and has those of %s",
		e.Name, e.Version, e.Want, e.Of, strings.Join(e.Keys, ", "), signed)
}

// Kind says whose fault it is.
func (*ThresholdError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (e *ThresholdError) Hint() string {
	return "sign it with more of these keys: `ampoule trust sign --key FILE`. If too many of them are lost, no version can follow: begin a root of another name, and name it in the machines' policies"
}

// refused makes an error about a root that is not to be trusted.
func refused(hint, format string, args ...any) error {
	return faults.New(faults.Refused, hint, format, args...)
}

// Follows says that a root may follow another one: it has the same name, the next version,
// and enough signatures of both.
func (r *Root) Follows(before *Root) error {
	switch {
	case r.Name != before.Name:
		return refused("", "trust root %s does not follow trust root %s: a root keeps its name", r.Name, before.Name)
	case r.version != before.version+1:
		return refused("", "trust root %s: version %d does not follow version %d", r.Name, r.version, before.version)
	}
	if err := r.SignedBy(before); err != nil {
		return err
	}
	return r.SignedBy(r)
}

// CheckTime says that the root counts at a time.
func (r *Root) CheckTime(now time.Time) error {
	if !now.Before(r.expires) {
		return refused("sign a new version: `ampoule trust renew`, `ampoule trust sign`; or this machine's clock is wrong",
			"trust root %s version %d has expired: %s was its last day, and it is %s here", r.Name, r.version, r.Expires, now.UTC().Format(time.DateOnly))
	}
	return nil
}

// KeysOf gives the keys of a role that count at a time, by name.
func (r *Root) KeysOf(role string, now time.Time) map[string]keys.Public {
	found := map[string]keys.Public{}
	for name, k := range r.keys {
		if k.role == role && now.Before(k.expires) {
			found[name] = k.public
		}
	}
	return found
}

// Threshold is how many keys of a role must have signed; 0 if there is no such role.
func (r *Root) Threshold(role string) int {
	n, _ := strconv.Atoi(r.Roles[role].Threshold)
	return n
}

// Explain says for people why a signature of a key does not count for a role, if the root
// knows the key: it is expired, has another role or is revoked. The key is found by what it
// signed.
func (r *Root) Explain(role string, now time.Time, signed func(keys.Public) bool) string {
	for _, name := range slices.Sorted(maps.Keys(r.keys)) {
		k := r.keys[name]
		if !signed(k.public) {
			continue
		}
		switch {
		case k.role != role:
			return fmt.Sprintf("it is signed by key %s, whose role is %s", name, cmp.Or(k.role, "none"))
		case !now.Before(k.expires):
			return fmt.Sprintf("it is signed by key %s, which has expired: %s was its last day", name, r.Keys[name].Expires)
		}
	}
	if len(r.Revoked) > 0 {
		return "it is signed by no key of trust root " + r.Name + "; revoked are " + strings.Join(slices.Sorted(maps.Keys(r.Revoked)), ", ")
	}
	return "it is signed by no key of trust root " + r.Name
}
