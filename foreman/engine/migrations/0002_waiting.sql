-- Work that is picked up again: jobs that repeat others, that stay when their time is over, and that are looked for.
ALTER TABLE jobs ADD COLUMN retry_of TEXT;  -- the id of a job that may be gone
ALTER TABLE jobs ADD COLUMN kept INTEGER NOT NULL DEFAULT 0 CHECK (kept IN (0, 1));

-- What is forgotten in time, and the bytes that count: kept jobs are in neither.
DROP INDEX jobs_finished;
CREATE INDEX jobs_finished ON jobs (finished_at, seq, bytes, kept) WHERE finished_at IS NOT NULL AND kept = 0;

-- For lists, the newest first. All that can be asked for stands in the index, so that only rows that fit are read.
-- Only the first changes as a job moves.
CREATE INDEX jobs_by_state ON jobs (state, seq, client, model, created_at);
CREATE INDEX jobs_by_client ON jobs (client, seq, model, created_at);
CREATE INDEX jobs_by_model ON jobs (model, seq, created_at);

CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- How long jobs took that were done, the newest of each load key.
CREATE TABLE samples (
  n INTEGER PRIMARY KEY AUTOINCREMENT,
  load_key TEXT NOT NULL,
  model TEXT NOT NULL,
  load_ms INTEGER,                        -- NULL: the model was loaded already
  run_ms INTEGER NOT NULL,
  output_tokens INTEGER,
  at INTEGER NOT NULL
) STRICT;
CREATE INDEX samples_key ON samples (load_key, n);
