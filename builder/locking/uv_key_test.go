package locking

import (
	"testing"

	"ampoule/builder/sandbox"
)

// What the resolver is told, and the resolver itself, are remembered under all that decides
// them: each row changes one thing.
func TestResolverKeys(t *testing.T) {
	t.Parallel()
	image := sandbox.Image{Layers: []sandbox.Layer{{DiffID: "sha256:1"}, {DiffID: "sha256:2"}}}
	plain := resolverKey(image, "/bin/python3.13", "aa", "#!/bin/sh")
	if again := resolverKey(image, "/bin/python3.13", "aa", "#!/bin/sh"); again != plain {
		t.Error("the same gives another key")
	}
	for name, key := range map[string]string{
		"another layer":      resolverKey(image.With(sandbox.Layer{DiffID: "sha256:3"}), "/bin/python3.13", "aa", "#!/bin/sh"),
		"another order":      resolverKey(sandbox.Image{Layers: []sandbox.Layer{{DiffID: "sha256:2"}, {DiffID: "sha256:1"}}}, "/bin/python3.13", "aa", "#!/bin/sh"),
		"another path":       resolverKey(image, "/bin/python3.12", "aa", "#!/bin/sh"),
		"another resolver":   resolverKey(image, "/bin/python3.13", "bb", "#!/bin/sh"),
		"another script":     resolverKey(image, "/bin/python3.13", "aa", "#!/bin/bash"),
		"the program itself": programKey("aa"),
		"another program":    programKey("bb"),
	} {
		if key == plain {
			t.Errorf("%s gives the same key", name)
		}
	}
	if programKey("aa") == programKey("bb") {
		t.Error("another program gives the same key")
	}
}
