package recipes

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{
		"web": true, "web.api": true, "team/web": true, "org/team/web.api": true, "blobs": true,
		"Team/web": false, "team//web": false, "/web": false, "team/": false, "../web": false, "team/../web": false, "team/.web": false,
		"registry.example/web": false, "localhost/web": false, "team/blobs": false, "blobs/web": false, "team/index.json": false, "team--web": false,
		strings.Repeat("a/", 50) + "a": false,
	} {
		_, err := ParseRecipe("a.yaml", []byte(strings.Replace(goodRecipe, "name: web", "name: "+name, 1)))
		if (err == nil) != good {
			t.Errorf("name %q: %v", name, err)
		}
	}
	_, err := ParseRecipe("a.yaml", []byte(strings.Replace(goodRecipe, "name: web", "name: registry.example/web", 1)))
	if faults, ok := err.(Faults); !ok || !strings.Contains(faults.Hint(), "--registry") { //nolint:errorlint // the faults themselves are returned
		t.Errorf("the hint of a host: %v", err)
	}
	if got := NameInFile("org/team/web"); got != "org--team--web" {
		t.Errorf("in a file's name it is %q", got)
	}
}
