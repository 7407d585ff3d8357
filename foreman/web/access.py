"""What a route may ask of its caller: the values that stand in the column of the URL table.

`OPEN` and `ANY` are in core/access.py. Reading and changing are told apart, for what changes leaves a line in the log.
"""

from typing import Final

from foreman.core.access import Needs, Scope

INFER: Final[Needs] = frozenset({Scope.INFER})
READ: Final[Needs] = frozenset({Scope.READ})
MANAGE: Final[Needs] = frozenset({Scope.MANAGE})
ADMIN: Final[Needs] = frozenset({Scope.ADMIN})
# Every client asks what models there are before it asks one; and who has jobs may see where they stand.
EITHER: Final[Needs] = INFER | READ
STEER: Final[Needs] = MANAGE | ADMIN
