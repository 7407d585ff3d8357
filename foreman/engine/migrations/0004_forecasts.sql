-- The gate: what models took when they were loaded beside what was expected, and jobs that do not heed it.
ALTER TABLE jobs ADD COLUMN override TEXT CHECK (override = 'gate');  -- NULL: held and refused like any other

CREATE TABLE forecasts (
  n INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  load_key TEXT NOT NULL,
  basis TEXT CHECK (basis IN ('last', 'estimate')),  -- NULL: nothing was expected
  expected INTEGER,
  size INTEGER NOT NULL,
  size_vram INTEGER NOT NULL,
  context INTEGER,
  automatic INTEGER,                      -- the context that is given where none is asked for, if this load shows it
  CHECK ((basis IS NULL) = (expected IS NULL))
) STRICT;
CREATE INDEX forecasts_key ON forecasts (load_key, n);
