package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"

	"ampoule/faults"
)

// buildsShown is how many builds a page has.
const buildsShown = 30

// BuildsPage is what the list of builds shows.
type BuildsPage struct {
	Filter Filter
	States []State
	Builds []Build
	// Next and Live are addresses: of the next page, and of what changes on this one. Live is
	// empty where nothing does.
	Next, Live string
}

// Filtered reports whether the list has not all builds.
func (b BuildsPage) Filtered() bool {
	return b.Filter.State != "" || b.Filter.Recipe != "" || b.Filter.Caller != "" || b.Filter.Before != ""
}

func (p *Pages) buildsPage(e *exchange) error {
	body, err := p.listBuilds(e)
	if err != nil {
		return err
	}
	return e.render(http.StatusOK, "builds", "builds", body)
}

func (p *Pages) listBuilds(e *exchange) (BuildsPage, error) {
	q := e.URL.Query()
	f := Filter{State: State(q.Get("state")), Recipe: q.Get("recipe"), Caller: q.Get("caller"), Before: q.Get("before"), Limit: buildsShown}
	if f.State != "" && !slices.Contains(States(), f.State) {
		return BuildsPage{}, faults.New(faults.Usage, "", "%q is no state of a build", f.State)
	}
	page, err := p.Builds.Builds(e.Context(), f)
	if err != nil {
		return BuildsPage{}, err
	}
	body := BuildsPage{Filter: f, States: States()}
	for _, b := range page.Builds {
		if e.who.May(Read, b.Recipe, "") {
			body.Builds = append(body.Builds, b)
		}
	}
	params := url.Values{}
	for name, value := range map[string]string{"state": string(f.State), "recipe": f.Recipe, "caller": f.Caller} {
		if value != "" {
			params.Set(name, value)
		}
	}
	if f.Before == "" {
		body.Live = "/builds/events?" + params.Encode()
	}
	if page.Next != "" {
		params.Set("before", page.Next)
		body.Next = "/builds?" + params.Encode()
	}
	return body, nil
}

func (p *Pages) buildsEvents(e *exchange) error {
	return e.live(p.Builds.Watch(e.Context(), ""), func() (string, bool, error) {
		body, err := p.listBuilds(e)
		if err != nil {
			return "", false, err
		}
		text, err := e.part("builds", "rows", body)
		return text, false, err
	})
}

// OneBuild is what the page of one build shows.
type OneBuild struct {
	Build
	// Bars has where each step stands in the time that the build took.
	Bars []Bar
	// MayCancel and MayRetry say what the visitor may do.
	MayCancel, MayRetry bool
	Live                string
}

// Bar is a step on the timeline: where it begins and how long it is, in thousandths of the whole.
type Bar struct {
	Step
	From, Width int64
}

// build finds the build of an address that the visitor may read.
func (p *Pages) build(e *exchange) (Build, error) {
	b, err := p.Builds.Build(e.Context(), e.PathValue("id"))
	if err != nil {
		return b, err
	}
	return b, e.may(Read, b.Recipe, "")
}

func (p *Pages) buildPage(e *exchange) error {
	body, err := p.oneBuild(e)
	if err != nil {
		return err
	}
	return e.render(http.StatusOK, "build", "builds", body)
}

func (p *Pages) oneBuild(e *exchange) (OneBuild, error) {
	b, err := p.build(e)
	if err != nil {
		return OneBuild{}, err
	}
	body := OneBuild{Build: b, Bars: p.bars(b)}
	may := e.who.May(Submit, b.Recipe, "")
	body.MayCancel = may && !b.State.Terminal()
	body.MayRetry = may && (b.State == Failed || b.State == Cancelled)
	if !b.State.Terminal() {
		body.Live = linkPath("builds", b.ID, "events")
	}
	return body, nil
}

// bars lays the steps of a build on its time.
func (p *Pages) bars(b Build) []Bar {
	end := b.Finished
	if end.IsZero() {
		end = p.Now()
	}
	begin := b.Started
	if len(b.Steps) > 0 && (begin.IsZero() || b.Steps[0].Started.Before(begin)) {
		begin = b.Steps[0].Started
	}
	whole := max(1, end.Sub(begin).Milliseconds())
	bars := make([]Bar, len(b.Steps))
	for i, s := range b.Steps {
		last := s.Finished
		if last.IsZero() {
			last = end
		}
		from := min(995, max(0, s.Started.Sub(begin).Milliseconds()*1000/whole))
		width := max(5, last.Sub(s.Started).Milliseconds()*1000/whole)
		bars[i] = Bar{s, from, min(width, 1000-from)}
	}
	return bars
}

func (p *Pages) buildEvents(e *exchange) error {
	return e.live(p.Builds.Watch(e.Context(), e.PathValue("id")), func() (string, bool, error) {
		body, err := p.oneBuild(e)
		if err != nil {
			return "", false, err
		}
		text, err := e.part("build", "live", body)
		return text, body.State.Terminal(), err
	})
}

func (p *Pages) cancelBuild(e *exchange) error {
	b, err := p.build(e)
	if err == nil {
		err = e.may(Submit, b.Recipe, "")
	}
	if err == nil {
		err = p.Builds.Cancel(e.Context(), e.who, b.ID)
	}
	if err != nil {
		return err
	}
	e.redirect(linkPath("builds", b.ID) + "?done=cancelled")
	return nil
}

func (p *Pages) retryBuild(e *exchange) error {
	b, err := p.build(e)
	if err == nil {
		err = e.may(Submit, b.Recipe, "")
	}
	if err != nil {
		return err
	}
	id, err := p.Builds.Retry(e.Context(), e.who, b.ID)
	if err != nil {
		return err
	}
	e.redirect(linkPath("builds", cmp.Or(id, b.ID)) + "?done=retried")
	return nil
}
