package lint

import (
	"slices"

	"ampoule/packaging"
)

// claim is a platform tag taken apart.
type claim struct {
	tag string
	packaging.Platform
}

// claims are the platform tags of a name that policies are about.
func (x *exam) claims() []claim {
	var claims []claim
	for _, t := range x.tags {
		c, ok := parseClaim(t.Platform)
		if ok && !slices.Contains(claims, c) {
			claims = append(claims, c)
		}
	}
	return claims
}

func parseClaim(tag string) (claim, bool) {
	p, ok := packaging.ParsePlatform(tag)
	return claim{tag, p}, ok && p.Libc != ""
}
