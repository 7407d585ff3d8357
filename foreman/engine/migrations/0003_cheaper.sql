-- The same jobs, cheaper to keep. An IN of more than two values in a CHECK or a trigger builds a table in memory each
-- time it is looked at, an index costs a page in the log with every commit that touches it, and so does a row.
-- Runs without foreign keys, for dropping a table deletes its rows first.
CREATE TABLE new_jobs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of arrival; never reused
  id TEXT NOT NULL UNIQUE CHECK (length(id) = 26),
  state TEXT NOT NULL DEFAULT 'queued'
    CHECK (state = 'queued' OR state = 'loading' OR state = 'working'
      OR state = 'done' OR state = 'failed' OR state = 'cancelled'),
  lane TEXT NOT NULL CHECK (lane = 'local' OR lane = 'remote'),
  model TEXT NOT NULL,
  load_key TEXT NOT NULL,                 -- the model, and '?' with the options it is loaded with
  path TEXT NOT NULL,
  mode TEXT NOT NULL CHECK (mode = 'attached' OR mode = 'detached'),
  client TEXT NOT NULL,                   -- '' for nobody: NULLs are all different to a unique index
  idem_key TEXT,
  req_hash BLOB,
  attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  max_attempts INTEGER NOT NULL CHECK (max_attempts > 0),
  tries INTEGER NOT NULL DEFAULT 0 CHECK (tries >= attempts),  -- also those that were not counted
  crashes INTEGER NOT NULL DEFAULT 0 CHECK (crashes >= 0),
  not_before INTEGER NOT NULL DEFAULT 0 CHECK (not_before >= 0),  -- 0: ready
  owner TEXT,
  cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested = 0 OR cancel_requested = 1),
  created_at INTEGER NOT NULL,
  claimed_at INTEGER,
  first_byte_at INTEGER,
  finished_at INTEGER,
  status INTEGER,
  error_code TEXT,
  error TEXT,
  stats TEXT,
  bytes INTEGER NOT NULL CHECK (bytes >= 0),  -- of the stored request and answer
  retry_of TEXT,                          -- the id of a job that may be gone
  kept INTEGER NOT NULL DEFAULT 0 CHECK (kept = 0 OR kept = 1),
  CHECK ((finished_at IS NOT NULL) = (state = 'done' OR state = 'failed' OR state = 'cancelled')),
  CHECK ((owner IS NOT NULL) = (state = 'loading' OR state = 'working')),
  CHECK (not_before = 0 OR state = 'queued'),
  CHECK (cancel_requested = 0 OR state <> 'queued')
) STRICT;
INSERT INTO new_jobs (
  seq, id, state, lane, model, load_key, path, mode, client, idem_key, req_hash, attempts, max_attempts, tries, crashes,
  not_before, owner, cancel_requested, created_at, claimed_at, first_byte_at, finished_at, status, error_code, error,
  stats, bytes, retry_of, kept)
SELECT
  seq, id, state, lane, model, load_key, path, mode, client, idem_key, req_hash, attempts, max_attempts,
  max(attempts, coalesce((SELECT max(n) FROM attempts WHERE attempts.seq = jobs.seq), 0)), crashes,
  not_before, owner, cancel_requested, created_at, claimed_at, first_byte_at, finished_at, status, error_code, error,
  stats, bytes, retry_of, kept
FROM jobs;
DELETE FROM sqlite_sequence WHERE name = 'new_jobs';
INSERT INTO sqlite_sequence (name, seq) SELECT 'new_jobs', seq FROM sqlite_sequence WHERE name = 'jobs';
DROP TABLE jobs;
ALTER TABLE new_jobs RENAME TO jobs;

-- A statement can use a partial index only when its own terms are these, letter by letter, and not bound values.
CREATE INDEX jobs_ready_key ON jobs (lane, load_key, seq) WHERE state = 'queued' AND not_before = 0;
CREATE INDEX jobs_ready_model ON jobs (lane, model, seq) WHERE state = 'queued' AND not_before = 0;
CREATE INDEX jobs_ready ON jobs (lane, seq) WHERE state = 'queued' AND not_before = 0;
CREATE INDEX jobs_delayed ON jobs (not_before) WHERE state = 'queued' AND not_before > 0;
-- The queued jobs whose requests may come again: what a start has to know of a queue, however long that is.
CREATE INDEX jobs_repeatable ON jobs (seq) WHERE state = 'queued' AND req_hash IS NOT NULL;
CREATE INDEX jobs_finished ON jobs (finished_at, seq, bytes, kept) WHERE finished_at IS NOT NULL AND kept = 0;
CREATE UNIQUE INDEX jobs_idem ON jobs (client, idem_key) WHERE idem_key IS NOT NULL;
-- One job in flight in the local lane, any number in the other.
CREATE UNIQUE INDEX jobs_active ON jobs (iif(lane = 'local', 0, seq)) WHERE state IN ('loading', 'working');

-- For lists, the newest first. All that can be asked for stands in the index, so that only rows that fit are read.
-- Only the first changes as a job moves.
CREATE INDEX jobs_by_state ON jobs (state, seq, client, model, created_at);
CREATE INDEX jobs_by_client ON jobs (client, seq, model, created_at);
CREATE INDEX jobs_by_model ON jobs (model, seq, created_at);

-- The moves of foreman.core.job.TRANSITIONS, and no other. FAIL, and before the move: with ABORT the pages of every
-- statement that fires it are copied first.
CREATE TRIGGER jobs_moves BEFORE UPDATE OF state ON jobs
WHEN NEW.state <> OLD.state AND NOT (
  OLD.state = 'queued' AND (NEW.state = 'loading' OR NEW.state = 'cancelled' OR NEW.state = 'failed')
  OR OLD.state = 'loading'
  OR OLD.state = 'working' AND NEW.state <> 'loading')
BEGIN
  SELECT RAISE(FAIL, 'a job cannot make this move');
END;

-- The last attempt at a job stands in its row; here are those after which it went on.
ALTER TABLE attempts RENAME TO earlier_attempts;
DELETE FROM earlier_attempts WHERE ended_at IS NULL;
CREATE VIEW attempts AS
SELECT seq, n, started_at, ended_at, outcome, error_code, error FROM earlier_attempts
UNION ALL SELECT seq, tries, claimed_at, finished_at, iif(finished_at IS NULL, NULL, state),
  iif(finished_at IS NULL, NULL, error_code), iif(finished_at IS NULL, NULL, error) FROM jobs
WHERE tries > (SELECT coalesce(max(n), 0) FROM earlier_attempts WHERE earlier_attempts.seq = jobs.seq);

-- Appended to, and cut now and then.
CREATE TABLE new_samples (
  n INTEGER PRIMARY KEY,                  -- the last one is never deleted, so none comes twice
  load_key TEXT NOT NULL,
  model TEXT NOT NULL,
  load_ms INTEGER,                        -- NULL: the model was loaded already
  run_ms INTEGER NOT NULL,
  output_tokens INTEGER,
  at INTEGER NOT NULL
) STRICT;
INSERT INTO new_samples (n, load_key, model, load_ms, run_ms, output_tokens, at)
SELECT n, load_key, model, load_ms, run_ms, output_tokens, at FROM samples;
DROP TABLE samples;
ALTER TABLE new_samples RENAME TO samples;
