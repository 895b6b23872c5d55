package imagefile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
)

// Digests of a file before and after.
var (
	old   = "sha256:" + strings.Repeat("a", 64)
	now   = "sha256:" + strings.Repeat("b", 64)
	third = "sha256:" + strings.Repeat("c", 64)
)

const kubernetes = `# Who edits this by hand is overruled.
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: "web"}}
spec:
  template:
    spec:
      initContainers:
        - {name: migrate, image: "registry.example/team/web@OLD"} # the same one
      containers:
      -   name: web   # ü
          image:   'registry.example/team/web:prod@OLD'   # keep in step
          command: [gunicorn, "web:app"]
      - name: proxy
        image: proxy:1.2@THIRD
---
kind: ConfigMap
data:
  note: |
    image: registry.example/team/web@OLD
`

const compose = `x-image: &image registry.example/web@OLD
x-base: &base
  image: *image
services:
  web:
    <<: *base
    ports: ["80:80"]
  worker:
    image: *image
  db: {image: postgres:17}
`

const nomad = `job "web" {
  # image = "registry.example/web@OLD"
  /* image = "registry.example/web@OLD" */
  group "web" {
    task "web" {
      driver = "docker" // image = "x"
      config {
        image   = "${var.registry["a"]}/web@OLD" # here
        command = "image = \"registry.example/web@OLD\""
      }
      template {
        data = <<-EOT
          image = "registry.example/web@OLD"
        EOT
      }
    }
  }
}
`

// write fills a file of a name with a text in which OLD and THIRD stand for digests.
func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(fill(text)), 0o640); err != nil {
		t.Fatal(err)
	}
	return file
}

func fill(text string) string {
	return strings.NewReplacer("OLD", old, "THIRD", third, "NEW", now).Replace(text)
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Nothing but the digest of the image changes: comments, quotes, blanks and line ends stay.
func TestWrite(t *testing.T) {
	t.Parallel()
	windows := strings.ReplaceAll(kubernetes, "\n", "\r\n")
	for name, c := range map[string]struct{ file, before, after string }{
		"compose":      {"compose.yaml", compose, strings.Replace(compose, "OLD", "NEW", 1)},
		"nomad":        {"web.nomad.hcl", nomad, strings.Replace(nomad, `"]}/web@OLD`, `"]}/web@NEW`, 1)},
		"nomad's own":  {"web.nomad", nomad, strings.Replace(nomad, `"]}/web@OLD`, `"]}/web@NEW`, 1)},
		"a mark":       {"x.yml", "\ufeffimage: web@OLD\n", "\ufeffimage: web@NEW\n"},
		"no line end":  {"x.yml", "image: web@OLD", "image: web@NEW"},
		"JSON":         {"x.json", `{"spec":{"containers":[{"image":"h/web@OLD","name":"image"}]}}`, `{"spec":{"containers":[{"image":"h/web@NEW","name":"image"}]}}`},
		"interpolated": {"x.yml", "services: {web: {image: \"${HOST:-h}/web@OLD\"}}\n", "services: {web: {image: \"${HOST:-h}/web@NEW\"}}\n"},
		"a second one": {"x.yml", "a: {image: h/web@OLD}\nb: {image: h/api@OLD}\n", "a: {image: h/web@NEW}\nb: {image: h/api@OLD}\n"},
		"twice":        {"x.yml", "a: {image: h/web@OLD}\nb: {image: h/web@OLD}\n", "a: {image: h/web@NEW}\nb: {image: h/web@NEW}\n"},
		"a tag":        {"x.yml", "image: !!str h/web@OLD\n", "image: !!str h/web@NEW\n"},
		"in a flow":    {"x.yml", "image: [{image: h/web@OLD}]\n", "image: [{image: h/web@NEW}]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, c.file, Image{Name: "web"}, c.before, c.after)
		})
	}
	pinned := func(text string) string {
		text = strings.Replace(text, `team/web@OLD"} #`, `team/web@NEW"} #`, 1)
		return strings.Replace(text, "web:prod@OLD'", "web:prod@NEW'", 1)
	}
	same := strings.NewReplacer("web:prod@OLD", "web@OLD")
	for _, text := range []string{kubernetes, windows} {
		text = same.Replace(text)
		check(t, "deploy.yaml", Image{Name: "team/web"}, text, strings.Replace(pinned(text), "web@OLD'", "web@NEW'", 1))
	}
}

