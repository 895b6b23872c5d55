package diagnose

// mesonRules are the sentences of Meson.
var mesonRules = []rule{
	tooOld("Invalid version", `Dependency (?:lookup for )?"?([\w.+-]+)"? .*Invalid version, need '[^']*' \['([^\]]*)'\] found '([^']*)'`),
	one(`ependency "`, `ERROR: .*[Dd]ependency "([\w.+-]+)"[^"]* not found`, pkgConfig),
	one("Dependency lookup for ", `ERROR: Dependency lookup for ([\w.+-]+) .*failed`, pkgConfig),
	one("library '", `ERROR: .*library '([\w.+-]+)' not found`, library),
	one("header '", `ERROR: .*header '([^']+)' not found`, header),
	one("rogram", `ERROR: Program(?:\(s\))? ?\[?'([^'\s]+)[^']*'.* not found`, wantedProgram),
	one("Unknown compiler(s)", `Unknown compiler\(s\): \[+'([^']+)'`, wantedProgram),
	one("Meson version is", `Meson version is \S+ but project requires ([<>=!~., \d]+\d)`, func(_ *scan, m []string) finding {
		return finding{Cause: Cause{What: "Meson is not " + m[1], Requires: []string{"meson" + withoutSpace(m[1])}}}
	}),
	// Meson goes on without these.
	optional(one("found: NO", `^(?:Run-time|Build-time) dependency ([\w.+-]+) found: NO`, pkgConfig)),
	optional(one("found: NO", `^Library ([\w.+-]+) found: NO`, library)),
	optional(one("found: NO", `^Program ([\w.+-]+) found: NO`, wantedProgram)),
	optional(one("kg-config", `(?:Found pkg-config: NO|[Pp]kg-config (?:binary )?for machine .*not found|Did not find pkg-config)`, namedProgram("pkg-config"))),
}
