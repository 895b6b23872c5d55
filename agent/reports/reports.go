// Package reports has what hosts say of themselves: which digest of which channel they run. A
// report is signed by the host's key and lies in a directory, one file for each channel and root
// of a host.
//
// What lies there is foreign: it is read within limits, and counts where the key of the host that
// it names has signed it.
package reports

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ampoule/artifact"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/keys"
	"ampoule/system"
)

// PredicateType is that of a report's statement, whose predicate is a [Report].
const PredicateType = "https://ampoule.dev/deployment/v1"

// State says in one word how a host follows its channel.
type State string

// The states.
const (
	// Follows runs what the channel wants of it.
	Follows State = "follows"
	// Waits will follow a promotion later, as its delay says.
	Waits State = "waits"
	// Deploys is on its way to another release.
	Deploys State = "deploys"
	// FellBack has tried what the channel wants, and runs what it ran before.
	FellBack State = "fell-back"
	// Blind cannot read its channel, does not believe it, or finds it too old.
	Blind State = "blind"
	// Alarmed wants a person: what it runs is revoked, or it could not go back.
	Alarmed State = "alarmed"
)

// States lists all states.
func States() []State { return []State{Follows, Waits, Deploys, FellBack, Blind, Alarmed} }

// Report is what a host says.
type Report struct {
	// Host is its name, and its key's. Channel is what it follows, as [HOST/]NAME:CHANNEL, and Root
	// where it has its releases.
	Host    string `json:"host"`
	Channel string `json:"channel"`
	Root    string `json:"root"`
	// Count numbers the reports of this host, channel and root from 1 on.
	Count int `json:"count"`
	// Time is when it was written, by the host's clock, in RFC 3339.
	Time  string `json:"time"`
	State State  `json:"state"`
	// Digest is what runs, and Since when it was activated; empty where nothing does.
	Digest string `json:"digest,omitempty"`
	Since  string `json:"since,omitempty"`
	// Wanted is what the channel wants of the host, by the entry with the number Sequence.
	Wanted   string `json:"wanted,omitempty"`
	Sequence int    `json:"sequence,omitempty"`
	// Entry is when the channel's last entry was written that the host has seen.
	Entry string `json:"entry,omitempty"`
	// Why says for people why it does not follow.
	Why string `json:"why,omitempty"`
	// Failed are digests that have failed there, and why.
	Failed map[string]string `json:"failed,omitempty"`
}

// Limits.
const (
	// MaxBytes bounds a report, in bytes.
	MaxBytes = 256 << 10
	// maxReports bounds how many a directory has.
	maxReports = 100_000
	// maxWhy bounds a reason, in bytes.
	maxWhy = 4 << 10
	suffix = ".report.json"
)

// Subject is the digest that a report is about: what runs, else what is wanted. Empty says that
// there is nothing to report yet.
func (r Report) Subject() string {
	if r.Digest != "" {
		return r.Digest
	}
	return r.Wanted
}

// check says what is wrong with a report.
func (r Report) check() error {
	_, err := time.Parse(time.RFC3339, r.Time)
	switch {
	case r.Host == "" || r.Channel == "" || r.Root == "":
		return errors.New("it does not say whose it is")
	case err != nil:
		return fmt.Errorf("its time %.40q is none", r.Time)
	case !slices.Contains(States(), r.State):
		return fmt.Errorf("its state %.40q is none of %v", r.State, States())
	case !artifact.IsDigest(r.Subject()):
		return fmt.Errorf("its digest %.80q is none", r.Subject())
	case r.Digest != "" && !artifact.IsDigest(r.Digest), r.Wanted != "" && !artifact.IsDigest(r.Wanted):
		return fmt.Errorf("its digests %.80q and %.80q are not both some", r.Digest, r.Wanted)
	case len(r.Why) > maxWhy:
		return fmt.Errorf("its reason has more than %d bytes", maxWhy)
	}
	return nil
}

// repository is the one of the report's channel.
func (r Report) repository() string {
	repository, _ := r.Follows()
	return repository
}

// Follows are the repository, as the host knows it, and the name of the report's channel.
func (r Report) Follows() (repository, channel string) {
	i := strings.LastIndexByte(r.Channel, ':')
	return r.Channel[:max(i, 0)], r.Channel[i+1:]
}

