// Package table renders what was measured as the page docs/catalogue.md.
package table

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ampoule/bench/internal/recorded"
	"ampoule/bench/internal/trials"
	"ampoule/packaging"
	"ampoule/recipes/catalogue"
)

// none stands where nothing was measured.
const none = "–"

const top = `# Catalogue

<!-- Generated from docs/measured; ` + "`make page`" + ` writes it anew. -->

The recipes that ship with Ampoule, what building them takes, and how far it gets with what people install most.
` + "`ampoule init --from NAME`" + ` copies a recipe with its lock. The numbers come from ` + "`make catalogue`, `make packages` and `make overrides`" + `,
which record each result as it ends and go on where they stopped, and from ` + "`make loop` and `make bench`" + `. A time behind ≤ was
taken while the machine had other work, too.
`

// reader reads books of results, until one cannot be read.
type reader struct {
	dir string
	err error
}

// read reads a book. Where one before could not be read, it is empty.
func read[R recorded.Result](r *reader, file string) *recorded.Book[R] {
	if r.err != nil {
		return &recorded.Book[R]{}
	}
	var book *recorded.Book[R]
	book, r.err = recorded.Open[R](filepath.Join(r.dir, file))
	return book
}

// Render makes the page from the results in a directory. The same results give the
// same page.
func Render(results string) (string, error) {
	r := &reader{dir: results}
	recipes := read[recorded.Recipe](r, recorded.RecipesFile)
	packages := read[recorded.Package](r, recorded.PackagesFile)
	overrides := read[recorded.Package](r, recorded.OverridesFile)
	releases := read[recorded.Fit](r, recorded.ReleasesFile)
	loop := read[recorded.Step](r, recorded.LoopFile)
	bench := read[recorded.Figure](r, recorded.BenchFile)
	hosts := read[recorded.Figure](r, recorded.HostsFile)
	kills := read[recorded.Kill](r, recorded.KillsFile)
	losses := read[recorded.PowerLoss](r, recorded.PowerLossFile)
	killed := read[recorded.PowerLoss](r, recorded.KilledFile)
	checks := read[recorded.Check](r, recorded.ChecksFile)
	verdicts := read[recorded.Verdict](r, recorded.VerdictsFile)
	audits := read[recorded.Figure](r, recorded.AuditsFile)
	services := read[recorded.Rollout](r, recorded.ServicesFile)
	clients := read[recorded.Client](r, recorded.ClientsFile)
	starts := read[recorded.Start](r, recorded.StartsFile)
	suite := read[recorded.SuiteTest](r, recorded.SuiteFile)
	peers := read[recorded.Peer](r, recorded.PeersFile)
	if r.err != nil {
		return "", r.err
	}
	var b strings.Builder
	b.WriteString(top)
	writeRecipes(&b, recipes)
	writeSizes(&b, recipes.All())
	times := wheelTimes(recipes.All(), packages.All(), overrides.All())
	writePackages(&b, packages, times)
	writeOverrides(&b, overrides, times)
	writeReleases(&b, releases)
	writeStarts(&b, starts.All())
	writeLoop(&b, loop.All())
	writeBench(&b, bench.All())
	writeHosts(&b, hosts.All())
	writeChecks(&b, recipes, checks)
	writeKills(&b, kills.All())
	writePeers(&b, peers.All())
	writeSuite(&b, suite.All())
	writePowerLosses(&b, losses.All())
	writeKilledDeeds(&b, killed.All())
	writeServices(&b, services.All())
	if err := writeVerdicts(&b, verdicts.All()); err != nil {
		return "", err
	}
	writeAudits(&b, audits.All())
	if err := writeRegistry(&b, results); err != nil {
		return "", err
	}
	if err := writeService(&b, results); err != nil {
		return "", err
	}
	writeClients(&b, clients.All())
	return b.String(), nil
}

