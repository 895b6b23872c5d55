//go:build race

package survey

// The race detector keeps several words for each word of memory.
const raced = true
