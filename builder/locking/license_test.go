package locking

import (
	"slices"
	"testing"
)

// An sdist that has its license as PEP 639 spells it needs a setuptools that reads that, whatever it
// names.
func TestLicenseExpression(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"[build-system]\nrequires = ['setuptools >= 66.1']\nbuild-backend = 'setuptools.build_meta'\n[project]\nlicense = 'MIT'\n":  {"setuptools >= 66.1", licensesSince},
		"[build-system]\nrequires = ['setuptools>=77']\nbuild-backend = 'setuptools.build_meta'\n[project]\nlicense = 'MIT'\n":      {licensesSince},
		"[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n[project]\nlicense = {text = 'MIT'}\n": {"setuptools"},
		"[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n":                                      {"setuptools"},
		"[build-system]\nrequires = ['hatchling']\nbuild-backend = 'hatchling.build'\n[project]\nlicense = 'MIT'\n":                 {"hatchling"},
		"[build-system]\nrequires = ['x']\nbuild-backend = 'setuptools.x'\nbackend-path = ['.']\n[project]\nlicense = 'MIT'\n":      {"x"},
	} {
		got, err := readBuildSystem([]byte(text), "a-1.tar.gz")
		if err != nil || !slices.Equal(got.requires, want) {
			t.Errorf("%s\nrequires %q, %v, want %q", text, got.requires, err, want)
		}
	}
}
