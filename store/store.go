// Package store keeps content by its sha256 on disk, and small records of which
// content answers which key.
package store
