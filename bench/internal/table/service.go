package table

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"

	"ampoule/bench/internal/recorded"
)

// writeService tells what the build service does under load, how its queue grows, and what came of
// rounds in which its processes were killed.
func writeService(b *strings.Builder, results string) error {
	loads, err := recorded.Open[recorded.Load](filepath.Join(results, recorded.LoadFile))
	if err != nil {
		return err
	}
	growth, err := recorded.Open[recorded.Growth](filepath.Join(results, recorded.GrowthFile))
	if err != nil {
		return err
	}
	soak, err := recorded.Open[recorded.Soak](filepath.Join(results, recorded.SoakFile))
	if err != nil {
		return err
	}
	writeLoads(b, loads.All())
	writeGrowth(b, growth.All())
	writeSoak(b, soak.All())
	return nil
}

// Load is a line about one load.
func Load(l recorded.Load) string {
	word := "holds"
	if !l.Passed {
		word = "DOES NOT HOLD"
	}
	return fmt.Sprintf("%-24s %s  (%s; %d MiB, service %.1f s, loader %.1f s)", l.Name, word, l.Found, l.PeakMiB, l.ServerSeconds, l.LoaderSeconds)
}

func writeLoads(b *strings.Builder, loads []recorded.Load) {
	if len(loads) == 0 {
		return
	}
	b.WriteString(`
## The build service under load

` + "`make load`" + ` loads ` + "`ampoule serve`" + ` on loopback: identical submissions of a recipe with its lock, all at once; followers of the log of the
build that comes of them, from its beginning to its end; and the published key, as often as it is answered. vegeta sends submissions and
keys. The loader's part of the processors is that of whoever sends, on the same machine. PostgreSQL is Debian's, without fsync.

| database | load | found | holds | memory | service's CPU | loader's CPU | cores | day |
|---|---|---|---|--:|--:|--:|--:|---|
`)
	for _, l := range loads {
		holds := "yes"
		if !l.Passed {
			holds = "**no**"
		}
		if l.Shared {
			holds += ", on a machine with other work"
		}
		row(b, l.Database, fmt.Sprintf("%d %s", l.Count, l.What), l.Found, holds, fmt.Sprintf("%d MiB", l.PeakMiB),
			duration(l.ServerSeconds), duration(l.LoaderSeconds), fmt.Sprint(l.Cores), l.When)
	}
}

func writeGrowth(b *strings.Builder, all []recorded.Growth) {
	if len(all) == 0 {
		return
	}
	b.WriteString(`
## Growth of the build service

` + "`make growth`" + ` plays builds through the real queue on PostgreSQL, with fsync: workers that lease, prolong, tell, publish and end them, and build
nothing. *A day* is how long 100,000 builds take at that rate. [scale.md](scale.md) says what follows.

| builds before | played | workers | recipes | builds per second | a day | database | most of the server's time | day |
|--:|--:|--:|--:|--:|--:|--:|---|---|
`)
	for _, g := range all {
		var most []string
		for _, q := range g.Queries[:min(3, len(g.Queries))] {
			most = append(most, fmt.Sprintf("%s (%.0f %%, %.2f ms)", code(q.Text), q.Share*100, q.MeanMillis))
		}
		rate := fmt.Sprintf("%.0f", g.PerSecond)
		if g.Shared {
			rate = "≥ " + rate
		}
		row(b, fmt.Sprint(g.Before), fmt.Sprint(g.Builds), fmt.Sprint(g.Workers), fmt.Sprint(g.Recipes), rate, duration(100_000/max(g.PerSecond, 1)),
			size(g.DatabaseBytes), cmp.Or(strings.Join(most, "; "), none), g.When)
	}
}

func writeSoak(b *strings.Builder, rounds []recorded.Soak) {
	if len(rounds) == 0 {
		return
	}
	b.WriteString(`
## The build service while its processes are killed

` + "`make soak`" + ` has two API processes and three workers, which share a store, build on one PostgreSQL and one registry, while one of them
is killed or frozen past its lease every few seconds, and PostgreSQL and the registry are restarted. Each build must end once, with the
undisturbed digest; a checker reads all that happened.

| rounds | builds | leases lost | killed | frozen | PostgreSQL and registry restarted | faults | took | day |
|--:|--:|--:|--:|--:|--:|---|--:|---|
`)
	var sum recorded.Soak
	for _, r := range rounds {
		sum.Builds, sum.Lost, sum.Seconds = sum.Builds+r.Builds, sum.Lost+r.Lost, sum.Seconds+r.Seconds
		sum.Killed, sum.Frozen, sum.Restarted = sum.Killed+r.Killed, sum.Frozen+r.Frozen, sum.Restarted+r.Restarted
		sum.Faults, sum.When = append(sum.Faults, r.Faults...), max(sum.When, r.When)
	}
	row(b, fmt.Sprint(len(rounds)), fmt.Sprint(sum.Builds), fmt.Sprint(sum.Lost), fmt.Sprint(sum.Killed), fmt.Sprint(sum.Frozen), fmt.Sprint(sum.Restarted),
		cmp.Or(strings.Join(sum.Faults, "; "), "none"), duration(sum.Seconds), sum.When)
}
