package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ampoule/agent/program"
	"ampoule/faults"
)

// errMoved says that the channel wants something else than what is being watched.
var errMoved = errors.New("the channel has moved on")

// deploy has the host run a target, and goes back to another release, if there is one, where that
// fails. A release that fails is a [*FailedError]; what could not even be tried is another error,
// and tried again. That the channel has moved on meanwhile is errMoved.
func (a *Agent) deploy(ctx context.Context, t Target, back string) error {
	j := a.journal
	j.Deployment = &Deployment{Target: t, Back: back, Began: a.Now().UTC()}
	if err := a.enter(Installing); err != nil {
		return err
	}
	a.tell("%s: installing", t.Digest)
	release, err := a.Host.Install(ctx, a.Channel.Reference(t.Digest))
	if err != nil {
		return a.abandon(ctx, err)
	}
	if err := a.enter(Testing); err != nil {
		return err
	}
	var failed *program.Error
	err = a.smoke(ctx, release)
	switch {
	case errors.As(err, &failed):
		return a.fail(fmt.Errorf("its smoke test failed: %w", err), j.Active)
	case err != nil:
		return a.abandon(ctx, err)
	}
	if err := a.enter(Activating); err != nil {
		return err
	}
	if err := a.Host.Activate(ctx, t.Digest); err != nil {
		return a.unactivated(ctx, err)
	}
	return a.prove(ctx)
}

// enter writes down what is begun now.
func (a *Agent) enter(p Phase) error {
	a.journal.Phase = p
	return a.save()
}

// abandon ends a deployment that has changed nothing.
func (a *Agent) abandon(ctx context.Context, err error) error {
	a.journal.Phase, a.journal.Deployment = Idle, nil
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), a.save())
	}
	return errors.Join(err, a.save())
}

// unactivated looks what became of a switch that has failed.
func (a *Agent) unactivated(ctx context.Context, err error) error {
	current, asked := a.Host.Current(context.WithoutCancel(ctx))
	if asked == nil && current == a.journal.Deployment.Digest {
		return errors.Join(err, a.goBack(ctx, err)) // it was switched all the same
	}
	return a.abandon(ctx, err)
}

// fail puts the deployment's digest into quarantine and ends the deployment; what runs then is
// named.
func (a *Agent) fail(why error, runs string) error {
	j := a.journal
	d := *j.Deployment
	if j.Quarantined == nil {
		j.Quarantined = map[string]Quarantine{}
	}
	j.Quarantined[d.Digest] = Quarantine{d.Sequence, why.Error(), a.Now().UTC().Truncate(time.Second)}
	j.Phase, j.Deployment, j.Active = Idle, nil, runs
	a.say(d.Digest, "it has failed here: %v", why)
	return errors.Join(&FailedError{d.Digest, runs, why}, a.save())
}

// prove has programs use the current release, and watches them. If anything of that fails it goes
// back.
func (a *Agent) prove(ctx context.Context) error {
	j := a.journal
	d := j.Deployment
	if j.Phase != Watching {
		j.Active, j.Since = d.Digest, a.Now().UTC().Truncate(time.Second)
		a.say(d.Digest, "it is the current release")
		if err := a.enter(Restarting); err != nil {
			a.tell("%v", err) // a full disk must not keep programs from the release that is current
		}
		if err := a.restart(ctx, d.Digest); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return a.goBack(ctx, err)
		}
		if err := a.enter(Watching); err != nil {
			a.tell("%v", err)
		}
	}
	a.reportOnTheWay(ctx)
	err := a.watch(ctx)
	switch {
	case ctx.Err() != nil:
		return errors.Join(context.Cause(ctx), a.save())
	case errors.Is(err, errMoved):
		a.say(d.Digest, "it has not proven itself yet: %v", err)
		return a.abandon(ctx, err)
	case err != nil:
		return a.goBack(ctx, err)
	}
	j.Good, j.Phase, j.Deployment, j.Unrestarted = d.Digest, Idle, nil, false
	a.say(d.Digest, "it has proven itself")
	if err := a.save(); err != nil {
		return err
	}
	if err := a.Host.Collect(ctx, a.Settings.Keep); err != nil {
		a.tell("removing old releases: %v", err)
	}
	return a.report(ctx)
}