// writeChecks tells which recipes give the same bits again, and where those are not the
// bits of the catalogue's own builds.
func writeChecks(b *strings.Builder, recipes *recorded.Book[recorded.Recipe], book *recorded.Book[recorded.Check]) {
	b.WriteString(`
## Built twice

` + "`make checks`" + ` builds each recipe a second time with ` + "`ampoule build --check`" + `: from nothing but its inputs, in another store, with
another number of jobs, and in sandboxes with another host name, user, time zone, locale and order of files.

| recipe | result | second build | digest | day |
|---|---|--:|---|---|
`)
	for _, name := range catalogue.Names() {
		c, ok := book.Get(name)
		switch {
		case !ok:
			row(b, code(name), "not measured", none, none, none)
		case c.Passed:
			same := "the same digest"
			if r, ok := recipes.Get(name); ok && r.Digest != "" && r.Digest != c.Digest {
				same += ", which the catalogue's build does not have"
			}
			row(b, code(name), same, c.Spelled(duration(c.Seconds)), code(c.Digest), built(name, c.Of, c.When))
		default:
			row(b, code(name), strings.Join(append([]string{result(c.Outcome)}, c.Differences...), "; "), c.Spelled(duration(c.Seconds)), code(c.Digest), built(name, c.Of, c.When))
		}
	}
}

// built is the day on which a recipe of the catalogue was built, and says whether that was another recipe than what ships.
func built(name, of, when string) string {
	if now, err := recorded.RecipeHash(name); err != nil || of == now {
		return when
	}
	return when + ", before the recipe changed"
}

// writeServices tells what changes of what services share took.
func writeServices(b *strings.Builder, rollouts []recorded.Rollout) {
	if len(rollouts) == 0 {
		return
	}
	b.WriteString(`
## Many services

Services of one repository, which extend one file and want different subsets of the same distributions. ` + "`make services`" + ` changes what
they share, and locks and builds all. The store has no wheel of them at the beginning.

| change | services | lines edited | commands | locking | building | of both, CPython | interpreters compiled | wheels compiled | CPython | libssl | day |
|---|--:|--:|--:|--:|--:|--:|--:|--:|---|---|---|
`)
	for _, r := range rollouts {
		row(b, r.Name, fmt.Sprint(r.Services), fmt.Sprint(r.Edits), fmt.Sprint(r.Commands), r.Spelled(duration(r.LockSeconds)), r.Spelled(duration(r.BuildSeconds)),
			r.Spelled(duration(r.InterpreterSeconds)), fmt.Sprint(r.Interpreters), fmt.Sprint(r.Wheels), r.Python, r.Libssl, r.When)
	}
}

// writeKills sums up the kills by what was going on.
func writeKills(b *strings.Builder, kills []recorded.Kill) {
	if len(kills) == 0 {
		return
	}
	b.WriteString(`
## Killed

Builds of the ` + "`quickstart`" + ` recipe that were killed by ` + "`kill -9`" + ` at random moments, by ` + "`measure kills`" + `. The build after each has to
give the undisturbed digest, and to leave no container, temporary file or partial blob. *interpreter* starts with an empty
store that has its inputs and its toolchain, *stored* with one that has the interpreter, too.

| kind | killed during | builds | same digest, nothing left |
|---|---|--:|--:|
`)
	type group struct{ kind, during string }
	total, good := map[group]int{}, map[group]int{}
	for _, k := range kills {
		kind, _, _ := strings.Cut(k.Name, "-")
		stage, _, _ := strings.Cut(k.During, " ")
		if k.During == "the start" {
			stage = k.During
		}
		g := group{kind, stage}
		total[g]++
		if k.Passed {
			good[g]++
		}
	}
	groups := slices.SortedFunc(maps.Keys(total), func(x, y group) int {
		return cmp.Or(cmp.Compare(x.kind, y.kind), cmp.Compare(x.during, y.during))
	})
	all, passed := 0, 0
	for _, g := range groups {
		row(b, g.kind, g.during, fmt.Sprint(total[g]), fmt.Sprint(good[g]))
		all, passed = all+total[g], passed+good[g]
	}
	row(b, "all", "", fmt.Sprint(all), fmt.Sprint(passed))
	for _, k := range kills {
		if !k.Passed {
			fmt.Fprintf(b, "\n%s, killed after %.1f s during %s: %s %s\n", code(k.Name), k.AfterSeconds, k.During, k.Error, strings.Join(k.Left, ", "))
		}
	}
}

// writePowerLosses tells what came of losses of power.
func writePowerLosses(b *strings.Builder, losses []recorded.PowerLoss) {
	if len(losses) == 0 {
		return
	}
	b.WriteString(`
## Without power

What writes to the store's registry, to a layout, to a channel or below a host's root, while a machine loses its power: ` + "`make powerloss`" + ` replays recorded calls up to a
moment between two of them, and drops what was not synced ([0095](decisions/0095-power-loss.md)). What was there before has to be whole, what is
new whole or not there, and the same has to end well when it is done again.

| what is done | calls | losses of power | something was gone, or there by halves | day |
|---|--:|--:|--:|---|
`)
	for _, l := range losses {
		row(b, l.Name, fmt.Sprint(l.Calls), fmt.Sprint(l.Losses), fmt.Sprint(l.Failed), l.When)
	}
}

