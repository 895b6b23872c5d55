package explain

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"ampoule/audit"
)

var update = flag.Bool("update", false, "write the kinds and first commands of testdata/messages.txt anew")

const messagesFile = "testdata/messages.txt"

// row is a true message, and what is to be said of it.
type row struct {
	kind, source string
	// first is the first command; says are words of the explanation, or empty.
	first, says string
	message     string
}

// String is the row as the file has it.
func (r row) String() string {
	says := ""
	if r.says != "" {
		says = "~ " + r.says + "\n"
	}
	return fmt.Sprintf("=== %s | %s\n$ %s\n%s%s\n", r.kind, r.source, r.first, says, r.message)
}

// readRows reads the file of messages: what stands before the first row, and the rows.
func readRows(t testing.TB) (head string, rows []row) {
	t.Helper()
	data, err := os.ReadFile(messagesFile)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(data), "\n=== ")
	for i, text := range strings.Split(rest, "\n=== ") {
		var r row
		title, text, _ := strings.Cut(text, "\n")
		var ok bool
		if r.kind, r.source, ok = strings.Cut(title, " | "); !ok || r.source == "" {
			t.Fatalf("row %d (%s) has no source", i+1, title)
		}
		if r.first, text, ok = strings.Cut(text, "\n"); !ok || !strings.HasPrefix(r.first, "$") {
			t.Fatalf("row %d (%s) has no first command", i+1, title)
		}
		r.first = strings.TrimPrefix(strings.TrimPrefix(r.first, "$"), " ")
		if says, below, ok := strings.Cut(text, "\n"); ok && strings.HasPrefix(says, "~ ") {
			r.says, text = strings.TrimPrefix(says, "~ "), below
		}
		r.message = strings.TrimRight(text, "\n")
		rows = append(rows, r)
	}
	return head, rows
}

// first is the first thing that an explanation says to do: a command, or what to look at.
func first(e Explanation) string {
	if e.Find[0].Run == "" {
		return "# " + e.Find[0].Says
	}
	return e.Find[0].Run
}

// Each message of the file is of the kind that the file says, and its first command is the one
// that the file says.
func TestMessages(t *testing.T) {
	t.Parallel()
	head, rows := readRows(t)
	if len(rows) < 220 {
		t.Errorf("%s has %d messages", messagesFile, len(rows))
	}
	seen := map[string]bool{}
	for i := range rows {
		r := &rows[i]
		if seen[r.message] {
			t.Errorf("%s stands there twice", r.message)
		}
		seen[r.message] = true
		e, ok := Text(r.message)
		if !ok {
			t.Errorf("nothing is known of: %s", r.message)
			continue
		}
		if *update {
			r.kind, r.first = e.Kind, first(e)
		}
		if e.Kind != r.kind || first(e) != r.first || !strings.Contains(e.Means, r.says) {
			t.Errorf("%s\nis %s, and not %s\nfirst command: %s\nand not:       %s\n%s\nis to say %q", r.message, e.Kind, r.kind, first(e), r.first, e.Means, r.says)
		}
	}
	if *update {
		var b strings.Builder
		b.WriteString(head + "\n")
		for _, r := range rows {
			b.WriteString(r.String() + "\n")
		}
		if err := os.WriteFile(messagesFile, []byte(strings.TrimRight(b.String(), "\n")+"\n"), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// Every kind has a message in the file, is sound, and names checks that there are.
func TestKinds(t *testing.T) {
	t.Parallel()
	checks := map[string]bool{}
	for _, c := range audit.Checks() {
		checks[c.Name] = true
	}
	told := map[*matcher]bool{}
	_, rows := readRows(t)
	for _, r := range rows {
		text := plain(r.message)
		for _, k := range compiled() {
			at := k.find(newSource(text))
			if at == nil {
				continue
			}
			told[k] = told[k] || k.id == r.kind
			e := k.tell(text, at)
			if e.Means == "" || e.Prevents == "" || len(e.Find) == 0 || e.Message == "" || strings.Contains(e.Means+e.Prevents+fmt.Sprint(e.Find), "{") && hole.MatchString(e.Means+e.Prevents+fmt.Sprint(e.Find)) {
				t.Errorf("%s says of %q:\n%+v", k.id, r.message, e)
			}
			for _, name := range e.Checks {
				if !checks[name] {
					t.Errorf("%s: there is no check %s", k.id, name)
				}
			}
		}
	}
	for _, k := range compiled() {
		if k.literals.shortest() < 4 {
			t.Errorf("%s: its pattern has no words by which it could be found: %q", k.id, k.literals)
		}
		if !told[k] {
			t.Errorf("no message is of the kind %s: %s", k.id, k.pattern)
		}
	}
}
