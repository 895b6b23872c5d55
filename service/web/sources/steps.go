package sources

import (
	"bytes"
	"encoding/json"

	"ampoule/builder/progress"
	"ampoule/service/web"
)

// steps folds the events of a build into its steps.
type steps struct {
	// offset is how far the stream of events was read, rest what had no end yet.
	offset int64
	rest   []byte
	list   []web.Step
	at     map[task]int
}

type task struct{ stage, name string }

// maxSteps bounds how many steps are shown of a build. The largest recipes have a few hundred.
const maxSteps = 5000

// read takes what the stream has more.
func (s *steps) read(data []byte) {
	s.offset += int64(len(data))
	s.rest = append(s.rest, data...)
	for {
		i := bytes.IndexByte(s.rest, '\n')
		if i < 0 {
			return
		}
		var e progress.Event
		if json.Unmarshal(s.rest[:i], &e) == nil {
			s.take(e)
		}
		s.rest = s.rest[i+1:]
	}
}

func (s *steps) take(e progress.Event) {
	of := task{e.Stage.String(), e.Task}
	if e.Stage == progress.StageNone || e.Stage == progress.StageBuild && e.Kind != progress.Waiting {
		return // the whole way is the build itself
	}
	i, known := s.at[of]
	if e.Kind == progress.Started || !known {
		if len(s.list) >= maxSteps {
			return
		}
		if !known || e.Kind == progress.Started && !s.list[i].Finished.IsZero() {
			i = len(s.list)
			s.list = append(s.list, web.Step{Stage: of.stage, Task: of.name, State: web.StepRunning, Started: e.Time})
			if s.at == nil {
				s.at = map[task]int{}
			}
			s.at[of] = i
		}
	}
	s.list[i] = folded(s.list[i], e)
}

// folded is a step after an event.
func folded(step web.Step, e progress.Event) web.Step {
	switch e.Kind {
	case progress.Advanced:
		step.Amount, step.Total, step.Unit = e.Done, e.Total, string(e.Unit)
	case progress.Waiting:
		step.State, step.Message = web.StepWaiting, waitsFor(e.Holder)
	case progress.Resumed:
		step.State, step.Message = web.StepRunning, ""
	case progress.Done:
		step.State, step.Message, step.Finished, step.Reused, step.Cache = web.StepDone, "", e.Time, e.Reused, e.Cache
	case progress.Failed:
		step.State, step.Message, step.Finished = web.StepFailed, e.Message, e.Time
	case progress.Told, progress.Warned:
		if step.State == web.StepRunning {
			step.Message = e.Message
		}
	case progress.Started:
		// It is there.
	}
	return step
}

func waitsFor(h *progress.Holder) string {
	switch {
	case h == nil:
		return "waits"
	case h.Has != "":
		if h.Step == "" {
			return "waits for " + string(h.Has)
		}
		return "waits for " + string(h.Has) + ": " + h.Step + " has most of it"
	case h.Recipe != "":
		return "waits for a build of " + h.Recipe + ", which makes the same"
	}
	return "waits for another build, which makes the same"
}
