package channel

import (
	"context"
	"fmt"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry"
)

// Target is a repository that gets the copy of a channel; [*registry.Repository] is one.
type Target interface {
	Repository
	// Put writes files under a tag, Point has a tag name what is there, both whatever it named.
	Put(ctx context.Context, tag, artifactType string, annotations map[string]string, files []artifact.File) error
	Point(ctx context.Context, tag, digest string) error
}

// Mirrored is what a copy of a channel has.
type Mirrored struct {
	// Of is the channel, To its copy: REPOSITORY:CHANNEL.
	Of string `json:"of"`
	To string `json:"to"`
	// Way is how the registry of the copy is written.
	Way registry.Way `json:"way"`
	// Digest is what the channel names, Entries the number of its entries, Before how many of them
	// were there.
	Digest  string `json:"digest"`
	Entries int    `json:"entries"`
	Before  int    `json:"before"`
	// Artifacts are the digests that are whole there, the one named last at the end.
	Artifacts []string `json:"artifacts"`
	// Tag says that the tag of the channel's name names the digest there. Tags that do not move
	// cannot.
	Tag bool `json:"tag"`
}

// Mirror has another repository have a copy of the channel: the artifacts that it has named last,
// what holds them, its log, and the tag of its name, in this order, so that the copy never says
// what is not there. It is continued where it was cut off. A copy that has an entry that this log
// has not is a [*LogError], and stays as it is.
//
// In a registry that compares nothing two of these at the same moment may leave the older log; the next
// one mends that.
func (c *Channel) Mirror(ctx context.Context, to Target, bring Copier, last int) (Mirrored, error) {
	copied := &Channel{repo: to, name: c.name, keys: c.keys, memory: c.memory, now: c.now}
	m := &mirroring{from: c, to: copied, target: to, bring: bring}
	m.done = Mirrored{Of: c.String(), To: copied.String(), Artifacts: []string{}}
	if m.done.Of == m.done.To {
		return m.done, faults.New(faults.Usage, "name another registry", "a channel is no copy of itself: %s", c)
	}
	if err := m.run(ctx, last); err != nil {
		return m.done, fmt.Errorf("copying channel %s to %s: %w", c, copied, err)
	}
	return m.done, nil
}

// mirroring is one copy on its way.
type mirroring struct {
	from, to *Channel
	target   Target
	bring    Copier
	log      *Log
	// there is the log of the copy, at what lists it.
	there []Signed
	at    head
	done  Mirrored
}

func (m *mirroring) run(ctx context.Context, last int) (err error) {
	if m.log, err = m.from.Read(ctx); err != nil {
		return err
	}
	if m.log.Digest == "" {
		_, err := m.log.Current()
		return err
	}
	m.done.Digest, m.done.Entries = m.log.Digest, len(m.log.Entries)
	if err := m.look(ctx); err != nil {
		return err
	}
	if m.done.Way, err = m.to.Way(ctx, false); err != nil {
		return err
	}
	digests := m.log.Accepted
	for _, digest := range digests[max(0, len(digests)-last):] {
		if err := m.artifact(ctx, digest); err != nil {
			return err
		}
	}
	if err := m.writeLog(ctx); err != nil {
		return err
	}
	return m.tag(ctx)
}

// look compares the log of the copy, which nobody believes, with this one.
func (m *mirroring) look(ctx context.Context) (err error) {
	if m.there, m.at, err = m.to.fetch(ctx); err != nil {
		return err
	}
	m.done.Before = len(m.there)
	for i, e := range m.there {
		if i >= len(m.log.Entries) || e.Hash != m.log.Entries[i].Hash {
			err := m.to.refuse(i+1, fmt.Errorf("it is not in the log of channel %s: this is no copy of that", m.from))
			err.hint = "find out who wrote it; if the channel is written there, copy it from there"
			return err
		}
	}
	return nil
}

// artifact copies an artifact, and holds it.
func (m *mirroring) artifact(ctx context.Context, digest string) error {
	if err := m.bring(ctx, m.from.Reference(digest), m.to.Reference(digest)); err != nil {
		return err
	}
	hold := artifact.ChannelHoldTag(m.to.name, digest)
	if err := m.point(ctx, hold, digest); err != nil {
		return fmt.Errorf("holding %s: %w", digest, err)
	}
	m.done.Artifacts = append(m.done.Artifacts, digest)
	return nil
}

// point has a tag name a digest.
func (m *mirroring) point(ctx context.Context, tag, digest string) error {
	if m.done.Way != registry.Unguarded {
		return m.to.point(ctx, tag, func() (string, error) { return digest, nil })
	}
	named, err := m.target.Named(ctx, tag)
	if err != nil || named == digest {
		return err
	}
	return m.target.Point(ctx, tag, digest)
}

// writeLog writes what the copy's log lacks.
func (m *mirroring) writeLog(ctx context.Context) error {
	if len(m.there) == len(m.log.Entries) {
		return nil
	}
	says := m.to.says(m.log)
	says[artifact.AnnotationChannelCopy] = m.from.String()
	tag := artifact.ChannelTag(m.to.name)
	switch m.done.Way {
	case registry.Unguarded:
		return m.target.Put(ctx, tag, artifact.ChannelType, says, pack(m.log.Entries))
	case registry.Conditional:
		_, err := m.target.PutIf(ctx, tag, m.at.digest, artifact.ChannelType, says, pack(m.log.Entries))
		return err
	case registry.CreateOnly:
		return m.writeNumbers(ctx, says)
	}
	return fmt.Errorf("%s is no way to write a registry", m.done.Way)
}

// writeNumbers writes a tag for each entry that the copy lacks.
func (m *mirroring) writeNumbers(ctx context.Context, says map[string]string) error {
	delete(says, artifact.AnnotationChannelNames) // it is that of the last one
	for n := len(m.there) + 1; n <= len(m.log.Entries); n++ {
		if _, err := m.target.PutIf(ctx, artifact.ChannelNumberTag(m.to.name, n), "", artifact.ChannelType, says, pack(m.log.Entries[:n])); err != nil {
			return err
		}
	}
	return nil
}

// tag has the tag of the channel's name follow, where tags move.
func (m *mirroring) tag(ctx context.Context) error {
	if m.done.Way == registry.CreateOnly {
		return nil
	}
	if err := m.point(ctx, m.to.name, m.log.Digest); err != nil {
		return fmt.Errorf("the log is there, and the tag %s does not follow: %w", m.to, err)
	}
	m.done.Tag = true
	return nil
}
