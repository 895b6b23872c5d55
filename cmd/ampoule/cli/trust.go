package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ampoule/config"
	"ampoule/faults"
	"ampoule/registry/trust/keys"
	"ampoule/registry/trust/roots"
)

func newTrust(s *Session) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Makes and changes the trust root: which keys count for what",
		Long: `A trust root is a file, trust.yaml, that says which keys count for what: to sign what is
built, results of tests, promotions, approvals, caches, and the root itself. Enough root keys
sign each version, and a new version needs enough root keys of the version before, too.

Init, add-key, rotate, revoke and renew make a new version that nobody has signed; the version
before is kept beside it, as trust.1.yaml, which machines need that have not seen the new
one. Each holder of a root key then calls trust sign. Until enough have, the file is
changed in place.`,
		Args: usage(noVerb),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&file, "trust", "trust.yaml", "the trust root's file")
	cmd.AddCommand(newTrustInit(s, &file), newTrustAdd(s, &file), newTrustRotate(s, &file), newTrustRevoke(s, &file), newTrustRenew(s, &file),
		newTrustSign(s, &file), newTrustShow(s, &file))
	return cmd
}

// namedKey reads NAME=FILE.
func namedKey(cmd *cobra.Command, text string) (string, keys.Public, error) {
	name, file, ok := strings.Cut(text, "=")
	if !ok || name == "" || file == "" {
		return "", keys.Public{}, &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("%q is not NAME=FILE, a key's name and the file of the public key", text)}
	}
	public, err := keys.ReadPublic(file)
	return name, public, err
}

// expiry reads how long something counts from now on.
func expiry(text string) (time.Time, error) {
	d, err := config.ParseDuration(text)
	if err != nil {
		return time.Time{}, &UsageError{Err: fmt.Errorf("--expires: %w", err)}
	}
	return time.Now().Add(d), nil
}

// rootResult is a trust root as JSON.
type rootResult struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	Expires string `json:"expires"`
	Hash    string `json:"hash"`
	// Signed says that enough keys have signed it. Missing says what is missing.
	Signed  bool   `json:"signed"`
	Missing string `json:"missing,omitempty"`
	// Roles have the names of their keys; Revoked has why each was.
	Roles   map[string]rootRole `json:"roles"`
	Revoked map[string]string   `json:"revoked"`
}

type rootRole struct {
	Threshold int               `json:"threshold"`
	Keys      map[string]string `json:"keys"`
}

// printRoot shows a trust root of a file.
func (s *Session) printRoot(file string, r *roots.Root) error {
	result := rootResult{Name: r.Name, Version: r.Number(), Expires: r.Expires, Hash: r.Hash(), Roles: map[string]rootRole{}, Revoked: map[string]string{}}
	if err := signedBy(file, r); err != nil {
		result.Missing = err.Error()
	}
	result.Signed = result.Missing == ""
	var b strings.Builder
	fmt.Fprintf(&b, "%s: trust root %s version %d, until %s\n", file, r.Name, r.Number(), r.Expires)
	for _, role := range slices.Sorted(maps.Keys(r.Roles)) {
		known := rootRole{Threshold: r.Threshold(role), Keys: map[string]string{}}
		fmt.Fprintf(&b, "  %s: %d of %s\n", role, known.Threshold, strings.Join(r.Roles[role].Keys, ", "))
		for _, name := range r.Roles[role].Keys {
			public, err := keys.ParsePublicText(r.Keys[name].Public)
			if err != nil {
				return err
			}
			known.Keys[name] = public.ID()
		}
		result.Roles[role] = known
	}
	for _, name := range slices.Sorted(maps.Keys(r.Revoked)) {
		result.Revoked[name] = r.Revoked[name].Why
		fmt.Fprintf(&b, "  revoked: %s: %s\n", name, r.Revoked[name].Why)
	}
	state := "signed by enough keys"
	if !result.Signed {
		state = result.Missing
	}
	fmt.Fprintf(&b, "  %s\n", state)
	return s.print(b.String(), result)
}

// signedBy says what a root of a file lacks: signatures of its own root keys, and of those of
// the version before, which lies beside it.
func signedBy(file string, r *roots.Root) error {
	if r.Number() == 1 {
		return r.SignedBy(r)
	}
	before, err := readBefore(file, r)
	if err != nil {
		return err
	}
	return r.Follows(before)
}

