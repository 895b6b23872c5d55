package recipes

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseRequirement(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Flask":                                  "flask",
		"zope.interface >= 5 , < 7":              "zope-interface<7,>=5",
		"a[B_x, a.y] (>=1, !=1.5.*)":             "a[a-y,b-x]!=1.5.*,>=1",
		"a ~= 1.4.2":                             "a~=1.4.2",
		"a===1.0-odd":                            "a===1.0-odd",
		"a==1!2.0rc1+local.1":                    "a==1!2.0rc1+local.1",
		"a[]":                                    "a",
		"a;os_name=='nt'":                        `a; os_name == "nt"`,
		"a ; python_version  not   in '3.8 3.9'": `a; python_version not in "3.8 3.9"`,
		"a; (os_name == 'x' or 'y' in platform_machine) and python_version<'3'": `a; (os_name == "x" or "y" in platform_machine) and python_version < "3"`,
		`a; os_name == 'x"y'`: `a; os_name == 'x"y'`,
	} {
		r, err := parseRequirement(text)
		if err != nil {
			t.Errorf("%s: %s", text, err.what)
			continue
		}
		if r.Spec != want {
			t.Errorf("%s is %s, want %s", text, r.Spec, want)
		}
		if again, err := parseRequirement(r.Spec); err != nil || again.Spec != r.Spec {
			t.Errorf("%s read again is %v, %v", r.Spec, again, err)
		}
	}
}

func TestRefusedRequirements(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                      "is no requirement",
		"a b":                   "stands where",
		"a=1":                   "stands where",
		"a==":                   "is no version for ==",
		"a>=1.*":                "is no version for >=",
		"a>=1+local":            "is no version for >=",
		"a~=1":                  "is no version for ~=",
		"a==one":                "is no version",
		"a>=1 <2":               "stands where",
		"a(>=1":                 "ends where",
		"a[x":                   "ends where",
		"a[x y]":                "stands where",
		"a; ":                   "ends where",
		"a; os_name":            "ends where a comparison",
		"a; os_nam == 'x'":      "is no marker variable",
		"a; extra == 'x'":       "has no value here",
		"a; 'x' == 'y'":         "the marker compares",
		"a; os_name == 'x' xor": "stands where",
		"a; (os_name == 'x'":    "ends where",
		"a; " + strings.Repeat("(", 300) + "os_name": "nested too deeply",
		"a @ https://x/y.whl":                        "required from a URL",
		"a@git+ssh://x":                              "required from a URL",
		"https://x/y.whl":                            "is a URL",
		"git+https://x":                              "is a URL",
		"./a":                                        "is a path",
		"/a":                                         "is a path",
		"a-1.0.tar.gz":                               "is a file",
		"a==${V}":                                    "environment",
		"-e .":                                       "not honoured",
		"a\x01":                                      "control character",
		strings.Repeat("a", 5000):                    "too long",
	} {
		r, err := parseRequirement(text)
		if err == nil {
			t.Errorf("%s is %s", text, r.Spec)
		} else if !strings.Contains(err.what, want) {
			t.Errorf("%s: %s, want %s", text, err.what, want)
		}
	}
}

