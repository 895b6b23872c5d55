package edit_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/recipes"
	"ampoule/recipes/edit"
)

func want(t *testing.T, text string) edit.Wanted {
	t.Helper()
	w, err := edit.Want(text)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestAddLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, add, after string }{
		"the last":         {"# web\nflask>=2  # the app\n\nidna\n", "six", "# web\nflask>=2  # the app\n\nidna\nsix\n"},
		"no line end":      {"idna", "six", "idna\nsix\n"},
		"an empty file":    {"", "six", "six\n"},
		"before blanks":    {"idna\n\n\n", "six", "idna\nsix\n\n\n"},
		"in its place":     {"# web\nFlask >= 2  # the app\nidna\n", "flask>=3", "# web\nflask>=3  # the app\nidna\n"},
		"continued":        {"flask \\\n  >=2 # app\nidna\n", "flask>=3", "flask>=3 # app\nidna\n"},
		"indented":         {"  flask\nidna\n", "flask>=3", "  flask>=3\nidna\n"},
		"another marker":   {"six; sys_platform == 'win32'\n", "six>=1", "six; sys_platform == 'win32'\nsix>=1\n"},
		"the same marker":  {"six; python_version<'4'\n", `six>=1; python_version < "4"`, "six>=1; python_version < \"4\"\n"},
		"already there":    {"Flask >= 3 # app\n", "flask>=3", "Flask >= 3 # app\n"},
		"lines of Windows": {"flask\r\nidna\r\n", "six", "flask\r\nidna\r\nsix\r\n"},
		"a mark":           {"\ufeffflask\n", "flask>=3", "\ufeffflask>=3\n"},
		"behind a backslash": {
			"flask\\", "six", "flask\\\n\nsix\n",
		},
		"options stay": {"-c limits.txt\nidna\n", "six", "-c limits.txt\nidna\nsix\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, change, err := edit.AddLine("requirements.txt", []byte(c.before), want(t, c.add))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.after, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if line := strings.Split(string(got), "\n")[change.Line-1]; !strings.Contains(strings.ToLower(line), want(t, c.add).Name) {
				t.Errorf("line %d is %q", change.Line, line)
			}
		})
	}
}

