// Package once makes what several builds want at the same time, in one process or in several,
// one time. It is the only place where stages look up, lock, make and record, so that all do it
// in one order:
//
//  1. Look without the lock. What is there, and whole, is taken: nobody has to wait.
//  2. Take the lock. If another build has it, tell at once that this one waits, and for whom.
//  3. Look again. Another build may have made it meanwhile.
//  4. Look into the caches of [Using]. What one of them has is recorded here.
//  5. Make it, record it, and put it into the caches.
//
// A look counts what is recorded only if all content that it names is whole. The lock ends with
// its process: when the maker dies, the next one makes it.
package once

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"time"

	"ampoule/builder/progress"
	"ampoule/store"
)

// Get returns what find finds, and reports that it was found, or has it made. The name is that
// of the lock, and of what is made: find and produce of all calls with one name give the same.
//
// What find tells the followers of the build it tells once: of the look without the lock they hear
// nothing. That making failed is not remembered: who waited tries it again. A caller whose
// context ends while it waits goes without a trace.
//
// The task is told of the waiting; it may be one that has not begun yet.
func Get[T any](
	ctx context.Context, st *store.Store, task *progress.Task, name string,
	find func(context.Context) (T, bool, error), produce func(context.Context) (T, error),
) (value T, found bool, err error) {
	if value, found, err = find(progress.Silent(ctx)); err != nil || found {
		return value, found, err
	}
	unlock, err := lock(ctx, st, task, name)
	if err != nil {
		return value, false, err
	}
	defer unlock()
	if value, found, err = find(ctx); err != nil || found {
		return value, found, err
	}
	value, err = produce(ctx)
	return value, false, err
}

// Remembered is [Get] of a value that the store has a record of, under a kind and a key. A
// record that is damaged, or of whose content something is missing or damaged, counts as none.
// What is read from a cache of [Using] is found, too; the task is told from which.
func Remembered[T any](
	ctx context.Context, st *store.Store, task *progress.Task, kind, key string, produce func(context.Context) (T, error),
) (value T, found bool, err error) {
	source := originStore
	find := func(ctx context.Context) (T, bool, error) { return look[T](ctx, st, kind, key) }
	record := func(ctx context.Context) (T, error) {
		advance := func(done, total int64) { task.Advance(done, total, progress.Bytes) }
		value, from, ok, err := fromCache[T](ctx, st, kind, key, Wanted{Advance: advance, Warn: task.Warn})
		if ok || err != nil {
			source = originCache
			task.ReadFrom(from)
			return value, err
		}
		source = originMade
		if value, err = produce(task.Within(ctx)); err != nil {
			return value, err
		}
		return value, errors.Join(st.Record(kind, key, value), send(ctx, task, kind, key, value))
	}
	value, found, err = Get(ctx, st, task, idOf(kind, key), find, record)
	if err == nil {
		useOf(ctx).count(idOf(kind, key), source)
	}
	return value, found || source == originCache, err
}

// Look is what [Remembered] finds, in the store or in a cache. It is for whoever wants to know how
// much of something has to be made, before it is made.
func Look[T any](ctx context.Context, st *store.Store, kind, key string) (value T, found bool, err error) {
	source := originStore
	value, found, err = look[T](ctx, st, kind, key)
	if err == nil && !found {
		source = originCache
		warn := func(message string) { progress.Send(ctx, progress.Event{Kind: progress.Warned, Message: message}) }
		value, _, found, err = fromCache[T](ctx, st, kind, key, Wanted{Advance: func(int64, int64) {}, Warn: warn})
	}
	if found {
		useOf(ctx).count(idOf(kind, key), source)
	}
	return value, found, err
}

// look finds what the store has.
func look[T any](ctx context.Context, st *store.Store, kind, key string) (value T, found bool, err error) {
	known, err := st.Lookup(kind, key, &value)
	if err != nil || !known {
		return value, false, err
	}
	found, err = st.Whole(ctx, store.ContentOf(value)...)
	return value, found, err
}

// lock takes a lock of the store, with a note of who this is, and tells of the waiting.
func lock(ctx context.Context, st *store.Store, task *progress.Task, name string) (unlock func(), err error) {
	waited := false
	unlock, err = st.LockNoted(ctx, name, func() []byte { return note(ctx) }, func(note []byte) {
		waited = true
		task.Wait(holder(note))
	})
	if waited {
		task.Resume()
	}
	return unlock, err
}

// note says who works under a context, as [holder] reads it.
func note(ctx context.Context) []byte {
	self := progress.Self(ctx)
	self.Process, self.Since = os.Getpid(), time.Now().UTC()
	// A machine without a name is left out.
	self.Host, _ = os.Hostname()
	text, err := json.Marshal(self)
	if err != nil {
		panic("once: marshalling a holder: " + err.Error())
	}
	return text
}

// holder reads a note. One that is none gives nobody: older programs leave none, and what
// cannot be read concerns nobody else.
func holder(note []byte) progress.Holder {
	var h progress.Holder
	if json.Unmarshal(note, &h) != nil {
		return progress.Holder{}
	}
	return h
}
