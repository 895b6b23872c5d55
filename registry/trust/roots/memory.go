package roots

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ampoule/faults"
	"ampoule/registry/trust/keys"
)

// Memory keeps what was seen, for good. A store is one.
type Memory interface {
	Lock(ctx context.Context, name string) (unlock func(), err error)
	Lookup(kind, key string, v any) (bool, error)
	RecordDurably(kind, key string, v any) error
}

// memoryKind is the kind of the records: the highest version that was seen of a root, by a
// hash of its name.
const memoryKind = "trust-root"

// seen is one record.
type seen struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	Hash    string `json:"hash"`
	// File is the whole version, which the next one must follow.
	File string `json:"file"`
}

// Before is the name of the file that keeps a version when the next one takes its place:
// trust.3.yaml for trust.yaml.
func Before(path string, version int) string {
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + "." + strconv.Itoa(version) + ext
}

// Read reads a trust root from a file, and checks nothing beyond its form.
func Read(path string) (*Root, error) {
	text, err := keys.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, faults.New(faults.Input, "`ampoule trust init` makes one", "there is no trust root %s", path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading trust root: %w", err)
	}
	return Parse(path, text)
}

// Open reads the trust root of a name from a file and checks it: its signatures, that it is
// no lower version and no other one than this memory has seen, that it follows what was
// seen, by way of the versions that lie beside it as [Before] names them, and that it has
// not expired. A root that was never seen is taken as the file has it: who can write the file
// decides.
func Open(ctx context.Context, memory Memory, path, name string, now time.Time) (*Root, error) {
	root, err := Read(path)
	if err != nil {
		return nil, err
	}
	if root.Name != name {
		return nil, refused("", "%s is the trust root %s, and the policy names %s", path, root.Name, name)
	}
	if err := root.SignedBy(root); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(name))
	key := hex.EncodeToString(sum[:])
	unlock, err := memory.Lock(ctx, memoryKind+"-"+key)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var known seen
	found, err := memory.Lookup(memoryKind, key, &known)
	if err != nil {
		return nil, fmt.Errorf("remembering trust root %s: %w", name, err)
	}
	if found {
		if err := root.checkSeen(path, known); err != nil {
			return nil, err
		}
	}
	if !found || known.Version < root.version {
		now := seen{Name: name, Version: root.version, Hash: root.Hash(), File: string(root.Encode())}
		if err := memory.RecordDurably(memoryKind, key, now); err != nil {
			return nil, fmt.Errorf("remembering trust root %s: %w", name, err)
		}
	}
	return root, root.CheckTime(now)
}

// checkSeen compares a root with the highest version that was seen.
func (r *Root) checkSeen(path string, known seen) error {
	switch {
	case r.version < known.Version:
		return refused("put the newest trust root there", "trust root %s is rolled back: %s has version %d, and version %d was seen here", r.Name, path, r.version, known.Version)
	case r.version == known.Version && r.Hash() != known.Hash:
		return refused("find out who signed two of them", "trust root %s is forked: the version %d of %s is another one than was seen here", r.Name, r.version, path)
	case r.version == known.Version:
		return nil
	}
	before, err := Parse("the version that was seen", []byte(known.File))
	if err != nil {
		return err
	}
	for before.version+1 < r.version {
		between := Before(path, before.version+1)
		next, err := Read(between)
		if err != nil {
			return refused("put "+filepath.Base(between)+" beside it: each version is signed by the root keys of the one before",
				"trust root %s: version %d was seen here, %s has version %d, and between them one is missing: %w", r.Name, known.Version, path, r.version, err)
		}
		if err := next.Follows(before); err != nil {
			return err
		}
		before = next
	}
	return r.Follows(before)
}