// readSet writes files into a directory and reads the requirements of a recipe there.
func readSet(t *testing.T, requirements string, files map[string]string) (*RequirementSet, error) {
	t.Helper()
	dir := t.TempDir()
	files["ampoule.yaml"] = strings.Replace(goodRecipe, "requirements: requirements.txt", "requirements: "+requirements, 1)
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(text, "LINK "); ok {
			if err := os.Symlink(target, file); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := ReadRecipe(filepath.Join(dir, "ampoule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := ReadRequirements(r)
	if faults, ok := errors.AsType[Faults](err); ok {
		for i := range faults {
			faults[i].File = strings.TrimPrefix(faults[i].File, dir+"/")
		}
		return nil, faults
	}
	if set != nil {
		for i := range set.Requirements {
			set.Requirements[i].File = strings.TrimPrefix(set.Requirements[i].File, dir+"/")
		}
	}
	return set, err
}

func TestReadRequirements(t *testing.T) {
	t.Parallel()
	h1, h2 := "sha256:"+hash, "sha512:"+hash+hash
	files := map[string]string{
		"reqs/all.txt":     "\ufeff# all of them\n-r base.txt\n--constraint=../limits.txt # limits\r\n\n  Flask >= 3 \\\n    --hash=" + h1 + " \\\n    --hash " + h2 + "\npsycopg2==2.9;os_name=='posix' --hash=" + h1 + " # why\n",
		"reqs/base.txt":    "-rmore/x.txt\nmarkupsafe==3 --hash=" + h1 + "\n# a comment \\\n",
		"reqs/more/x.txt":  "click==8 --hash=" + h1,
		"limits.txt":       "-c limits2.txt\nclick<9\n",
		"limits2.txt":      "werkzeug<4\n",
		"reqs/ignored.txt": "nonsense nonsense",
	}
	set, err := readSet(t, "reqs/all.txt", files)
	if err != nil {
		t.Fatal(err)
	}
	at := func(file string, line, column int) Position { return Position{file, line, column} }
	want := &RequirementSet{
		RequireHashes: true, File: "reqs/all.txt",
		Requirements: []Requirement{
			{Name: "click", Spec: "click==8", Hashes: []string{h1}, Position: at("reqs/more/x.txt", 1, 1)},
			{Name: "markupsafe", Spec: "markupsafe==3", Hashes: []string{h1}, Position: at("reqs/base.txt", 2, 1)},
			{Name: "werkzeug", Spec: "werkzeug<4", Constraint: true, Position: at("limits2.txt", 1, 1)},
			{Name: "click", Spec: "click<9", Constraint: true, Position: at("limits.txt", 2, 1)},
			{Name: "flask", Spec: "flask>=3", Hashes: []string{h1, h2}, Position: at("reqs/all.txt", 5, 3)},
			{Name: "psycopg2", Spec: `psycopg2==2.9; os_name == "posix"`, Hashes: []string{h1}, Position: at("reqs/all.txt", 8, 1)},
		},
		Files: map[string][]byte{},
	}
	for _, name := range []string{"reqs/all.txt", "reqs/base.txt", "reqs/more/x.txt", "limits.txt", "limits2.txt"} {
		want.Files[name] = []byte(files[name])
	}
	if diff := cmp.Diff(want, set, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRequirementsList(t *testing.T) {
	t.Parallel()
	set, err := readSet(t, "[Flask, 'psycopg2 >= 2']", map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	var specs []string
	for _, q := range set.Requirements {
		specs = append(specs, q.String()+" "+q.Spec)
	}
	if diff := cmp.Diff([]string{"ampoule.yaml:9:16 flask", "ampoule.yaml:9:23 psycopg2>=2"}, specs); diff != "" {
		t.Error(diff)
	}
}

func TestRequirementsFaults(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		files map[string]string
		want  []string
	}{
		"missing file":       {map[string]string{}, []string{"ampoule.yaml:9:15: r.txt does not exist"}},
		"missing include":    {map[string]string{"r.txt": "\n -r x/y.txt"}, []string{"r.txt:2:2: x/y.txt does not exist"}},
		"loop":               {map[string]string{"r.txt": "-r s.txt", "s.txt": "-r ./r.txt"}, []string{"s.txt:1:1: r.txt includes itself: r.txt → s.txt → r.txt"}},
		"escape":             {map[string]string{"r.txt": "-r ../r.txt\n-c /etc/passwd"}, []string{"r.txt:1:1: ../r.txt is outside of the recipe's directory", "r.txt:2:1: /etc/passwd is outside of the recipe's directory"}},
		"escape by a link":   {map[string]string{"r.txt": "-r s.txt", "s.txt": "LINK /etc/hostname"}, []string{"r.txt:1:1: s.txt cannot be read"}},
		"directory":          {map[string]string{"r.txt": "-r d", "d/x": ""}, []string{"r.txt:1:1: d cannot be read: not a regular file"}},
		"include from a URL": {map[string]string{"r.txt": "-r https://x/y"}, []string{"r.txt:1:1: -r names a URL"}},
		"include nothing":    {map[string]string{"r.txt": "-r"}, []string{"r.txt:1:1: -r names no file"}},
		"-r in constraints":  {map[string]string{"r.txt": "-c c.txt", "c.txt": "-r d.txt"}, []string{"c.txt:1:1: a constraints file includes requirements"}},
		"options": {map[string]string{"r.txt": "--index-url https://x\n-i x\n--extra-index-url=x\n-f x\n--no-binary :all:\n--only-binary=:all:\n--pre\n-e ./x\n--editable x\n--odd"}, []string{
			"r.txt:1:1: --index-url is not", "r.txt:2:1: -i is not", "r.txt:3:1: --extra-index-url is not", "r.txt:4:1: -f is not", "r.txt:5:1: --no-binary is not",
			"r.txt:6:1: --only-binary is not", "r.txt:7:1: --pre is not", "r.txt:8:1: -e ./x is first-party code", "r.txt:9:1: --editable x is first-party code", "r.txt:10:1: --odd is no option"}},
		"option of one":        {map[string]string{"r.txt": "a --config-settings=x=y"}, []string{"r.txt:1:1: --config-settings is not"}},
		"weak hash":            {map[string]string{"r.txt": "a --hash=md5:" + hash[:32]}, []string{`r.txt:1:1: "md5:0123456789abcdef0123456789abcdef" is no sha256`}},
		"short hash":           {map[string]string{"r.txt": "a --hash=sha256:" + hash[:63]}, []string{`r.txt:1:1: "sha256:` + hash[:63]}},
		"no sha256":            {map[string]string{"r.txt": "a --hash=sha512:" + hash + hash}, []string{"r.txt:1:1: none of the hashes is a sha256"}},
		"some without hashes":  {map[string]string{"r.txt": "a==1 --hash=sha256:" + hash + "\nb==1\n-c c.txt", "c.txt": "b<3"}, []string{"r.txt:2:1: b has no hashes"}},
		"hashes required":      {map[string]string{"r.txt": "--require-hashes\na==1"}, []string{"r.txt:2:1: a has no hashes"}},
		"extras in constraint": {map[string]string{"r.txt": "-c c.txt", "c.txt": "b[x]<3"}, []string{"c.txt:1:1: a constraint has extras"}},
		"nonsense":             {map[string]string{"r.txt": "a\n\n# c\na b\n./x\n  c @ https://x"}, []string{"r.txt:4:1: \"b\" stands", "r.txt:5:1: ./x is first-party code", "r.txt:6:3: c is required from a URL"}},
		"not text":             {map[string]string{"r.txt": "a\xff"}, []string{"ampoule.yaml:9:15: r.txt is not UTF-8 text"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := readSet(t, "r.txt", c.files)
			faults, ok := errors.AsType[Faults](err)
			if !ok || len(faults) != len(c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			for i, want := range c.want {
				if !strings.HasPrefix(faults[i].String(), want) {
					t.Errorf("got %s, want %s", faults[i], want)
				}
			}
		})
	}
}

func TestManyIncludes(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for i := range 150 {
		files["r"+strings.Repeat("x", i)+".txt"] = strings.Repeat("-r r"+strings.Repeat("x", i+1)+".txt\n", 2)
	}
	_, err := readSet(t, "r.txt", files)
	if err == nil || !strings.Contains(err.Error(), "more than 100 requirements files") {
		t.Errorf("got %v", err)
	}
}

func FuzzRequirements(f *testing.F) {
	f.Add("a>=1 \\\n # x\n -r b --hash=sha256:" + hash + "\n--require-hashes")
	f.Add("a[b]~=1.0; (os_name == 'x') and 'y' in platform_machine")
	f.Fuzz(func(t *testing.T, text string) {
		for _, line := range logicalLines(text) {
			if line.text == "" || line.number < 1 || line.column < 1 {
				t.Fatalf("%+v", line)
			}
			cutOption(line.text)
			spec, hashes, err := splitHashes(line.text)
			if err != nil {
				continue
			}
			r, err := parseRequirement(spec)
			if err != nil {
				continue
			}
			again, err := parseRequirement(r.Spec)
			if err != nil || again.Spec != r.Spec || again.Name != r.Name {
				t.Fatalf("%q is %q and again %q, %v", spec, r.Spec, again.Spec, err)
			}
			if requirementKey(r.Spec) != r.Name {
				t.Fatalf("the key of %q is %q", r.Spec, requirementKey(r.Spec))
			}
			if !slices.IsSorted(hashes) {
				t.Fatal(hashes)
			}
		}
	})
}
