-- Callers take turns within a priority: a build's turn is drawn when it is queued. Builds that a
-- program of the version before queues have turn 0, and come first.
ALTER TABLE builds ADD COLUMN turn BIGINT NOT NULL DEFAULT 0;

CREATE INDEX builds_in_turn ON builds (platform, priority DESC, turn, created, id) WHERE state = 'queued';
CREATE INDEX builds_turns_of ON builds (caller, platform, priority, turn) WHERE state = 'queued';

-- Lists of one caller's builds, and of those that failed, among very many.
CREATE INDEX builds_of_caller ON builds (caller, created, id);
CREATE INDEX builds_in_state ON builds (state, created, id);