// writeKilledDeeds tells what came of processes that were killed in deeds of channels, hosts and agents.
func writeKilledDeeds(b *strings.Builder, killed []recorded.PowerLoss) {
	if len(killed) == 0 {
		return
	}
	b.WriteString(`
## Channels, hosts and agents killed

Processes that were killed by ` + "`kill -9`" + ` at moments over the whole of each deed, by ` + "`make kills`" + `. The state before has to be
there, or the one after, whole, and the same has to end well when it is done again. An agent has to be followed by one that finishes what it
began, or goes back.

| what is done | kills | something was gone, or there by halves | day |
|---|--:|--:|---|
`)
	for _, k := range killed {
		row(b, k.Name, fmt.Sprint(k.Kills), fmt.Sprint(k.Failed), k.When)
	}
}

func writeRecipes(b *strings.Builder, book *recorded.Book[recorded.Recipe]) {
	b.WriteString(`
## Recipes

*lock* and *build* are wall times; of them, *interpreter* was spent on compiling CPython, which a store does
once for all recipes with the same one. *wheels* counts the sdists that were compiled, those that only building others
takes too; in brackets, how many of them the store had. A lock time of ` + none + ` means that the lock that ships was built.

| recipe | what it is for | result | lock | build | interpreter | wheels | cores | day |
|---|---|---|--:|--:|--:|--:|--:|---|
`)
	for _, name := range catalogue.Names() {
		r, ok := book.Get(name)
		if !ok {
			row(b, code(name), catalogue.Summary(name), "not measured", none, none, none, none, none, none)
			continue
		}
		wheels := fmt.Sprint(r.Wheels)
		if r.Reused > 0 {
			wheels = fmt.Sprintf("%d (%d)", r.Wheels, r.Reused)
		}
		build := duration(r.BuildSeconds)
		if r.Published {
			build = "published before"
		}
		row(b, code(name), catalogue.Summary(name), result(r.Outcome), r.Spelled(duration(r.LockSeconds)), r.Spelled(build),
			r.Spelled(duration(r.InterpreterSeconds)), wheels, fmt.Sprint(r.Cores), built(name, r.Of, r.When))
	}
}

func writeSizes(b *strings.Builder, recipes []recorded.Recipe) {
	b.WriteString(`
### Sizes

*tree* is everything that is installed, *layers* what is transferred of it, compressed; the base is in neither. *own* is what the
requirements take of the tree: their files, and the shared libraries that are carried for them. *published* is what the same
versions take when pip installs their published wheels for the same CPython and glibc (` + "`pip install --only-binary :all: --target`" + `), which
carry such libraries too. Base and interpreter are the same on both sides and left out, and so is bytecode.
Where a requirement has no published wheel it is named, and both sides of the ratio are without it.

| recipe | tree | layers | own | published | own : published | without a published wheel | digest |
|---|--:|--:|--:|--:|--:|---|---|
`)
	for _, r := range recipes {
		if r.Tree == 0 {
			continue
		}
		ratio := none
		if r.Wheels > 0 && r.Beside > 0 {
			ratio = fmt.Sprintf("%.2f", float64(r.OwnBeside)/float64(r.Beside))
		}
		row(b, code(r.Name), size(r.Tree), size(r.Layers), size(r.Own), size(r.Beside), ratio,
			strings.Join(r.Unpublished, ", "), code(r.Digest))
	}
}

// wheelTimes spells what compiling each distribution took, by NAME==VERSION: in the first
// result that has it, since later ones found it in the store.
func wheelTimes(built []recorded.Recipe, packages ...[]recorded.Package) map[string]string {
	times := map[string]string{}
	add := func(o recorded.Outcome, compiled recorded.Compiled) {
		for dist, seconds := range compiled {
			if times[dist] == "" {
				times[dist] = o.Spelled(duration(seconds))
			}
		}
	}
	for _, r := range built {
		add(r.Outcome, r.Compiled)
	}
	for _, p := range slices.Concat(packages...) {
		add(p.Outcome, p.Compiled)
	}
	return times
}

