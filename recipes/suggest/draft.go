package suggest

import (
	"fmt"
	"strings"

	"ampoule/recipes"
	"ampoule/recipes/profiles"
	"ampoule/recipes/project"
)

// draft is what the recipe will say.
type draft struct {
	name, version string
	known         bool
	// except are the lines of files that want another Python.
	except       []string
	suite        string
	requirements string
	// toolchain are Debian packages that everything is compiled with, and libraries those
	// that are perhaps loaded while the program runs.
	toolchain []string
	libraries []project.Installed
	// app are the recipe's lines for the project's own code, and loaded those for libraries,
	// which stand under runtime.
	app, loaded []string
	// groups are the lines of dependency groups, one each.
	groups []string
	// until is the last day of adopted wheels; empty where none are.
	until string
	left  []Left
}

// text writes the recipe.
func (r draft) text() []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# What is built, and where it must run. docs/recipe.md explains every key.")
	line("apiVersion: ampoule/v1")
	line("name: %s", recipes.Scalar(r.name))
	line("python:")
	if r.known {
		line("  version: %s", r.version)
	} else {
		line("  # This Ampoule does not know the release: write the one that you run, and the")
		line("  # sha256 of its source archive.")
		line("  version: %s", r.version)
		line("  # sha256: 0000000000000000000000000000000000000000000000000000000000000000")
	}
	for _, text := range r.except {
		line("%s", text)
	}
	r.configure(line)
	line("  # Standard modules that may be missing: the default toolchain has no Tk.")
	line("  optional: [_tkinter]")
	line("# Everything is compiled on this base.")
	line("base: {debian: %s}", r.suite)
	if len(r.toolchain) > 0 {
		line("# Packages that every wheel is compiled with. Under packages.NAME.build, only NAME is.")
		line("toolchain: {packages: [%s]}", strings.Join(r.toolchain, ", "))
	}
	if r.requirements != "" {
		line("%s", r.requirements)
	}
	for _, text := range r.app {
		line("%s", text)
	}
	if len(r.groups) > 0 {
		line("# What lies over the artifact for its tests, and changes nothing of it:")
		line("# `ampoule build --group NAME`, `ampoule run --group NAME REF`.")
		line("dependency-groups:")
	}
	for _, text := range r.groups {
		line("  %s", text)
	}
	line("# Debian packages that one wheel needs to compile:")
	line("# packages:")
	line("#   psycopg2: {build: [libpq-dev]}")
	if r.until != "" {
		line("# Published wheels are taken, and pass the gate. `ampoule plan` lists what is left to")
		line("# build each from source; narrow the pattern as it gets less.")
		line("binary:")
		line("  accept: [{match: [\"*\"], why: adopted, until: %s}]", r.until)
	}
	line("runtime:")
	line("  # The image that the artifact stands on. A plain machine is a target too:")
	line("  # vm: {glibc: \"2.36\", cpu: x86-64-v2}")
	line("  container: {base: {debian: %s}}", r.suite)
	for _, text := range r.loaded {
		line("  %s", text)
	}
	line("# What must work in each target before anything is published:")
	line("# test:")
	line("#   imports: [flask]")
	line("#   commands: [[flask, --version]]")
	if len(r.left) > 0 {
		line("")
		line("# Not taken over. Remove a line when it is done.")
		for _, l := range r.left {
			line("# - %s", l)
		}
	}
	return []byte(b.String())
}

// configure writes the flags of the interpreter: of the fastest one, where a training profile for it ships.
func (r draft) configure(line func(format string, args ...any)) {
	profile, ships := profiles.For(profiles.Build{Version: r.version, Suite: r.suite, Mode: recipes.Static})
	if !ships {
		line("  # CPython's own configure flags. With [--enable-optimizations, --with-lto] it runs")
		line("  # faster; then \"ampoule pgo-profile --write\" makes what it is optimised by.")
		line("  configure: []")
		return
	}
	line("  # CPython's own configure flags, and what it is optimised by: this profile ships with")
	line("  # Ampoule. Without both, CPython compiles faster and runs slower.")
	line("  configure: [%s]", strings.Join(profiles.Configure, ", "))
	line("  profile: %s", profile)
}

// takes reports whether a recipe may have some lines.
func takes(lines draft) bool {
	lines.name, lines.version, lines.known, lines.suite = "app", "3.13.5", true, "bookworm"
	_, err := recipes.ParseRecipe("ampoule.yaml", lines.text())
	return err == nil
}