func check(t *testing.T, name string, image Image, before, after string) {
	t.Helper()
	file := write(t, name, before)
	f, err := Read(file, image)
	if err != nil {
		t.Fatal(err)
	}
	if f.Digest != old {
		t.Errorf("it names %s", f.Digest)
	}
	changed, err := Write([]*File{f}, now)
	if err != nil || len(changed) != 1 || changed[0] != file {
		t.Fatalf("%q, %v", changed, err)
	}
	if diff := cmp.Diff(fill(after), read(t, file)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	f, err = Read(file, image)
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := Write([]*File{f}, now); err != nil || len(changed) > 0 {
		t.Errorf("what is there already is written: %q, %v", changed, err)
	}
}

// A file that leaves open what is meant is refused, with the place.
func TestRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file, text string
		image      Image
		kind       faults.Kind
		told       []string
	}{
		"nothing":                {"x.yaml", "a: 1\n", Image{Name: "web"}, faults.Input, []string{"x.yaml:1:1: nothing in it is the image web: it names no image"}},
		"an empty file":          {"x.yaml", "", Image{Name: "web"}, faults.Input, []string{"it names no image"}},
		"another image":          {"x.yaml", "a:\n  image: h/api@OLD\n", Image{Name: "web"}, faults.Input, []string{"x.yaml:2:10: nothing in it is the image web: it names h/api"}},
		"a name that ends so":    {"x.yaml", "image: h/myweb@OLD\n", Image{Name: "web"}, faults.Input, []string{"it names h/myweb"}},
		"two repositories":       {"x.yaml", "a: {image: h/web@OLD}\nb: {image: g/web@OLD}\n", Image{Name: "web"}, faults.Input, []string{"x.yaml:2:12: two different things fit: g/web@" + old + ", and at line 1 h/web@"}},
		"two digests":            {"x.yaml", "a: {image: h/web@OLD}\nb: {image: h/web@THIRD}\n", Image{Name: "web", Repository: "h/web"}, faults.Input, []string{"x.yaml:2:12: two different things fit"}},
		"a tag and a digest":     {"x.yaml", kubernetes, Image{Name: "team/web"}, faults.Input, []string{"x.yaml:12:", "two different things fit"}},
		"by a tag":               {"x.yaml", "a:\n- image: h/web:prod\n", Image{Name: "web"}, faults.Input, []string{"x.yaml:2:10: web is not named by a digest: h/web:prod"}},
		"by nothing":             {"x.yaml", "image: web\n", Image{Name: "web"}, faults.Input, []string{"is not named by a digest: web"}},
		"another digest's form":  {"x.yaml", "image: web@sha256:abc\n", Image{Name: "web"}, faults.Input, []string{"is not named by a digest"}},
		"no YAML":                {"x.yaml", "a: [\n", Image{Name: "web"}, faults.Input, []string{"x.yaml:", "this is not YAML"}},
		"no text":                {"x.yaml", "a: \xff\n", Image{Name: "web"}, faults.Input, []string{"not UTF-8"}},
		"over two lines":         {"x.yaml", "image: \"h/web@\\\n  " + "OLD\"\n", Image{Name: "web"}, faults.Input, []string{"cannot be edited in the form"}},
		"an alias to itself":     {"x.yaml", "image: &x *x\n", Image{Name: "web"}, faults.Input, nil},
		"a string without end":   {"x.hcl", "image = \"web\n", Image{Name: "web"}, faults.Input, []string{"x.hcl:1:9: a string has no end"}},
		"a template without end": {"x.hcl", "a = \"${b\n", Image{Name: "web"}, faults.Input, []string{"x.hcl:1:5: a string has no end"}},
		"a comment without end":  {"x.hcl", "/* x\n", Image{Name: "web"}, faults.Input, []string{"x.hcl:1:1: a comment has no end"}},
		"a heredoc without end":  {"x.hcl", "a = <<E\nx\n", Image{Name: "web"}, faults.Input, []string{"x.hcl:1:5: the text <<E has no end"}},
		"two of a job":           {"x.hcl", "a { image = \"h/web@OLD\" }\nb { image = \"h/web@THIRD\" }\n", Image{Name: "web"}, faults.Input, []string{"x.hcl:2:14: two different things fit"}},
		"another kind of file":   {"x.toml", "", Image{Name: "web"}, faults.Usage, []string{"no file of Kubernetes, compose or Nomad"}},
		"a file that is large":   {"x.yaml", "#" + strings.Repeat(" ", maxFile), Image{Name: "web"}, faults.Input, []string{"more than 4194304 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Read(write(t, c.file, c.text), c.image)
			if err == nil || faults.Of(err) != c.kind {
				t.Fatalf("%v", err)
			}
			for _, want := range c.told {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
		})
	}
	if _, err := Read(filepath.Join(t.TempDir(), "x.yaml"), Image{Name: "web"}); faults.Of(err) != faults.Input {
		t.Errorf("%v", err)
	}
}

