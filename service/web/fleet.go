package web

import (
	"net/http"
	"strings"

	"ampoule/artifact"
)

// HostsPage is what the list of hosts shows.
type HostsPage struct {
	Hosts []Host
	// Counts has how many hosts are in each state that there is.
	Counts []StateCount
}

// StateCount is how many are in a state.
type StateCount struct {
	State string
	Count int
}

// repositoryOf is the repository of REPOSITORY:CHANNEL.
func repositoryOf(channel string) string {
	if i := strings.LastIndexByte(channel, ':'); i >= 0 {
		return channel[:i]
	}
	return channel
}

func (p *Pages) hostsPage(e *exchange) error {
	all, err := p.Fleet.Hosts(e.Context())
	if err != nil {
		return err
	}
	body := HostsPage{}
	counts := map[HostState]int{}
	for _, h := range all {
		if e.who.May(Read, repositoryOf(h.Channel), "") {
			body.Hosts = append(body.Hosts, h)
			counts[h.State]++
		}
	}
	for _, s := range []HostState{HostFailed, HostFellBack, HostSilent, HostStale, HostBehind, HostWatching, HostCurrent} {
		if counts[s] > 0 {
			body.Counts = append(body.Counts, StateCount{string(s), counts[s]})
		}
	}
	return e.render(http.StatusOK, "hosts", "hosts", body)
}

// WorkersPage is what the list of workers shows.
type WorkersPage struct{ Workers []Worker }

func (p *Pages) workersPage(e *exchange) error {
	all, err := p.Fleet.Workers(e.Context())
	if err != nil {
		return err
	}
	return e.render(http.StatusOK, "workers", "workers", WorkersPage{all})
}

// RecipesPage is what the list of recipes shows.
type RecipesPage struct{ Recipes []Recipe }

func (p *Pages) recipesPage(e *exchange) error {
	all, err := p.Recipes.Recipes(e.Context())
	if err != nil {
		return err
	}
	body := RecipesPage{}
	for _, r := range all {
		if e.who.May(Read, r.Name, "") {
			body.Recipes = append(body.Recipes, r)
		}
	}
	return e.render(http.StatusOK, "recipes", "recipes", body)
}

// OneRecipe is what the page of a recipe shows.
type OneRecipe struct {
	Recipe
	Builds    []Build
	Artifacts []ArtifactSummary
}

func (p *Pages) recipePage(e *exchange) error {
	name := e.PathValue("name")
	if !artifact.IsRepository(name) {
		return missing("a recipe " + name)
	}
	if err := e.may(Read, name, ""); err != nil {
		return err
	}
	r, err := p.Recipes.Recipe(e.Context(), name)
	if err != nil {
		return err
	}
	body := OneRecipe{Recipe: r}
	page, err := p.Builds.Builds(e.Context(), Filter{Recipe: name, Limit: 10})
	if err != nil {
		return err
	}
	body.Builds = page.Builds
	if body.Artifacts, err = p.Artifacts.Artifacts(e.Context(), name); err != nil {
		return err
	}
	return e.render(http.StatusOK, "recipe", "recipes", body)
}
