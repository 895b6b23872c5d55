//go:build !unix

package workspace

// openFlags have nothing here: what is read is compared with what was read before.
const openFlags = 0
