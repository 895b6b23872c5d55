package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/artifact"
	"ampoule/cmd/ampoule/display"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/tokens"
	"ampoule/wiring"
)

// copyAll reads the arguments of copy --all.
func (s *Session) copyAll(ctx context.Context, cmd *cobra.Command, w *wiring.Parts, args []string) error {
	pattern, to := "*", args[len(args)-1]
	if len(args) == 2 {
		pattern = args[0]
	}
	if strings.ContainsAny(pattern, "@:") {
		return &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("%q is not the name of a repository, or a pattern of names: --all copies whole repositories", pattern)}
	}
	if _, _, layout := splitLayout(to); layout {
		return &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("%s: a layout is for one artifact; the directory `registry` of the store can be copied as it is", to)}
	}
	from, err := registry.Local(w.Own)
	if err != nil {
		return err
	}
	target, err := registry.Open(to)
	if err != nil {
		return err
	}
	return CopyAll(ctx, s, w.Own, from, pattern, target)
}

// move is one thing that copy --all copies.
type move struct {
	// name is its repository, ref what it is there.
	name, ref string
	tags      []string
}

// CopyAll copies all artifacts of the store's registry, and the logs of its channels, from
// repositories whose names match a pattern to those of the same names in another registry. What
// cannot be copied is told, and the rest is copied all the same, unless the registry fails twice
// running.
func CopyAll(ctx context.Context, s *Session, l Lister, from *registry.Registry, pattern string, to *registry.Registry) error {
	moves, err := movesOf(ctx, l, from, pattern)
	if err != nil {
		return err
	}
	if len(moves) == 0 {
		return notFound(fmt.Sprintf("a repository %q in the store's registry", pattern), "`ampoule registry ls` lists what there is")
	}
	done, failed := []copied{}, []error{}
	var sent, present int
	var bytes int64
	failing := false
	for i, m := range moves {
		one, err := s.copy(ctx, located{Registry: from, ref: m.ref}, located{Registry: to, ref: m.name}, m.tags...)
		if err == nil {
			failing = false
			done, sent, present, bytes = append(done, copiedOf(one)), sent+one.Sent, present+one.Present, bytes+one.Bytes
			s.warnCopied(m.ref+": ", one)
			continue
		}
		if ctx.Err() != nil {
			return err
		}
		s.warn("%s is not copied: %v", m.ref, err)
		failed = append(failed, fmt.Errorf("%s: %w", m.ref, err))
		again := failing
		failing = faults.Of(err) == faults.Remote
		if failing && again {
			s.warn("the registry fails again and again: %d more are not tried", len(moves)-i-1)
			break
		}
	}
	s.tell("%d of %d are there: %d blobs sent (%s), %d were there", len(done), len(moves), sent, display.Size(bytes), present)
	refs := make([]string, len(done))
	for i, c := range done {
		refs[i] = c.Ref
	}
	var printed error
	if len(done) > 0 || s.Output == JSON {
		printed = s.print(strings.Join(refs, "\n"), done)
	}
	return errors.Join(printed, leftBehind(len(moves)-len(done), failed))
}

// leftBehind is an error about what was not copied; nil where all was.
func leftBehind(left int, failed []error) error {
	if left == 0 {
		return nil
	}
	kind, hint := faults.Of(errors.Join(failed...)), "the same command copies what is missing"
	if kind == faults.Refused {
		hint += "; `ampoule store verify` says what is damaged here"
	}
	return faults.New(kind, hint, "%d were not copied, the first of them %w", left, failed[0])
}

// movesOf lists what is to be copied, the logs of channels behind the artifacts that they name.
func movesOf(ctx context.Context, l Lister, from *registry.Registry, pattern string) ([]move, error) {
	all, err := l.Artifacts(ctx)
	if err != nil {
		return nil, err
	}
	var moves, logs []move
	names := map[string]bool{}
	for _, a := range all {
		if !tokens.Match(pattern, a.Name) {
			continue
		}
		if a.Digest == "" {
			return nil, faults.New(faults.Refused, "`ampoule store verify --repair` makes it anew", "the list of repository %s is damaged", a.Name)
		}
		if !names[a.Name] {
			names[a.Name] = true
			found, err := logsOf(ctx, from, a.Name)
			if err != nil {
				return nil, err
			}
			logs = append(logs, found...)
		}
		// The key's tag goes with the artifact.
		tags := slices.DeleteFunc(slices.Clone(a.Tags), artifact.IsKeyTag)
		moves = append(moves, move{a.Name, a.Name + "@" + a.Digest, tags})
	}
	return append(moves, logs...), nil
}

// logsOf lists the logs of a repository's channels.
func logsOf(ctx context.Context, from *registry.Registry, name string) ([]move, error) {
	tags, err := from.Tags(ctx, name)
	if err != nil {
		return nil, err
	}
	var logs []move
	for _, tag := range tags {
		if artifact.IsChannelTag(tag) {
			logs = append(logs, move{name, name + ":" + tag, []string{tag}})
		}
	}
	return logs, nil
}
