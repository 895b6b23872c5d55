package cpython

import (
	"path"

	"ampoule/builder/fetch"
	"ampoule/recipes"
)

// Item says where the downloader finds the source of a locked CPython.
func Item(p recipes.LockedPython) fetch.Item {
	return fetch.Item{Source: fetch.CPython, Name: "cpython", Version: p.Version, File: p.File, SHA256: p.SHA256}
}

// Flags returns the configure flags that a locked CPython knows.
func Flags(p recipes.LockedPython) []string {
	if release, ok := recipes.KnownPython(p.Version); ok {
		return release.Flags
	}
	return p.Flags
}

// Path returns the path of an interpreter below a prefix: /opt/ampoule/bin/python3.13.
func Path(prefix, version string) string {
	return path.Join("/", prefix, "bin", "python"+MinorVersion(version))
}
