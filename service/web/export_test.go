package web

import "testing"

// What tests look at by itself.
var (
	CleanLine  = cleanLine
	LooksWrong = looksWrong
)

// Routes gives the scope of each route.
func Routes(t testing.TB, c Config) map[string]Scope {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]Scope{}
	for _, r := range p.routes() {
		all[r.pattern] = r.scope
	}
	return all
}
