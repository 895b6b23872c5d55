//go:build !race

package survey

const raced = false