// Ref is the reference of a digest of the report's channel.
func (r Report) Ref(digest string) string { return r.repository() + "@" + digest }

// Sign makes the report's file.
func (r Report) Sign(ctx context.Context, by keys.Signer) ([]byte, error) {
	r.Why = strings.ToValidUTF8(r.Why[:min(len(r.Why), maxWhy)], "")
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("writing report: %w", err)
	}
	s, err := evidence.About(r.repository(), r.Subject(), PredicateType, r)
	if err != nil {
		return nil, err
	}
	e, err := s.Sign(ctx, by)
	if err != nil {
		return nil, fmt.Errorf("signing report: %w", err)
	}
	data := e.Encode()
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("writing report: it has %d bytes, more than %d", len(data), MaxBytes)
	}
	return data, nil
}

// Write puts a signed report into a directory, in the place of the one before.
func (r Report) Write(dir string, data []byte) error {
	file := filepath.Join(dir, r.file())
	if err := system.WriteFile(file, data, 0o644); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	return nil
}

// file is the name of the report's file.
func (r Report) file() string {
	sum := sha256.Sum256([]byte(r.Channel + "\x00" + r.Root))
	return r.Host + "-" + hex.EncodeToString(sum[:6]) + suffix
}

// Keys are the keys of hosts, by the host's name.
type Keys map[string]keys.Public

// Parse reads a report that the key of its host has signed.
func (k Keys) Parse(data []byte) (Report, error) {
	r, err := k.parse(data)
	if err != nil {
		return Report{}, fmt.Errorf("reading report: %w", err)
	}
	return r, nil
}

// Unverified reads what a report says, whoever has signed it.
func Unverified(data []byte) (Report, error) {
	r, _, _, err := read(data)
	return r, err
}

// read reads a report with its envelope and statement.
func read(data []byte) (r Report, e evidence.Envelope, s evidence.Statement, err error) {
	if e, s, err = evidence.ParseOf(PredicateType, data, MaxBytes); err != nil {
		return Report{}, e, s, err
	}
	d := json.NewDecoder(bytes.NewReader(s.Predicate))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Report{}, e, s, err
	}
	return r, e, s, r.check()
}

func (k Keys) parse(data []byte) (Report, error) {
	r, e, s, err := read(data)
	if err != nil {
		return Report{}, err
	}
	key, known := k[r.Host]
	switch {
	case !known:
		return Report{}, fmt.Errorf("no key of host %.80q is known: known are %s", r.Host, strings.Join(slices.Sorted(maps.Keys(k)), ", "))
	case !e.SignedBy(key):
		return Report{}, fmt.Errorf("it says that it is of host %s, whose key has not signed it", r.Host)
	case !s.Names(r.Subject()):
		return Report{}, errors.New("it is about another digest than it says")
	}
	return r, nil
}

// Refused is a file that is no report to count on.
type Refused struct {
	File string
	Err  error
}

// ReadDir reads the reports of a directory, sorted by host, channel and root. Other files are
// passed over.
func (k Keys) ReadDir(ctx context.Context, dir string) ([]Report, []Refused, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("reading reports: %w", err)
	}
	var found []Report
	var refused []Refused
	for _, name := range names {
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		if !strings.HasSuffix(name.Name(), suffix) {
			continue
		}
		if len(found)+len(refused) == maxReports {
			return nil, nil, fmt.Errorf("reading reports: %s has more than %d", dir, maxReports)
		}
		file := filepath.Join(dir, name.Name())
		r, err := k.readFile(file)
		if err == nil && r.file() != name.Name() {
			err = fmt.Errorf("reading report: it belongs to %s: it was renamed or copied", r.file())
		}
		if err != nil {
			refused = append(refused, Refused{file, err})
			continue
		}
		found = append(found, r)
	}
	return found, refused, nil
}

func (k Keys) readFile(file string) (_ Report, err error) {
	// Others write there: a pipe would keep the reader waiting, and a link leads to another file.
	f, err := os.OpenFile(file, os.O_RDONLY|system.NoFollow|system.NonBlock, 0)
	if err != nil {
		return Report{}, fmt.Errorf("reading report: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return Report{}, errors.Join(errors.New("reading report: it is no plain file"), err)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return Report{}, fmt.Errorf("reading report: %w", err)
	}
	return k.Parse(data)
}