// Who names the whole repository says which of several is meant.
func TestRepository(t *testing.T) {
	t.Parallel()
	check(t, "x.yaml", Image{Name: "web", Repository: "g/web"}, "a: {image: h/web@OLD}\nb: {image: g/web@OLD}\n", "a: {image: h/web@OLD}\nb: {image: g/web@NEW}\n")
}

// Of several files none is written if one cannot be: all that was prepared is gone.
func TestAllOrNone(t *testing.T) {
	t.Parallel()
	one, two := write(t, "a.yaml", "image: h/web@OLD\n"), write(t, "b.hcl", `image = "h/web@OLD"`)
	var files []*File
	for _, file := range []string{one, two} {
		f, err := Read(file, Image{Name: "web"})
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	if err := os.WriteFile(two, []byte(fill("# edited\nimage = \"h/web@OLD\"")), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := Write(files, now); faults.Of(err) != faults.Input || len(changed) > 0 || !strings.Contains(err.Error(), "somebody has changed it meanwhile") {
		t.Errorf("%q, %v", changed, err)
	}
	if read(t, one) != fill("image: h/web@OLD\n") {
		t.Error("the first one is written")
	}
	if left, err := os.ReadDir(filepath.Dir(one)); err != nil || len(left) != 1 {
		t.Errorf("something is left: %v, %v", left, err)
	}
}

// A link stays a link, and what it leads to is written.
func TestLink(t *testing.T) {
	t.Parallel()
	file := write(t, "a.yaml", "image: h/web@OLD\n")
	link := filepath.Join(t.TempDir(), "link.yaml")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	f, err := Read(link, Image{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := Write([]*File{f}, now); err != nil || len(changed) != 1 || read(t, file) != fill("image: h/web@NEW\n") {
		t.Errorf("%q, %v", changed, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("%v, %v", info, err)
	}
}

// Whatever a file is, nothing but the digest is changed in it.
func FuzzPin(f *testing.F) {
	for _, text := range []string{kubernetes, compose, nomad, "image: web@OLD\n", `image = "web@OLD"`, "\ufeff- image: &a web@OLD\n- image: *a\n", "? image\n: web@OLD\n"} {
		f.Add([]byte(fill(text)), true)
		f.Add([]byte(fill(text)), false)
	}
	f.Fuzz(func(t *testing.T, text []byte, yaml bool) {
		name, find := "x.hcl", findHCL
		if yaml {
			name, find = "x.yaml", findYAML
		}
		file, err := parse(name, text, Image{Name: "web"}, find)
		if err != nil {
			return
		}
		out, err := file.pinned(now)
		if err != nil {
			return
		}
		back := strings.ReplaceAll(string(out), now, file.Digest)
		if back != strings.ReplaceAll(string(text), now, file.Digest) {
			t.Errorf("%q becomes %q", text, out)
		}
	})
}
