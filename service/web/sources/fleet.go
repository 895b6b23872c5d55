package sources

import (
	"context"

	"ampoule/service/builds"
	"ampoule/service/web"
)

// Fleet is who builds, by the queue, and who runs what was built, by the hosts' reports.
type Fleet struct {
	Queue interface {
		Workers(ctx context.Context) ([]builds.Worker, error)
	}
	// Reports gives the hosts by what they have reported; nil where the service has no reports.
	Reports func(ctx context.Context) ([]web.Host, error)
}

// Hosts lists hosts.
func (f *Fleet) Hosts(ctx context.Context) ([]web.Host, error) {
	if f.Reports == nil {
		return nil, nil
	}
	return f.Reports(ctx)
}

// Workers lists workers.
func (f *Fleet) Workers(ctx context.Context) ([]web.Worker, error) {
	all, err := f.Queue.Workers(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]web.Worker, 0, len(all))
	for _, w := range all {
		list = append(list, web.Worker{
			Name: w.Name, Host: w.Host, Platform: w.Platform, Version: w.Version, Labels: w.Labels, State: workerState(w),
			Builds: w.Builds, Slots: w.Slots, Started: w.Begun, Heartbeat: w.Seen,
		})
	}
	return list, nil
}

func workerState(w builds.Worker) web.WorkerState {
	switch {
	case !w.Alive:
		return web.WorkerLost
	case w.Draining:
		return web.WorkerDraining
	case len(w.Builds) > 0:
		return web.WorkerBusy
	}
	return web.WorkerIdle
}
