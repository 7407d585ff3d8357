"""What jobs are called where the names that may stand there must be few.

Clients may think of any number of model names. Only those that the target has, or that a remote lists, are told by
name; of a remote's other models it is told whose they are.
"""

from collections.abc import Sequence
from typing import Final

from foreman.core.inventory import Inventory
from foreman.core.lanes import Lane
from foreman.core.slots import is_slot
from foreman.core.upkeep import work_of
from foreman.core.upstreams import Claiming, listed

OTHER: Final = "other"
SLOT: Final = "slot"


def label(lane: Lane, model: str, inventory: Inventory, upstreams: Sequence[Claiming]) -> str:
    """The model of a job, or what stands for it."""
    work = work_of(model)
    if work is not None:
        return work
    if is_slot(model):
        return SLOT
    if model in inventory.models:
        return model
    name, _, rest = model.partition("/")
    for upstream in upstreams if lane is Lane.REMOTE else ():
        if upstream.name == name:
            return model if rest in listed(upstream) else f"{name}/{OTHER}"
    return OTHER