func TestRemoveLines(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after string
		changes       []edit.Change
	}{
		"one":        {"# web\nFlask>=2  # the app\nidna\n", "# web\nidna\n", []edit.Change{{Line: 2, Before: "Flask>=2"}}},
		"none":       {"idna\n# flask\n", "idna\n# flask\n", nil},
		"the only":   {"flask", "", []edit.Change{{Line: 1, Before: "flask"}}},
		"all of it":  {"flask>=2\nidna\nflask; os_name=='nt'\n", "idna\n", []edit.Change{{Line: 1, Before: "flask>=2"}, {Line: 3, Before: "flask; os_name=='nt'"}}},
		"its hashes": {"flask==3 \\\n  --hash=sha256:" + strings.Repeat("a", 64) + "\nidna\n", "idna\n", []edit.Change{{Line: 1, Before: "flask==3   --hash=sha256:" + strings.Repeat("a", 64)}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, changes, err := edit.RemoveLines("requirements.txt", []byte(c.before), "flask")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.after, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.changes, changes); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}

const head = "apiVersion: ampoule/v1\nname: web\npython: {version: 3.13.5}\nbase: {debian: bookworm} # ü\n"

const tail = "runtime: {container: {base: {debian: bookworm}}} # the end\n"

func TestAddItem(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, add, after string }{
		"block":            {"requirements:\n  # web\n  - flask>=2 # app\n  - idna\n", "six", "requirements:\n  # web\n  - flask>=2 # app\n  - idna\n  - six\n"},
		"not indented":     {"requirements:\n-   flask # ü\n", "six", "requirements:\n-   flask # ü\n-   six\n"},
		"in its place":     {"requirements:\n  - 'Flask >= 2' # app\n  - idna\n", "flask>=3", "requirements:\n  - flask>=3 # app\n  - idna\n"},
		"flow":             {"requirements: [flask, idna] # web\n", "six", "requirements: [flask, idna, six] # web\n"},
		"flow in place":    {"requirements: [\"flask\", idna]\n", "flask[async]>=3,<4", "requirements: ['flask[async]>=3,<4', idna]\n"},
		"flow, a comma":    {"requirements: [flask, ]\n", "six", "requirements: [flask, six, ]\n"},
		"an empty flow":    {"requirements: []\n", "six", "requirements: [six]\n"},
		"flow of lines":    {"requirements: [\n  flask, # app\n  idna # names\n]\n", "six", "requirements: [\n  flask, # app\n  idna, # names\n  six\n]\n"},
		"lines, a comma":   {"requirements: [\n  flask, # app\n]\n", "six", "requirements: [\n  flask, # app\n  six,\n]\n"},
		"no list":          {"", "six", ""},
		"a marker":         {"requirements: [flask]\n", `six; python_version<"4"`, "requirements: [flask, six; python_version<\"4\"]\n"},
		"already there":    {"requirements: [ 'Flask >= 3' ]\n", "flask>=3", "requirements: [ 'Flask >= 3' ]\n"},
		"a word of YAML":   {"requirements: [flask]\n", "on", "requirements: [flask, 'on']\n"},
		"other characters": {"requirements: ['ünknown; # '' \n", "six", "refused"},
		"several lines":    {"requirements:\n  - >-\n    flask\n", "six", "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, after := head+c.before+tail, head+c.after+tail
			if name == "no list" {
				after = before + "requirements:\n  - six\n"
			}
			for _, newline := range []string{"\n", "\r\n"} {
				before, after := strings.ReplaceAll(before, "\n", newline), strings.ReplaceAll(after, "\n", newline)
				got, change, err := edit.AddItem("ampoule.yaml", []byte(before), want(t, c.add), "requirements")
				if c.after == "refused" {
					if _, isFaults := errors.AsType[recipes.Faults](err); !isFaults {
						t.Errorf("error %v, text %s", err, got)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(after, string(got)); diff != "" {
					t.Errorf("%q (-want +got):\n%s", newline, diff)
				}
				if line := strings.Split(string(got), "\n")[change.Line-1]; name != "already there" && !strings.Contains(line, c.add) {
					t.Errorf("line %d is %q", change.Line, line)
				}
			}
		})
	}
}

// TestAddItemExtends: what a recipe extends is read by nobody here, and may have all other keys.
func TestAddItemExtends(t *testing.T) {
	t.Parallel()
	const before = "apiVersion: ampoule/v1\nextends: ../python.yaml\nname: team/web\nrequirements: [flask] # web\n"
	after := strings.Replace(before, "[flask]", "[flask, six]", 1)
	got, _, err := edit.AddItem("ampoule.yaml", []byte(before), want(t, "six"), "requirements")
	if err != nil || string(got) != after {
		t.Errorf("%q, %v", got, err)
	}
	if got, _, err = edit.RemoveItems("ampoule.yaml", []byte(after), "six", "requirements"); err != nil || string(got) != before {
		t.Errorf("%q, %v", got, err)
	}
	if got, _, err := edit.AddItem("ampoule.yaml", []byte(before+"nme: x\n"), want(t, "six"), "requirements"); err == nil {
		t.Errorf("an unknown key: %q", got)
	}
}

func TestAddItemOfGroup(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, after string }{
		"a list":     {"dependency-groups:\n  test: [pytest]\n  lint: [ruff]\n", "dependency-groups:\n  test: [pytest, six]\n  lint: [ruff]\n"},
		"in a flow":  {"dependency-groups: {test: [pytest], lint: [ruff]}\n", "dependency-groups: {test: [pytest, six], lint: [ruff]}\n"},
		"no group":   {"dependency-groups:\n    # clean\n    lint: [ruff]\n", "dependency-groups:\n    # clean\n    test:\n      - six\n    lint: [ruff]\n"},
		"no groups":  {"", ""},
		"not so":     {"dependency-groups: {lint: [ruff]}\n", "refused"},
		"of a block": {"dependency-groups:\n  test:\n    - pytest\n", "dependency-groups:\n  test:\n    - pytest\n    - six\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			after := head + c.after + tail
			if name == "no groups" {
				after = head + tail + "dependency-groups:\n  test:\n    - six\n"
			}
			got, _, err := edit.AddItem("ampoule.yaml", []byte(head+c.before+tail), want(t, "six"), "dependency-groups", "test")
			if c.after == "refused" {
				if _, isFaults := errors.AsType[recipes.Faults](err); !isFaults {
					t.Errorf("error %v, text %s", err, got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(after, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRemoveItems(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, after string }{
		"block":         {"requirements:\n  # web\n  - flask>=2 # app\n  - idna\n", "requirements:\n  # web\n  - idna\n"},
		"the only one":  {"requirements: # all\n  # web\n  - flask>=2 # app\n", "requirements: [] # all\n  # web\n"},
		"first in flow": {"requirements: [ flask, idna ]\n", "requirements: [ idna ]\n"},
		"last in flow":  {"requirements: [idna, flask]\n", "requirements: [idna]\n"},
		"all of flow":   {"requirements: [ 'flask' ]\n", "requirements: []\n"},
		"twice":         {"requirements: [flask>=2, idna, 'flask<4']\n", "requirements: [idna]\n"},
		"flow of lines": {"requirements: [\n  flask, # app\n  idna # names\n]\n", "requirements: [\n  idna # names\n]\n"},
		"last of lines": {"requirements: [\n  idna, # names\n  flask\n]\n", "requirements: [\n  idna, # names\n]\n"},
		"none":          {"requirements: [idna]\n", "requirements: [idna]\n"},
		"no list":       {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, changes, err := edit.RemoveItems("ampoule.yaml", []byte(head+c.before+tail), "flask", "requirements")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(head+c.after+tail, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, change := range changes {
				if line := strings.Split(head+c.before, "\n")[change.Line-1]; name != "twice" && !strings.Contains(line, change.Before) {
					t.Errorf("line %d is %q", change.Line, line)
				}
			}
		})
	}
}

func TestIncluded(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{
		"all.txt": []byte("-r sub/base.txt\n-c limits.txt\n-r all.txt\n"), "sub/base.txt": []byte("--requirement more.txt\n"),
		"sub/more.txt": nil, "limits.txt": nil,
	}
	if diff := cmp.Diff([]string{"all.txt", "sub/base.txt", "sub/more.txt"}, edit.Included(files, "all.txt")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGeneratedBy(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"# This file was autogenerated by uv via the following command:\n#    uv pip compile requirements.in -o requirements.txt\nsix==1\n":              "uv pip compile requirements.in -o requirements.txt",
		"#\n# This file is autogenerated by pip-compile with Python 3.11\n# by the following command:\n#\n#    pip-compile requirements.in\n#\nsix==1\n": "pip-compile requirements.in",
		"# written by hand\nsix==1\n# autogenerated by uv\n": "-",
	} {
		by, ok := edit.GeneratedBy([]byte(text))
		if !ok {
			by = "-"
		}
		if by != want {
			t.Errorf("%q: %q, want %q", text, by, want)
		}
	}
}
