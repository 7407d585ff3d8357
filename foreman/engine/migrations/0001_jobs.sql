-- Times are unix milliseconds. Bodies have tables of their own, so that claims and scans stay narrow.
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of arrival; never reused
  id TEXT NOT NULL UNIQUE CHECK (length(id) = 26),
  state TEXT NOT NULL DEFAULT 'queued'
    CHECK (state IN ('queued', 'loading', 'working', 'done', 'failed', 'cancelled')),
  lane TEXT NOT NULL CHECK (lane IN ('local', 'remote')),
  model TEXT NOT NULL,
  load_key TEXT NOT NULL,
  path TEXT NOT NULL,
  mode TEXT NOT NULL CHECK (mode IN ('attached', 'detached')),
  client TEXT NOT NULL,                   -- '' for nobody: NULLs are all different to a unique index
  idem_key TEXT,
  req_hash BLOB,
  attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  max_attempts INTEGER NOT NULL CHECK (max_attempts > 0),
  crashes INTEGER NOT NULL DEFAULT 0 CHECK (crashes >= 0),
  not_before INTEGER NOT NULL DEFAULT 0 CHECK (not_before >= 0),  -- 0: ready
  owner TEXT,
  cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
  created_at INTEGER NOT NULL,
  claimed_at INTEGER,
  first_byte_at INTEGER,
  finished_at INTEGER,
  status INTEGER,
  error_code TEXT,
  error TEXT,
  stats TEXT,
  bytes INTEGER NOT NULL CHECK (bytes >= 0),  -- of the stored request and answer
  CHECK ((finished_at IS NOT NULL) = (state IN ('done', 'failed', 'cancelled'))),
  CHECK ((owner IS NOT NULL) = (state IN ('loading', 'working'))),
  CHECK (not_before = 0 OR state = 'queued'),
  CHECK (cancel_requested = 0 OR state <> 'queued')
) STRICT;

CREATE TABLE payloads (
  seq INTEGER PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
  headers TEXT NOT NULL,                  -- JSON: [[name, value], ...]
  enc INTEGER NOT NULL CHECK (enc = 0),   -- 0: as it came
  body BLOB NOT NULL
) STRICT;

CREATE TABLE results (
  seq INTEGER PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
  status INTEGER NOT NULL,
  headers TEXT NOT NULL,
  enc INTEGER NOT NULL CHECK (enc IN (0, 1)),  -- 0: as it came, 1: zlib
  complete INTEGER NOT NULL CHECK (complete IN (0, 1)),
  body BLOB NOT NULL
) STRICT;

CREATE TABLE attempts (
  seq INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  n INTEGER NOT NULL,
  owner TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at INTEGER,
  outcome TEXT CHECK (outcome IN ('done', 'failed', 'cancelled', 'requeued', 'crashed')),
  error_code TEXT,
  error TEXT,
  PRIMARY KEY (seq, n),
  CHECK ((ended_at IS NULL) = (outcome IS NULL))
) STRICT, WITHOUT ROWID;

-- A statement can use a partial index only when its own terms are these, letter by letter, and not bound values.
CREATE INDEX jobs_ready_key ON jobs (lane, load_key, seq) WHERE state = 'queued' AND not_before = 0;
CREATE INDEX jobs_ready_model ON jobs (lane, model, seq) WHERE state = 'queued' AND not_before = 0;
CREATE INDEX jobs_ready ON jobs (lane, seq) WHERE state = 'queued' AND not_before = 0;
CREATE INDEX jobs_delayed ON jobs (not_before) WHERE state = 'queued' AND not_before > 0;
CREATE INDEX jobs_finished ON jobs (finished_at, seq, bytes) WHERE finished_at IS NOT NULL;
CREATE UNIQUE INDEX jobs_idem ON jobs (client, idem_key) WHERE idem_key IS NOT NULL;
-- One job in flight in the local lane, any number in the other.
CREATE UNIQUE INDEX jobs_active ON jobs (iif(lane = 'local', 0, seq)) WHERE state IN ('loading', 'working');

-- The moves of foreman.core.job.TRANSITIONS, and no other.
CREATE TRIGGER jobs_moves BEFORE UPDATE OF state ON jobs
WHEN NEW.state <> OLD.state AND OLD.state || '>' || NEW.state NOT IN (
  'queued>loading', 'queued>cancelled', 'queued>failed',
  'loading>working', 'loading>queued', 'loading>done', 'loading>failed', 'loading>cancelled',
  'working>queued', 'working>done', 'working>failed', 'working>cancelled')
BEGIN
  SELECT RAISE(ABORT, 'a job cannot make this move');
END;