// reportOnTheWay reports a deployment that may take minutes. If it cannot, that is told, and told
// again at the end.
func (a *Agent) reportOnTheWay(ctx context.Context) {
	if err := a.report(ctx); err != nil {
		a.tell("%v", err)
	}
}

// goBack activates what ran before, has programs use it, and looks whether they are well. It goes
// on where it cannot write that down: a host must come back also with a full disk.
func (a *Agent) goBack(ctx context.Context, why error) error {
	j := a.journal
	d := j.Deployment
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	d.Why = why.Error()
	if d.Back == "" {
		return a.fail(why, d.Digest)
	}
	a.say(d.Digest, "going back to %s: %v", d.Back, why)
	if err := a.enter(Returning); err != nil {
		a.tell("%v", err)
	}
	return a.returning(ctx)
}

// returning is what is done, or done again, on the way back.
func (a *Agent) returning(ctx context.Context) error {
	j := a.journal
	d := j.Deployment
	why := errors.New(d.Why)
	if err := a.activateAgain(ctx, d.Back); err != nil {
		// The phase stays: the next step tries again.
		return faults.New(faults.Of(err), "see `ampoule host list`, and activate a release by hand", "%s has failed on this host (%v), and going back to %s: %w", d.Digest, why, d.Back, err)
	}
	j.Since = a.Now().UTC().Truncate(time.Second)
	err := a.restart(ctx, d.Back)
	if err == nil {
		err = a.comesUp(ctx)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		j.Unrestarted = true
		return a.fail(fmt.Errorf("%w; and %s, which is the current release again, does not come up: %w", why, d.Back, err), d.Back)
	}
	j.Unrestarted = false
	return a.fail(why, d.Back)
}

// activateAgain activates a release that was active before. One that is damaged or gone is
// installed again.
func (a *Agent) activateAgain(ctx context.Context, digest string) error {
	err := a.Host.Activate(ctx, digest)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if _, again := a.Host.Install(ctx, a.Channel.Reference(digest)); again != nil {
		return errors.Join(err, again)
	}
	return a.Host.Activate(ctx, digest)
}

// resume ends what a process before this one began, whenever that ended.
func (a *Agent) resume(ctx context.Context) error {
	j := a.journal
	if j.Phase == Idle {
		return nil
	}
	d := j.Deployment
	current, err := a.Host.Current(ctx)
	if err != nil {
		return err
	}
	a.say(d.Digest, "going on: it was %s", j.Phase)
	switch {
	case j.Phase == Returning:
		return a.returning(ctx)
	case current == d.Digest && (j.Phase == Activating || j.Phase == Restarting || j.Phase == Watching):
		if err := a.prove(ctx); !errors.Is(err, errMoved) {
			return err
		}
		return nil
	case j.Phase == Restarting || j.Phase == Watching:
		// Somebody, or this agent on a full disk, has gone back meanwhile.
		return a.fail(fmt.Errorf("%s is the current release, and it was not this agent that wrote why", orNothing(current)), current)
	default:
		j.Phase, j.Deployment = Idle, nil
		return a.save()
	}
}

// restart has programs use the current release.
func (a *Agent) restart(ctx context.Context, digest string) error {
	r := a.Settings.Restart
	if len(r.Command) == 0 {
		return nil
	}
	c := a.command(r.Command, r.Timeout, digest)
	c.Leave = true
	if err := a.runProgram(ctx, c); err != nil {
		return fmt.Errorf("restarting: %w", err)
	}
	return nil
}
