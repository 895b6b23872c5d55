package cpython

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ampoule/faults"
)

// packages names the Debian package that a standard extension module is built with.
var packages = map[string]string{
	"_bz2":          "libbz2-dev",
	"_crypt":        "libcrypt-dev",
	"_ctypes":       "libffi-dev",
	"_curses":       "libncurses-dev",
	"_curses_panel": "libncurses-dev",
	"_dbm":          "libgdbm-compat-dev",
	"_gdbm":         "libgdbm-dev",
	"_hashlib":      "libssl-dev",
	"_lzma":         "liblzma-dev",
	"_sqlite3":      "libsqlite3-dev",
	"_ssl":          "libssl-dev",
	"_tkinter":      "tk-dev",
	"_uuid":         "uuid-dev",
	"_zstd":         "libzstd-dev",
	"nis":           "libnsl-dev and libtirpc-dev",
	"readline":      "libreadline-dev",
	"zlib":          "zlib1g-dev",
}

// missingModules says that standard extension modules were not built: states maps each to
// what became of it.
func missingModules(states map[string]string) error {
	var b strings.Builder
	names := slices.Sorted(maps.Keys(states))
	for _, name := range names {
		fmt.Fprintf(&b, "\n    %s (%s)", name, states[name])
		if pkg, ok := packages[name]; ok {
			fmt.Fprintf(&b, ", which needs the Debian package %s", pkg)
		}
	}
	hint := "add the packages to toolchain.packages, or say that the modules may be missing: python.optional: [" + strings.Join(names, ", ") + "]"
	return faults.New(faults.Build, hint, "standard extension modules were not built:%s", &b)
}

// CheckModules returns an error if a module that this version has
// was not built and is not optional. A module that a configure flag disabled, or
// that this platform does not have, is not missing.
func (i *Interpreter) CheckModules(optional []string) error {
	missing := map[string]string{}
	for name, state := range i.Modules {
		if (state == "missing" || strings.HasPrefix(state, "broken: ")) && !slices.Contains(optional, name) {
			missing[name] = state
		}
	}
	if len(missing) > 0 {
		return missingModules(missing)
	}
	return nil
}
