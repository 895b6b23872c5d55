package project

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"ampoule/recipes"
)

// Dockerfile is what a Dockerfile says, as far as it is read: its instructions in order.
type Dockerfile struct {
	text
	instructions []instruction
}

// instruction is one instruction with its words, each with its place.
type instruction struct {
	name  string
	words []placed
	// body is what stands behind the name, with a blank for each end of a line.
	body string
}

// placed is a word with its place.
type placed struct {
	text         string
	line, column int
}

// Dockerfiles reads those of the directory, and of docker below it: Dockerfile,
// Containerfile, Dockerfile.NAME and NAME.Dockerfile.
func (r *Repository) Dockerfiles() []Dockerfile {
	var all []Dockerfile
	for _, way := range []string{"", "docker"} {
		for _, name := range r.list(way) {
			if !dockerfileName.MatchString(name) || strings.HasSuffix(name, ".dockerignore") {
				continue
			}
			if t, ok := r.read(below(way, name), maxFile); ok {
				all = append(all, readDockerfile(t))
			}
		}
	}
	return all
}

var (
	dockerfileName = regexp.MustCompile(`^(?:Dockerfile|Containerfile)(?:\.[A-Za-z0-9._-]+)?$|^[A-Za-z0-9._-]+\.Dockerfile$`)
	heredoc        = regexp.MustCompile(`<<-?\s*["']?([A-Za-z_][A-Za-z0-9_]*)["']?`)
)

// readDockerfile takes a Dockerfile apart. A backslash at the end continues a line, over
// comments and empty lines, too; a here-document belongs to its instruction.
func readDockerfile(t text) Dockerfile {
	d := Dockerfile{text: t}
	number, until := 0, ""
	open := false
	var body strings.Builder
	finish := func() {
		if n := len(d.instructions); n > 0 && d.instructions[n-1].body == "" {
			d.instructions[n-1].body = strings.TrimSpace(body.String())
		}
		body.Reset()
	}
	for line := range strings.Lines(t.body) {
		number++
		line = strings.TrimRight(line, " \t\r\n")
		bare := strings.TrimSpace(line)
		if until != "" {
			if bare == until {
				until = ""
				continue
			}
		} else if bare == "" || bare[0] == '#' {
			continue
		}
		more := strings.HasSuffix(line, `\`)
		line = strings.TrimSuffix(line, `\`)
		found := words(line)
		if !open && until == "" && len(found) > 0 {
			finish()
			d.instructions = append(d.instructions, instruction{name: strings.ToUpper(found[0].text)})
			line = line[strings.Index(line, found[0].text)+len(found[0].text):]
			found = found[1:]
		}
		if len(d.instructions) == 0 {
			continue
		}
		last := &d.instructions[len(d.instructions)-1]
		for _, w := range found {
			last.words = append(last.words, placed{w.text, number, w.column})
		}
		body.WriteString(strings.TrimSpace(line) + " ")
		if m := heredoc.FindStringSubmatch(line); m != nil && until == "" && (last.name == "RUN" || last.name == "COPY") {
			until = m[1]
			last.words = append(last.words, placed{";", number, 1})
		} else if until != "" {
			last.words = append(last.words, placed{";", number, 1})
		}
		open = more && until == ""
	}
	finish()
	return d
}

// Name is the path from the recipe's directory, with slashes.
func (d Dockerfile) Name() string { return d.name }

// pythons reads which Python each stage starts from.
func (d Dockerfile) pythons() []Statement {
	var all []Statement
	args := map[string]placed{}
	for _, in := range d.instructions {
		switch in.name {
		case "ARG":
			for _, w := range in.words {
				if name, value, ok := strings.Cut(w.text, "="); ok {
					args[name] = placed{strings.Trim(value, `"'`), w.line, w.column}
				}
			}
		case "FROM":
			words := slices.DeleteFunc(slices.Clone(in.words), func(w placed) bool { return strings.HasPrefix(w.text, "--") })
			if len(words) == 0 {
				continue
			}
			image, at := expandArgs(words[0], args)
			if w, ok := imagePython(image); ok {
				all = append(all, d.statement(at.line, at.column, "FROM "+image, w))
			}
		}
	}
	return all
}

