package config

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
)

// Credentials say how an index knows who asks. At most one of Netrc, Command and Password
// is set. Without any of them, those of netrc's usual place count: $NETRC, else ~/.netrc.
type Credentials struct {
	// Username makes the secret a password (RFC 7617); without one it is a bearer token
	// (RFC 6750). Of a netrc, only the entry of that user counts.
	Username string `toml:"username"`
	// Netrc is the absolute path of a file as curl and pip read it.
	Netrc string `toml:"netrc"`
	// Command is a program with its arguments. What it prints is the secret.
	Command []string `toml:"command"`
	// Password is the secret itself. Only a variable gives it: the file holds no secrets.
	Password string `toml:"-"`
}

// IsZero reports whether nothing is said.
func (c Credentials) IsZero() bool {
	return c.Username == "" && c.Netrc == "" && len(c.Command) == 0 && c.Password == ""
}

// The ends of the variables that hold a source's credentials.
const (
	usernameSuffix = "_USERNAME"
	passwordSuffix = "_PASSWORD"
	netrcSuffix    = "_NETRC"
	commandSuffix  = "_COMMAND"
)

var credentialSuffixes = []string{usernameSuffix, passwordSuffix, netrcSuffix, commandSuffix}

// credentialOf takes the end of a variable's name off, if it is one of credentials.
func credentialOf(suffix string) (source, key string, ok bool) {
	for _, key := range credentialSuffixes {
		if source, ok := strings.CutSuffix(suffix, key); ok && source != "" {
			return source, key, true
		}
	}
	return "", "", false
}

// withoutSecrets is the environment for programs that are asked something.
func (e environment) withoutSecrets() []string {
	return slices.DeleteFunc(slices.Clone(e), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return strings.HasPrefix(name, SourcePrefix) && strings.HasSuffix(name, passwordSuffix) || name == tokenVariable
	})
}

// set lays what one variable says over the credentials. Where a secret comes from is said
// once: a variable replaces what the file says of it.
func (c *Credentials) set(key, value string) {
	if key == usernameSuffix {
		c.Username = value
		return
	}
	c.Netrc, c.Command, c.Password = "", nil, ""
	switch key {
	case passwordSuffix:
		c.Password = value
	case netrcSuffix:
		c.Netrc = value
	case commandSuffix:
		c.Command = strings.Fields(value)
	}
}

// checkCredentials refuses credentials that no index could be asked with, and names the
// key that is wrong.
func checkCredentials(name string, kind Kind, c Credentials) (key, help string, err error) {
	variable := strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
	if slices.ContainsFunc(credentialSuffixes, func(end string) bool { return strings.HasSuffix(variable, end) }) {
		return "", "give it a name with another end", errors.New("its name ends as the variables of credentials do")
	}
	switch {
	case c.IsZero():
		return "", "", nil
	case kind != Index && kind != "":
		return "credentials", "", errors.New("only a source of kind index takes credentials")
	case c.Netrc != "" && len(c.Command) > 0:
		return "credentials", "leave one of them out", errors.New("its credentials are both in a netrc and given by a command")
	case c.Netrc != "" && !filepath.IsAbs(c.Netrc):
		return "credentials", "write the absolute path of the file", errors.New("the netrc of its credentials is no absolute path")
	case len(c.Command) > 0 && c.Command[0] == "":
		return "credentials", `write the program and its arguments as a list: ["keyring", "get", "ADDRESS", "USER"]`, errors.New("the command of its credentials is empty")
	}
	return "", "", nil
}

// NameCredentials says where a source's credentials are named.
func NameCredentials(source string) string {
	variable := SourcePrefix + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(source))
	return "name them in config.toml, [sources." + source + `] credentials = {netrc = "/PATH"} or {command = ["PROGRAM", "ARGUMENT"], username = "USER"}, or in ` +
		variable + passwordSuffix + " and " + variable + usernameSuffix
}
