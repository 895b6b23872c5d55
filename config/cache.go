package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"ampoule/address"
)

// checkCache refuses what is neither a repository nor a key, and what depends on the working
// directory. Whether the caches and the files can be had shows when they are used.
func (r *reading) checkCache() error {
	set := r.parsed.Cache
	var faults []error
	refuse := func(key string, at int, msg, help string) {
		where := []string{"cache", key}
		if at >= 0 {
			where = append(where, index(at))
		}
		faults = append(faults, &Error{Where: r.where(where...), Msg: "cache." + key + ": " + msg, Help: help})
	}
	for i, ref := range set.Use {
		if host, name, ok := strings.Cut(ref, "/"); !ok || name == "" || !IsRegistry(host) {
			refuse("use", i, fmt.Sprintf("%q is no repository in a registry", address.One(ref)), "write HOST[:PORT]/NAME")
		}
	}
	if set.Key != "" && !filepath.IsAbs(set.Key) {
		// What stands there may be the key itself: it is not shown.
		refuse("key", -1, "it is no absolute path", "name the absolute path of the file with the private key")
	}
	for i, key := range set.Trusted {
		if !isKey(key) {
			refuse("trusted", i, fmt.Sprintf("%q is no public key", firstLine(key)), "name the absolute path of a PEM file with the public key, or write the PEM itself")
		}
	}
	for i, key := range set.Retired {
		if !isKey(key) && !isKeyID(key) {
			refuse("retired", i, fmt.Sprintf("%q is no public key", firstLine(key)), "name the absolute path of a PEM file with the public key, write the PEM itself, or sha256: and 64 hexadecimal digits")
		}
	}
	return errors.Join(faults...)
}

// pemBegin begins a text that is PEM.
const pemBegin = "-----BEGIN PUBLIC KEY-----"

// isKey reports whether a text is PEM, or an absolute path.
func isKey(text string) bool {
	return filepath.IsAbs(text) || strings.HasPrefix(strings.TrimSpace(text), pemBegin)
}

// isKeyID reports whether a text names a key by its hash.
func isKeyID(text string) bool {
	digits, ok := strings.CutPrefix(text, "sha256:")
	raw, err := hex.DecodeString(digits)
	return ok && err == nil && len(raw) == 32 && digits == strings.ToLower(digits)
}

// firstLine is what is shown of a text: of PEM, what it is.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
