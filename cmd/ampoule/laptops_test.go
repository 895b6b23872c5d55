//go:build !race

package main

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// People have laptops: the program, and all that it takes, has no fault of types where it is compiled for macOS
// or Windows (docs/decisions/0115-laptops.md). `make cross` compiles it, which takes ten times as long. Nothing
// here depends on the processor: for macOS one is enough.
func TestLaptops(t *testing.T) {
	t.Parallel()
	for _, platform := range []string{"darwin/arm64", "windows/amd64"} {
		t.Run(platform, func(t *testing.T) {
			system, processor, _ := strings.Cut(platform, "/")
			loaded, err := packages.Load(&packages.Config{
				Context: t.Context(),
				Mode:    packages.LoadAllSyntax,
				Env:     append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+processor),
			}, "ampoule/cmd/ampoule")
			if err != nil {
				t.Fatal(err)
			}
			seen := 0
			packages.Visit(loaded, nil, func(p *packages.Package) {
				seen++
				for _, fault := range p.Errors {
					t.Errorf("%s: %v", p.PkgPath, fault)
				}
			})
			if seen < 100 {
				t.Errorf("%d packages were looked at", seen)
			}
		})
	}
}
