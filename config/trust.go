package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// Trust says what may run here, and what this machine signs with.
type Trust struct {
	// Policy is the path of the policy that run, exec and install obey; empty is none.
	Policy string
	Sign   Sign
}

// Sign is the key that builds and tests are signed with. Without Key and Command nothing is
// signed.
type Sign struct {
	// Key is the path of an encrypted private key.
	Key string `toml:"key"`
	// Command is a program with arguments that signs what it gets on stdin; Public is the path of
	// its public key.
	Command []string `toml:"command"`
	Public  string   `toml:"public"`
	// PassphraseFile and PassphraseCommand say where the passphrase of Key is from; without
	// them it is asked for on the terminal.
	PassphraseFile    string   `toml:"passphrase-file"`
	PassphraseCommand []string `toml:"passphrase-command"`
	// Form is legacy or bundle; empty is legacy.
	Form string `toml:"form"`
	// Builder names this builder in what it signs, as a URI; empty is made of the key.
	Builder string `toml:"builder"`
}

// Forms of signatures.
const (
	FormLegacy = "legacy"
	FormBundle = "bundle"
)

// Set reports whether something is signed.
func (s Sign) Set() bool { return s.Key != "" || len(s.Command) > 0 }

// Check says what is wrong with what is set together; where names the place of a key.
func (s Sign) Check(where func(key string) string) error {
	var wrong []error
	tell := func(key, msg, help string) { wrong = append(wrong, &Error{Where: where(key), Msg: msg, Help: help}) }
	switch {
	case s.Key != "" && len(s.Command) > 0:
		tell("command", "both a key and a program that signs are set", "keep one")
	case len(s.Command) > 0 && s.Public == "":
		tell("command", "the program that signs has no public key", "name its file as public: every signature is compared with it")
	case len(s.Command) == 0 && s.Public != "":
		tell("public", "a public key belongs to a program that signs", "set command, or remove public")
	}
	if s.PassphraseFile != "" && len(s.PassphraseCommand) > 0 {
		tell("passphrase-command", "the passphrase has two places", "keep passphrase-file or passphrase-command")
	}
	if s.Form != "" && !slices.Contains([]string{FormLegacy, FormBundle}, s.Form) {
		tell("form", fmt.Sprintf("%q is no form of signatures", s.Form), "legacy or bundle")
	}
	return errors.Join(wrong...)
}

// trust reads what is set of trust. Paths in the file are absolute: it may be read anywhere.
func (r *reading) trust(env environment) (Trust, error) {
	t := Trust{Policy: r.parsed.Policy, Sign: r.parsed.Sign}
	var wrong []error
	for _, p := range []struct {
		path string
		key  []string
	}{
		{t.Policy, []string{"policy"}}, {t.Sign.Key, []string{"sign", "key"}}, {t.Sign.Public, []string{"sign", "public"}},
		{t.Sign.PassphraseFile, []string{"sign", "passphrase-file"}},
	} {
		if p.path != "" && !filepath.IsAbs(p.path) {
			wrong = append(wrong, &Error{Where: r.where(p.key...), Msg: fmt.Sprintf("%s is not an absolute path", p.path)})
		}
	}
	wrong = append(wrong, t.Sign.Check(func(key string) string { return r.where("sign", key) }))
	if file := env.get(policyVariable); file != "" {
		t.Policy = file
	}
	if key := env.get(signKeyVariable); key != "" {
		t.Sign.Key, t.Sign.Command, t.Sign.Public = key, nil, ""
	}
	return t, errors.Join(wrong...)
}
