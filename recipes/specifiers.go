package recipes

import "ampoule/packaging"

// areSpecifiers reports whether a foreign text is version specifiers (PEP 440), at least one.
func areSpecifiers(text string) bool {
	s, err := packaging.ParseSpecifiers(text)
	return err == nil && len(s) > 0
}

// meets reports whether a version is within specifiers that passed [areSpecifiers]; no
// specifiers hold all. Pre-releases are versions like any other, because a lock has
// them only where somebody asked for them.
func meets(version, specifiers string) bool {
	v, err := packaging.ParseVersion(version)
	if err != nil {
		return specifiers == ""
	}
	s, err := packaging.ParseSpecifiers(specifiers)
	return err == nil && s.Contains(v)
}
