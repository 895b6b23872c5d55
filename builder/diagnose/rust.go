package diagnose

// rustRules are the sentences of cargo, rustc, maturin and setuptools-rust.
var rustRules = []rule{
	one("Rust compiler", `can't find Rust compiler`, namedProgram("cargo")),
	one("rustc, the rust compiler is not installed", `rustc, the rust compiler is not installed`, namedProgram("cargo")),
	one("Rust package manager", `Cargo, the Rust package manager, is not installed`, namedProgram("cargo")),
	one("Do you have cargo in your PATH", `Do you have cargo in your PATH`, namedProgram("cargo")),
	one("rustc ", `requires rustc [\d.]+|rustc [\d.]+ (?:is not supported by|or newer)`, oldRust),
	one("does not match extension requirement", `Rust [\d.]+ does not match extension requirement`, oldRust),
	one("edition", "feature `edition\\d+` is required", oldRust),
	one("lock file version", `lock file version .?\d+.? (?:was found|requires)`, oldRust),
	one("maximum supported version", `Python interpreter version \(([\d.]+)\) is newer than PyO3's maximum supported version`, oldPyO3),
	one("no matching package", "no matching package (?:named )?[`']([\\w-]+)[`'] found", crate),
	one("failed to get `", "failed to get `([\\w-]+)` as a dependency", crate),
	one("failed to select a version for", "failed to select a version for (?:the requirement )?`([\\w-]+)", crate),
	one("unable to update registry", `(unable to update registry) `, crate),
	one("--offline was specified", `(attempting to make an HTTP request), but --offline was specified`, crate),
}

// oldRust says that the Rust compiler is too old.
func oldRust(s *scan, _ []string) finding {
	return finding{Cause: Cause{
		What:   "the Rust compiler is too old",
		Build:  s.of("x", "cargo"),
		Advice: "where that is in use already, take an older version of the distribution, or a base with a newer suite",
	}}
}

// oldPyO3 says that the sources do not know the interpreter's version yet.
func oldPyO3(_ *scan, m []string) finding {
	return finding{Cause: Cause{
		What:   "the PyO3 of the sources is too old for Python " + m[1],
		Advice: "take a newer version of the distribution, or an older Python; PYO3_USE_ABI3_FORWARD_COMPATIBILITY: 1 in env may do",
	}}
}

// crate says that cargo does not have a crate.
func crate(_ *scan, m []string) finding {
	c := Cause{What: "the crate " + m[1] + " is not in the lock"}
	if m[1] == "unable to update registry" || m[1] == "attempting to make an HTTP request" {
		c.What = "cargo wants crates that are not in the lock"
	}
	c.Advice = "cargo has the crates of the sdist's Cargo.lock alone: an sdist whose Cargo.lock does not fit its Cargo.toml cannot be built: take another version"
	return finding{Cause: c}
}
