package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ampoule/config"
	"ampoule/faults"
	"ampoule/registry/trust/keys"
	"ampoule/wiring"
)

func newKeys(s *Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Makes and shows keys that sign",
		Long: `Keys are ECDSA on the curve P-256. A private key lies encrypted on disk, as PKCS #8 with
scrypt and AES-256, which OpenSSL reads, too. Key files of cosign are read as they are.`,
		Args: usage(noVerb),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeysGenerate(s), newKeysShow(s))
	return cmd
}

// keyResult is a key as JSON.
type keyResult struct {
	ID      string `json:"id"`
	Public  string `json:"public"`
	Private string `json:"private,omitempty"`
}

func newKeysGenerate(s *Session) *cobra.Command {
	var set config.Sign
	cmd := &cobra.Command{
		Use:   "generate NAME",
		Short: "Makes a pair of keys: NAME.key and NAME.pub",
		Long: `Generate makes a key, and writes it encrypted to NAME.key, which its owner alone may
read, and its public key to NAME.pub. Files that are there are never replaced. The
passphrase is asked for twice on the terminal, unless --passphrase-file names a file.

The result is the key's ID: the hash of the public key.`,
		Example:           "  ampoule keys generate build-1\n  ampoule keys generate build-1 --passphrase-file /run/secrets/build-1",
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			passphrase, err := wiring.Passphrase(cmd.Context(), set, s.Environ, s.askTwice)
			if err != nil {
				return err
			}
			return KeysGenerate(s, args[0], passphrase)
		},
	}
	passphraseFlag(cmd, &set)
	return cmd
}

// passphraseFlag is the flag of verbs that open a key.
func passphraseFlag(cmd *cobra.Command, set *config.Sign) {
	cmd.Flags().StringVar(&set.PassphraseFile, "passphrase-file", "", "the file with the key's passphrase (default: it is asked for)")
}

// KeysGenerate makes a pair of keys in two files.
func KeysGenerate(s *Session, name string, passphrase []byte) error {
	if len(passphrase) == 0 {
		return faults.New(faults.Input, "", "the passphrase is empty")
	}
	k, err := keys.Generate()
	if err != nil {
		return err
	}
	sealed, err := k.Encrypt(passphrase)
	if err != nil {
		return err
	}
	result := keyResult{ID: k.Public().ID(), Public: name + ".pub", Private: name + ".key"}
	if err := createFile(result.Private, sealed, 0o600); err != nil {
		return err
	}
	if err := createFile(result.Public, k.Public().PEM(), 0o644); err != nil {
		return errors.Join(err, os.Remove(result.Private))
	}
	s.tell("the private key is %s, the public key %s", result.Private, result.Public)
	return s.print(result.ID, result)
}

// createFile writes a file that must not be there.
func createFile(file string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return faults.New(faults.Usage, "give the key another name, or move the file away: who has lost a key cannot sign any more", "%s is there already", file)
	}
	if err != nil {
		return fmt.Errorf("writing key: %w", err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("writing key: %w", err), os.Remove(file))
	}
	return nil
}

func newKeysShow(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE",
		Short: "Shows the ID of a public key",
		Long: `Show prints the ID by which policies, trust roots and messages name a key. It is made of the
public key alone: FILE is that, as keys generate wrote it to NAME.pub.`,
		Example: "  ampoule keys show build-1.pub",
		Args:    usage(cobra.ExactArgs(1)),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return []cobra.Completion{"pub", "pem"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(_ *cobra.Command, args []string) error {
			public, err := keys.ReadPublic(args[0])
			if err != nil {
				return err
			}
			return s.print(public.ID(), keyResult{ID: public.ID(), Public: args[0]})
		},
	}
}

// ask asks for the passphrase of a key on the terminal, and shows nothing of it.
func (s *Session) ask(file string) ([]byte, error) {
	in := terminalOf(s.In)
	if in == nil {
		return nil, faults.New(faults.Usage, "name a file with --passphrase-file, or a program as sign.passphrase-command in config.toml", "there is no terminal to ask for the passphrase of %s on", file)
	}
	fmt.Fprintf(s.Err, "passphrase of %s: ", file)
	passphrase, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(s.Err)
	if err != nil {
		return nil, fmt.Errorf("asking for the passphrase: %w", err)
	}
	return passphrase, nil
}

// askTwice asks for a new passphrase.
func (s *Session) askTwice(string) ([]byte, error) {
	first, err := s.ask("the new key")
	if err != nil {
		return nil, err
	}
	again, err := s.ask("the new key, again")
	if err == nil && !bytes.Equal(first, again) {
		err = faults.New(faults.Input, "", "the two passphrases differ")
	}
	return first, err
}

// signer opens the key that flags or the configuration name. What a flag says of the key
// replaces all that the configuration says of it.
func (s *Session) signer(ctx context.Context, flags config.Sign) (*wiring.Signing, error) {
	read, err := config.Read(s.Environ, "")
	if err != nil {
		return nil, err
	}
	set := read.Trust.Sign
	if flags.Key != "" {
		set.Key, set.Command, set.Public = flags.Key, nil, ""
	}
	if flags.PassphraseFile != "" {
		set.PassphraseFile, set.PassphraseCommand = flags.PassphraseFile, nil
	}
	if flags.Form != "" {
		set.Form = flags.Form
	}
	if !set.Set() {
		return nil, nil // nothing signs
	}
	by, err := wiring.OpenSigner(ctx, set, read.Inputs.Environ, s.ask)
	if err != nil {
		return nil, err
	}
	return wiring.SigningOf(by, set), nil
}

// mustSigner is as signer, for verbs that only sign.
func (s *Session) mustSigner(ctx context.Context, flags config.Sign) (*wiring.Signing, error) {
	by, err := s.signer(ctx, flags)
	if err == nil && by == nil {
		err = faults.New(faults.Usage, "name a key: --key FILE, or sign.key in config.toml", "there is no key to sign with")
	}
	return by, err
}