var dockerVariable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)(?::?-([^}]*))?\}|\$([A-Za-z_][A-Za-z0-9_]*)`)

// expandArgs puts the values of build arguments into an image's name. What a version
// comes from is the place to tell: the argument, where there is one.
func expandArgs(image placed, args map[string]placed) (string, placed) {
	at := image
	name := dockerVariable.ReplaceAllStringFunc(image.text, func(variable string) string {
		m := dockerVariable.FindStringSubmatch(variable)
		if arg, ok := args[m[1]+m[3]]; ok {
			at = arg
			return arg.text
		}
		return m[2]
	})
	return name, at
}

var (
	imageVersion = regexp.MustCompile(`^v?([0-9]+(?:\.[0-9]+)?(?:\.[0-9]+(?:(?:a|b|rc)[0-9]+)?)?)(?:-|$|@)`)
	tagPython    = regexp.MustCompile(`(?:^|-)python-?([0-9]\.[0-9]+(?:\.[0-9]+)?)(?:-|$|@)`)
)

// imagePython reads the Python of an image's name: python:3.13-slim, and others that name
// it in their tag, such as uv:python3.13-bookworm.
func imagePython(image string) (Wanted, bool) {
	image, _, _ = strings.Cut(image, "@")
	name, tag, ok := strings.Cut(image[strings.LastIndexByte(image, '/')+1:], ":")
	if !ok {
		return Wanted{}, false
	}
	m := tagPython.FindStringSubmatch(tag)
	if name == "python" {
		m = imageVersion.FindStringSubmatch(tag)
	}
	if m == nil {
		return Wanted{}, false
	}
	return byNumber(m[1])
}

// Installed is a package that a Dockerfile installs.
type Installed struct {
	recipes.Position
	Name string
}

var debianName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)

// Debian lists the packages that apt-get and apt install.
func (d Dockerfile) Debian() []Installed {
	return d.installed(func(words []placed) (int, bool) {
		if name := baseName(words[0].text); name != "apt-get" && name != "apt" && name != "aptitude" {
			return 0, false
		}
		for i, w := range words[1:] {
			switch {
			case w.text == "install":
				return i + 2, true
			case isEnd(w.text):
				return 0, false
			}
		}
		return 0, false
	}, []string{"-t", "--target-release", "-o", "--option", "-c"}, func(text string) (string, bool) {
		name, _, _ := strings.Cut(text, "=")
		name, _, _ = strings.Cut(name, "/")
		name, _, _ = strings.Cut(name, ":")
		return name, debianName.MatchString(name)
	})
}

// Pip lists what pip install and uv pip install name: requirements, paths and, with -r
// before them, requirements files.
func (d Dockerfile) Pip() []Installed {
	return d.installed(func(words []placed) (int, bool) {
		if name := baseName(words[0].text); name != "pip" && name != "pip3" || len(words) < 2 {
			return 0, false
		}
		for i, w := range words[1:min(len(words), 8)] {
			if w.text == "install" {
				return i + 2, true
			}
			if !strings.HasPrefix(w.text, "-") {
				break
			}
		}
		return 0, false
	}, pipTakes,
		func(text string) (string, bool) { return text, !strings.HasPrefix(text, "-") })
}

// pipTakes are the options of pip install and of uv pip install that take the word behind
// them. Options of requirements and constraints files are not among them.
var pipTakes = []string{
	"-i", "--index-url", "--extra-index-url", "--index", "--default-index", "--index-strategy", "--keyring-provider", "-f", "--find-links", "--trusted-host", "--proxy", "--retries", "--timeout",
	"-t", "--target", "--prefix", "--root", "--src", "--cache-dir", "--log", "--report", "--progress-bar", "--link-mode", "-p", "--python", "--python-preference",
	"--platform", "--abi", "--implementation", "--python-version", "--python-platform", "--torch-backend", "--no-binary", "--only-binary", "--upgrade-strategy", "-P", "--upgrade-package",
	"--prerelease", "--resolution", "--exclude-newer", "--override", "--overrides", "--extra", "--group", "--config-settings", "-C", "--global-option", "--use-feature", "--use-deprecated", "--root-user-action",
}

// installed finds commands in RUN and gives what they install. begins finds a command at
// the start of some words, and where what it installs begins. with are options that take
// the word behind them; those of requirements files are kept before their file.
func (d Dockerfile) installed(begins func([]placed) (int, bool), with []string, name func(string) (string, bool)) []Installed {
	var all []Installed
	lists := map[string][]placed{}
	for _, in := range d.instructions {
		noteLists(lists, in.words)
		if in.name != "RUN" {
			continue
		}
		words := expandLists(shellWords(in.words), lists)
		for i := 0; i < len(words); i++ {
			from, ok := begins(words[i:])
			if !ok {
				continue
			}
			file := ""
			for i += from; i < len(words) && !isEnd(words[i].text); i++ {
				w := words[i]
				switch {
				case slices.Contains(with, w.text):
					i++
				case w.text == "-r", w.text == "--requirement", w.text == "--requirements":
					file = "-r "
				case w.text == "-e", w.text == "--editable":
					file = "-e "
				case i+2 < len(words) && words[i+1].text == "@": // "name @ address", in quotes
					if n, ok := name(w.text + " @ " + words[i+2].text); ok && !strings.Contains(n, "$") {
						all = append(all, Installed{d.at(w.line, w.column), n})
					}
					i += 2
				case w.text == "-c", w.text == "--constraint", w.text == "--constraints":
					i++
				default:
					if n, ok := name(w.text); ok && !strings.Contains(n, "$") {
						all = append(all, Installed{d.at(w.line, w.column), file + n})
					}
					file = ""
				}
			}
		}
	}
	return all
}

var (
	listBegins = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)=(["'])`)
	listIs     = regexp.MustCompile(`^\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))$`)
)