func writePackages(b *strings.Builder, book *recorded.Book[recorded.Package], times map[string]string) {
	names := trials.PackageNames()
	fmt.Fprintf(b, `
## Packages

Each is the only requirement of a recipe that says nothing else of it, for CPython 3.13.5 on Debian 12; what it takes beside what its sdist
states comes from the overrides that ship with Ampoule. The gate imports it. **%d of %d pass.** The times are with a store
that all share: what one had compiled, such as the interpreter, the next one found there. *wheel* is what compiling the
package itself took, here or in the recipe or package that had compiled it before.

`, passed(names, book), len(names))
	writeDistributions(b, names, book, times)
}

func writeOverrides(b *strings.Builder, book *recorded.Book[recorded.Package], times map[string]string) {
	names := trials.OverrideNames()
	fmt.Fprintf(b, `
## Overrides

The other distributions for which an override ships, tried in the same way by `+"`make overrides`"+`, a program that embeds Python with an interpreter that has a libpython. **%d of %d pass.** One that
was not measured is knowledge that nobody has tried here yet.

`, passed(names, book), len(names))
	writeDistributions(b, names, book, times)
}

func passed(names []string, book *recorded.Book[recorded.Package]) int {
	n := 0
	for _, name := range names {
		if p, ok := book.Get(name); ok && p.Passed {
			n++
		}
	}
	return n
}

func writeDistributions(b *strings.Builder, names []string, book *recorded.Book[recorded.Package], times map[string]string) {
	b.WriteString(`| package | version | result | lock | build | wheel | overrides that applied |
|---|---|---|--:|--:|--:|---|
`)
	for _, name := range names {
		p, ok := book.Get(name)
		if !ok {
			row(b, code(name), none, "not measured", none, none, none, none)
			continue
		}
		row(b, code(name), or(p.Version), result(p.Outcome), p.Spelled(duration(p.LockSeconds)), p.Spelled(duration(p.BuildSeconds)),
			or(times[packaging.NormalName(name)+"=="+p.Version]), or(strings.Join(p.Overrides, "; ")))
	}
}

func writeLoop(b *strings.Builder, steps []recorded.Step) {
	b.WriteString(`
## The loop

One requirement is added to the ` + "`web`" + ` recipe, which was built before: ` + "`ampoule lock` and `ampoule build`" + ` until its tests
have passed inside the new artifact and the digest is published. *compile* is the time in which the code of the new sdist, and of
what only it needs, ran: it was asked for its build requirements (PEP 517) and compiled. *overhead* is the rest.

| added | requirement | lock | build | compile | overhead | limit | holds | cores | day |
|---|---|--:|--:|--:|--:|--:|---|--:|---|
`)
	for _, s := range steps {
		row(b, s.Kind, code(s.Requirement), duration(s.LockSeconds), duration(s.BuildSeconds), duration(s.CompileSeconds),
			duration(s.Overhead()), duration(s.LimitSeconds), yes(s.Holds()), fmt.Sprint(s.Cores), s.When)
	}
}

func writeBench(b *strings.Builder, figures []recorded.Figure) {
	b.WriteString(`
## Beside docker build

The ` + "`web`" + ` recipe from an empty store, beside the same work by a hand-written Dockerfile on the same machine in the same run: the same
Debian packages, CPython configured alike in a layer of its own, then one ` + "`pip install --no-binary :all:`" + ` of the same
versions. *build* and *rebuild* are Ampoule's time divided by docker build's; Ampoule's has the sealing, the gate and the publication in it too.
*empty store, filled cache* is a machine that has nothing, and a registry with what another machine made (` + "`measure cached`" + `): Ampoule reads its
[cache](cache.md), docker build the layers of an image (` + "`--cache-from`" + `). Ampoule's time has sealing, gate and publication in it; docker's is a download. Where
the artifact itself is in the registry, Ampoule finds it by its key, and does none of this.
*gate and publication* is what gating and publishing the ` + "`quickstart`" + ` recipe takes, divided by what the program of an earlier commit takes in the
same run (` + "`measure gate`" + `). pip is told to take no published wheel, so it also compiles what only building takes, for each wheel anew; Ampoule takes of that
what is pure as it is published, and compiles the rest once. Ampoule builds wheels at the same time, pip one after another.
*sdists* (` + "`measure sdists`" + `) is the time in which Ampoule makes the wheels of that recipe's sdists, in sandboxes that are sealed, divided by that of
` + "`pip wheel`" + `, which compiles them one after another, with the same interpreter, the same toolchain and everything downloaded before.

| figure | value | limit | holds | of | cores | day |
|---|--:|--:|---|---|--:|---|
`)
	writeFigures(b, figures)
}

