"""`python -m tests.day` prints the table of docs/lanes.md."""

import sys

from tests.day.table import table

sys.stdout.write(table())
