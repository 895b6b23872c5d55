package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocs holds the table in docs/audit.md to the rules.
func TestDocs(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "audit.md"))
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	for _, r := range Rules() {
		table.WriteString(strings.TrimSuffix(fmt.Sprintf("| `%s` | %s | %s | %s |", r.Name, r.Reason, r.Level, r.Peer), "|"))
		table.WriteString("|\n")
	}
	if want := strings.ReplaceAll(table.String(), "|  |", "| |"); !strings.Contains(string(data), want) {
		t.Errorf("docs/audit.md does not have the table of rules:\n%s", want)
	}
}
