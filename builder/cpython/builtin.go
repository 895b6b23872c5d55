package cpython

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"ampoule/builder/sandbox"
	"ampoule/faults"
	"ampoule/tree"
)

// CPython has a rule for each of its extension modules in setupRules. What stands in setupLocal is read before them,
// and a module's first rule is the one that counts (Modules/makesetup). Configure reads both.
const (
	setupRules = "Modules/Setup.stdlib.in"
	setupLocal = "Modules/Setup.local"
)

// mostRules bounds what is read of the rules, in bytes.
const mostRules = 1 << 20

// linkIn has the modules of the recipe's python.builtin linked into the interpreter.
func (c *compilation) linkIn(ctx context.Context) error {
	if len(c.spec.Builtin) == 0 {
		return nil
	}
	rules, err := sandbox.Output(ctx, c.sb, sandbox.Step{Args: []string{"cat", setupRules}, Env: sandbox.Env(), Dir: source, Stderr: c.log}, mostRules)
	if err != nil {
		return err
	}
	local, err := rulesFor(c.spec.Version, string(rules), c.spec.Builtin)
	if err != nil {
		return err
	}
	t, err := tree.New([]tree.Entry{tree.FileEntry(setupLocal, 0o644, []byte(local))})
	if err != nil {
		return err
	}
	return sandbox.ImportTree(ctx, c.sb, source, t)
}

// setupRule is a module's rule. Configure puts a comment's sign in the place of the marker where it does not make the module.
var setupRule = regexp.MustCompile(`^@MODULE_\w+_TRUE@((\w+) [^@]+)$`)

// rulesFor gives the content of setupLocal by which modules are linked in.
func rulesFor(version, rules string, modules []string) (string, error) {
	found := map[string]string{}
	for line := range strings.Lines(rules) {
		line = strings.TrimSpace(line)
		if line == "*shared*" {
			// What follows tests how modules are loaded.
			break
		}
		if rule := setupRule.FindStringSubmatch(line); rule != nil {
			found[rule[2]] = rule[1]
		}
	}
	local := "*static*\n"
	for _, module := range slices.Sorted(slices.Values(modules)) {
		rule, ok := found[module]
		if !ok {
			return "", &NoRuleError{version: version, Module: module}
		}
		local += rule + "\n"
	}
	return local, nil
}

// NoRuleError says that a module cannot be linked into the interpreter.
type NoRuleError struct {
	version string
	// Module is its name, as the recipe has it.
	Module string
}

func (e *NoRuleError) Error() string {
	return "CPython " + e.version + " has no extension module " + e.Module + " that can be linked in"
}

// Kind says whose fault it is: the recipe names the module.
func (*NoRuleError) Kind() faults.Kind { return faults.Input }

// Hint says what to do.
func (*NoRuleError) Hint() string { return "remove it from python.builtin" }