// noteLists notes texts of several words that variables stand for: NAME="gcc libpq-dev" of
// ARG and ENV, and of a shell.
func noteLists(lists map[string][]placed, words []placed) {
	for i := 0; i < len(words); i++ {
		m := listBegins.FindStringSubmatch(words[i].text)
		if m == nil {
			continue
		}
		name, quote := m[1], m[2]
		w := words[i]
		w.text = w.text[len(m[0]):]
		var list []placed
		for {
			text, _, ended := strings.Cut(w.text, quote)
			if text != "" {
				list = append(list, placed{text, w.line, w.column})
			}
			i++
			if ended || i >= len(words) {
				break
			}
			w = words[i]
		}
		i--
		lists[name] = list
	}
}

// expandLists puts the words of a variable in its place. One that is not known stays.
func expandLists(words []placed, lists map[string][]placed) []placed {
	var all []placed
	for _, w := range words {
		m := listIs.FindStringSubmatch(w.text)
		if m == nil {
			all = append(all, w)
			continue
		}
		list, ok := lists[m[1]+m[2]]
		if !ok {
			list = []placed{w}
		}
		all = append(all, list...)
	}
	return all
}

// shellWords takes quotes off words, and gives what ends a command a word of its own.
func shellWords(words []placed) []placed {
	var all []placed
	for _, w := range words {
		end := ""
		for _, mark := range []string{"&&", "||", ";", "|", ")"} {
			if rest, ok := strings.CutSuffix(w.text, mark); ok {
				w.text, end = rest, ";"
				break
			}
		}
		w.text = strings.Trim(strings.TrimLeft(w.text, "("), `"'`)
		if w.text != "" {
			all = append(all, w)
		}
		if end != "" {
			all = append(all, placed{end, w.line, w.column})
		}
	}
	return all
}

func isEnd(word string) bool { return word == ";" || word == "&" || strings.HasPrefix(word, ">") }

func baseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// Command is how a program is started, with its place.
type Command struct {
	recipes.Position
	// Args are the program and its arguments; nil where a shell reads Text.
	Args []string
	Text string
}

// Command gives the last CMD or ENTRYPOINT; ok is false where there is none.
func (d Dockerfile) Command() (c Command, ok bool) {
	for _, in := range d.instructions {
		if (in.name != "CMD" && in.name != "ENTRYPOINT") || len(in.words) == 0 {
			continue
		}
		c, ok = Command{Position: d.at(in.words[0].line, in.words[0].column), Text: in.name + " " + in.body}, true
		var args []string
		if err := json.Unmarshal([]byte(in.body), &args); err == nil {
			c.Args = args
		}
	}
	return c, ok
}

// Procfile lists the processes of a Procfile: web: gunicorn shop.wsgi.
func (r *Repository) Procfile() []Command {
	t, ok := r.read("Procfile", maxFile)
	if !ok {
		return nil
	}
	var all []Command
	for line, words := range lines(t.body) {
		if strings.HasSuffix(words[0].text, ":") && len(words) > 1 {
			var texts []string
			for _, w := range words {
				texts = append(texts, w.text)
			}
			all = append(all, Command{Position: t.at(line, words[0].column), Text: strings.Join(texts, " ")})
		}
	}
	return all
}
