package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"ampoule/store"
)

// format is the version of the form of entries.
const format = 1

// maxStatement bounds a statement, in bytes. Values say where content is; they are not content.
const maxStatement = 20 << 20

// statement is what an entry says of itself, and what is signed.
type statement struct {
	Format int    `json:"format"`
	Kind   string `json:"kind"`
	Key    string `json:"key"`
	// Created is when it was signed, in UTC.
	Created time.Time `json:"created"`
	// Signer is the [ID] of the key that has signed it.
	Signer string `json:"signer"`
	// Value is the record's.
	Value json.RawMessage `json:"value"`
	// Content is all that the value names.
	Content []content `json:"content,omitempty"`
}

// content is one content of the store.
type content struct {
	SHA256 string `json:"sha256"`
	// Size is in bytes.
	Size int64 `json:"size"`
}

// Tag is the tag of the entry of a kind and a key. A kind is a word of lower-case letters,
// digits and "-"; a key is any text.
func Tag(kind, key string) string {
	sum := sha256.Sum256([]byte(key))
	return kind + "-" + hex.EncodeToString(sum[:])
}

// parseStatement reads a statement strictly.
func parseStatement(text []byte) (statement, error) {
	var s statement
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return statement{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return statement{}, errors.New("more follows it")
	}
	if s.Format != format {
		return statement{}, fmt.Errorf("its format is %d, not %d", s.Format, format)
	}
	return s, nil
}

// check refuses a statement that is another entry's, or beyond bounds.
func (s statement) check(kind, key string) error {
	if s.Kind != kind || s.Key != key {
		return refused("is that of another key: %s %s", s.Kind, s.Key)
	}
	if len(s.Content) > maxContents {
		return refused("has %d contents, which are more than %d", len(s.Content), maxContents)
	}
	for _, c := range s.Content {
		if err := store.CheckSum(c.SHA256); err != nil || c.Size < 0 || c.Size > maxContent {
			return refused("names content %q of %d bytes", c.SHA256, c.Size)
		}
	}
	if s.size() > maxContent {
		return refused("has %d bytes of content, which are more than %d", s.size(), int64(maxContent))
	}
	return nil
}

// sums are the sha256 of all content.
func (s statement) sums() []string {
	var sums []string
	for _, c := range s.Content {
		sums = append(sums, c.SHA256)
	}
	return sums
}

// size is that of all content, in bytes.
func (s statement) size() int64 {
	var size int64
	for _, c := range s.Content {
		size += c.Size
	}
	return size
}