// readBefore reads the version before a root of a file, which lies beside it.
func readBefore(file string, r *roots.Root) (*roots.Root, error) {
	before := roots.Before(file, r.Number()-1)
	if _, err := os.Stat(before); errors.Is(err, fs.ErrNotExist) {
		return nil, faults.New(faults.Input, "all versions are kept together: take it from where "+file+" is from", "%s, the version before %s, is not there", before, file)
	}
	return roots.Read(before)
}

// changeRoot makes the version with a change, and shows it.
func (s *Session) changeRoot(file string, change roots.Change) error {
	r, err := roots.Read(file)
	if err != nil {
		return err
	}
	var missing *roots.ThresholdError
	err = signedBy(file, r)
	draft := errors.As(err, &missing)
	if err != nil && !draft {
		return err
	}
	next, err := r.Next(draft, change)
	if err != nil {
		return err
	}
	if !draft {
		if err := keepBefore(roots.Before(file, r.Number()), r.Encode()); err != nil {
			return err
		}
	}
	if err := replaceFile(file, next.Encode()); err != nil {
		return fmt.Errorf("writing trust root: %w", err)
	}
	return s.printRoot(file, next)
}

// keepBefore keeps a version beside the one that follows. One that is there must be the same.
func keepBefore(file string, text []byte) error {
	there, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = replaceFile(file, text)
	case err == nil && string(there) != string(text):
		return faults.New(faults.Input, "find out which of them is the right one, and move the other away", "%s is another version of that number", file)
	}
	if err != nil {
		return fmt.Errorf("keeping the version before: %w", err)
	}
	return nil
}

func newTrustInit(s *Session, file *string) *cobra.Command {
	var name, expires string
	var rootKeys []string
	var threshold int
	cmd := &cobra.Command{
		Use:   "init --name NAME --root-key KEY=FILE...",
		Short: "Makes the first version of a trust root",
		Long: `Init writes a trust root with its root keys and how many of them must sign a version. Nothing
counts before that many holders have called trust sign.`,
		Example: `  ampoule trust init --name acme --threshold 2 --root-key ann=ann.pub --root-key ben=ben.pub --root-key cat=cat.pub
  ampoule trust sign --key ann.key`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" || len(rootKeys) == 0 {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("want --name, and --root-key NAME=FILE for each root key")}
			}
			known := map[string]keys.Public{}
			for _, text := range rootKeys {
				name, public, err := namedKey(cmd, text)
				if err != nil {
					return err
				}
				known[name] = public
			}
			until, err := expiry(expires)
			if err != nil {
				return err
			}
			r, err := roots.New(name, until, known, threshold)
			if err != nil {
				return err
			}
			if err := createFile(*file, r.Encode(), 0o644); err != nil {
				return err
			}
			return s.printRoot(*file, r)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "the root's name, which policies name")
	flags.StringArrayVar(&rootKeys, "root-key", nil, "a root key: NAME=FILE of the public key")
	flags.IntVar(&threshold, "threshold", 1, "how many root keys sign a version")
	flags.StringVar(&expires, "expires", "365d", "how long the version counts from now on")
	return cmd
}

func newTrustAdd(s *Session, file *string) *cobra.Command {
	var role, expires string
	var threshold int
	cmd := &cobra.Command{
		Use:   "add-key NAME=FILE --role ROLE",
		Short: "Makes a version with one more key",
		Long: `Add-key gives a key a role: what it signs in that role counts from this version on, once
enough root keys have signed the version.`,
		Example: "  ampoule trust add-key build-1=build-1.pub --role build",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(roots.Roles(), role) {
				return &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("--role %q is none of %s", role, strings.Join(roots.Roles(), ", "))}
			}
			name, public, err := namedKey(cmd, args[0])
			if err != nil {
				return err
			}
			day := ""
			if expires != "" {
				until, err := expiry(expires)
				if err != nil {
					return err
				}
				day = until.UTC().Format(time.DateOnly)
			}
			return s.changeRoot(*file, roots.AddKey(name, public, role, threshold, day))
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "what the key signs: "+strings.Join(roots.Roles(), ", "))
	cmd.Flags().IntVar(&threshold, "threshold", 0, "how many keys of the role must sign (default: as before, or 1)")
	cmd.Flags().StringVar(&expires, "expires", "", "how long the key counts from now on (default: as long as the root)")
	return cmd
}

