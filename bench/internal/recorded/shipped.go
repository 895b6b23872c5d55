package recorded

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"

	"ampoule/recipes/catalogue"
)

// RecipeHash is the SHA-256 hash of a recipe of the catalogue as it ships now.
func RecipeHash(name string) (string, error) {
	dir, err := catalogue.Open(name)
	if err != nil {
		return "", err
	}
	text, err := fs.ReadFile(dir, "ampoule.yaml")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}