func writeHosts(b *strings.Builder, figures []recorded.Figure) {
	b.WriteString(`
## Hosts

An artifact of about a hundred distributions is [installed](hosts.md), then one of which one distribution has another version
(` + "`measure hosts`" + `). Beside it ` + "`tar xzf`" + ` unpacks the same layers on the same file system, and ` + "`docker pull`" + ` pulls the same artifact from the same
registry, in turns. Before each the kernel's caches are dropped, so that the program itself is read from the disk; each ends with ` + "`sync`" + `. The
time of Ampoule is that of the whole process, with verifying, the look at the machine and the switch in it. Ratios are of medians of one run.
`)
	if len(figures) == 0 {
		b.WriteString("\nNothing is recorded yet.\n")
		return
	}
	b.WriteString(`
| figure | value | limit | holds | of | cores | day |
|---|--:|--:|---|---|--:|---|
`)
	writeFigures(b, figures)
}

func writeFigures(b *strings.Builder, figures []recorded.Figure) {
	for _, f := range figures {
		row(b, f.Name, Value(f.Value, f.Unit), Value(f.Limit, f.Unit), yes(f.Holds()), f.Of, fmt.Sprint(f.Cores), f.When)
	}
}

// writeAudits tells what auditing wheels takes.
func writeAudits(b *strings.Builder, figures []recorded.Figure) {
	if len(figures) == 0 {
		return
	}
	b.WriteString(`
## Beside auditwheel

Published wheels under 1,000 names, audited at once and against an interpreter, beside ` + "`auditwheel show`" + ` on each of them in the same
run. Nothing is remembered between files. Most of an audit's time goes into unpacking and hashing every member, which RECORD
asks for.

| figure | value | limit | holds | of | cores | day |
|---|--:|--:|---|---|--:|---|
`)
	writeFigures(b, figures)
}

// writeClients tells what programs of others do with what Ampoule publishes.
func writeClients(b *strings.Builder, clients []recorded.Client) {
	if len(clients) == 0 {
		return
	}
	b.WriteString(`
## Clients

An artifact of the ` + "`quickstart`" + ` recipe with a dependency group, both signed, and what programs of others do with it (` + "`make clients`" + `):
in the store's registry as ` + "`ampoule registry serve`" + ` serves it, which has the referrers API, and in Debian's ` + "`docker-registry`" + `, which
has not, and to which ` + "`ampoule copy`" + ` has brought it. Digests that are the same are the published ones. The third one is served by ` + "`ampoule registry serve`" + `,
too: it has nothing at first, and clients log in with a token and push to it.

| client | version | does | registry | result | found | day |
|---|---|---|---|---|---|---|
`)
	for _, c := range clients {
		row(b, c.Client, c.Version, c.Does, c.Registry, result(c.Outcome), or(c.Found), c.When)
	}
}

// row writes a line of a table. What a program said must not end a cell or a line.
func row(b *strings.Builder, cells ...string) {
	for _, c := range cells {
		c = strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(c)
		b.WriteString("| " + c + " ")
	}
	b.WriteString("|\n")
}

func code(s string) string {
	if s == "" {
		return none
	}
	return "`" + strings.ReplaceAll(s, "`", "'") + "`"
}

func or(s string) string {
	if s == "" {
		return none
	}
	return s
}

func yes(holds bool) string {
	if holds {
		return "yes"
	}
	return "**no**"
}

// maxError is how many characters of an error a cell has.
const maxError = 200

// result says how it ended, and what was wrong if something was.
func result(o recorded.Outcome) string {
	text := "passed"
	if !o.Passed {
		text = "**failed**"
	}
	if o.Error == "" {
		return text
	}
	said := []rune(o.Error)
	if len(said) > maxError {
		said = append(said[:maxError], '…')
	}
	return fmt.Sprintf("%s, %s: %s", text, o.Stage, code(string(said)))
}

// duration shows seconds as people read them.
func duration(s float64) string {
	if s == 0 {
		return none
	}
	if s < 60 {
		return fmt.Sprintf("%.1f s", s)
	}
	d := time.Duration(s * float64(time.Second)).Round(time.Second)
	return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
}

// size shows bytes as MiB.
func size(n int64) string {
	if n == 0 {
		return none
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// Value shows a figure with its unit.
func Value(x float64, unit string) string {
	text := strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", x), "0"), ".")
	if unit == "" {
		return text
	}
	return text + " " + unit
}