func newTrustRotate(s *Session, file *string) *cobra.Command {
	return &cobra.Command{
		Use:   "rotate OLD NAME=FILE",
		Short: "Makes a version in which a key takes the place of another one",
		Long: `Rotate gives the role of a key to another one. What the old key signed does not count any
more: sign what is still needed anew, or add the new key beside the old one for a time.`,
		Example: "  ampoule trust rotate build-1 build-2=build-2.pub",
		Args:    usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, public, err := namedKey(cmd, args[1])
			if err != nil {
				return err
			}
			return s.changeRoot(*file, roots.Rotate(args[0], name, public))
		},
	}
}

func newTrustRevoke(s *Session, file *string) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use:   "revoke NAME --why TEXT",
		Short: "Makes a version in which a key does not count any more",
		Long: `Revoke takes a key away for good: nothing that it ever signed counts any more, since
nobody can know when a thief signed. Artifacts that stay in use are built or signed again
with another key.`,
		Example: "  ampoule trust revoke build-1 --why 'the build host was broken into'",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if why == "" {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--why is missing: what happened to the key")}
			}
			return s.changeRoot(*file, roots.Revoke(args[0], why))
		},
	}
	cmd.Flags().StringVar(&why, "why", "", "what happened, for people")
	return cmd
}

func newTrustRenew(s *Session, file *string) *cobra.Command {
	var expires string
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Makes a version that expires later",
		Long: `Renew makes a version with the same keys that expires later. A trust root that has expired
counts for nothing.`,
		Example: "  ampoule trust renew --expires 365d",
		Args:    usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			until, err := expiry(expires)
			if err != nil {
				return err
			}
			return s.changeRoot(*file, roots.Renew(until))
		},
	}
	cmd.Flags().StringVar(&expires, "expires", "365d", "how long the version counts from now on")
	return cmd
}

func newTrustSign(s *Session, file *string) *cobra.Command {
	var set config.Sign
	cmd := &cobra.Command{
		Use:   "sign --key FILE",
		Short: "Signs a version with a root key",
		Long: `Sign adds a signature to the trust root: of a root key of this version, or of the version
before. It tells how many are still missing.`,
		Example: "  ampoule trust sign --key ann.key",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := roots.Read(*file)
			if err != nil {
				return err
			}
			by, err := s.mustSigner(cmd.Context(), set)
			if err != nil {
				return err
			}
			if err := mayUse(*file, r, by.By.Public()); err != nil {
				return err
			}
			signed, err := r.Sign(cmd.Context(), by.By)
			if err != nil {
				return err
			}
			if err := replaceFile(*file, signed.Encode()); err != nil {
				return fmt.Errorf("writing trust root: %w", err)
			}
			return s.printRoot(*file, signed)
		},
	}
	cmd.Flags().StringVar(&set.Key, "key", "", "the encrypted private key (default: what config.toml names)")
	passphraseFlag(cmd, &set)
	return cmd
}

// mayUse refuses a key whose signature would count for nothing.
func mayUse(file string, r *roots.Root, public keys.Public) error {
	known := []*roots.Root{r}
	if r.Number() > 1 {
		before, err := readBefore(file, r)
		if err != nil {
			return err
		}
		known = append(known, before)
	}
	for _, root := range known {
		for _, name := range root.Roles[roots.RoleRoot].Keys {
			if root.Keys[name].Public == public.Text() {
				return nil
			}
		}
	}
	return faults.New(faults.Refused, "", "key %s is no root key of %s version %s, nor of the version before", public.ID(), r.Name, strconv.Itoa(r.Number()))
}

func newTrustShow(s *Session, file *string) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Shows the trust root, and whether enough keys have signed it",
		Long: `Show prints the version, when it expires, which keys have which role, which were revoked and
why, and whose signatures are still missing.`,
		Example: "  ampoule trust show",
		Args:    usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			r, err := roots.Read(*file)
			if err != nil {
				return err
			}
			return s.printRoot(*file, r)
		},
	}
}
