package table

import (
	"fmt"
	"path/filepath"
	"strings"

	"ampoule/bench/internal/recorded"
)

// writeRegistry tells how fast a served registry takes pushes, and what the conformance program
// says of it.
func writeRegistry(b *strings.Builder, results string) error {
	pushes, err := recorded.Open[recorded.Pushes](filepath.Join(results, recorded.RegistryFile))
	if err != nil {
		return err
	}
	conformance, err := recorded.Open[recorded.Conformance](filepath.Join(results, recorded.ConformanceFile))
	if err != nil {
		return err
	}
	if all := pushes.All(); len(all) > 0 {
		b.WriteString(`
## Pushes into one repository

` + "`make pushes`" + ` fills a repository of the store's registry with tagged manifests, serves it with tokens, and pushes further ones for 20
seconds. All are on disk when they are answered. The repository's list is written for each.

| manifests | writers | pushes per second | list | cores | day |
|--:|--:|--:|--:|--:|---|
`)
		for _, p := range all {
			rate := fmt.Sprint(p.PerSecond)
			if p.Shared {
				rate = "≥ " + rate
			}
			row(b, fmt.Sprint(p.Manifests), fmt.Sprint(p.Writers), rate, fmt.Sprintf("%.1f MiB", float64(p.ListBytes)/(1<<20)), fmt.Sprint(p.Cores), p.When)
		}
	}
	if all := conformance.All(); len(all) > 0 {
		b.WriteString(`
## The OCI conformance program

` + "`make conformance`" + ` runs it against ` + "`ampoule registry serve`" + ` with a token: pull, push, deletion, tags and referrers are on, and what
the protocol's next version has. Content under sha512 and manifests without their content are switched off.

| program | passed | failed | skipped | left out | day |
|---|--:|--:|--:|---|---|
`)
		for _, c := range all {
			left := strings.Join(c.Left, ", ")
			if left == "" {
				left = none
			}
			row(b, c.Name, fmt.Sprint(c.Passed), fmt.Sprint(c.Failed), fmt.Sprint(c.Skipped), left, c.When)
		}
	}
	return nil
}
