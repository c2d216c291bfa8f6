"""What people order: resolve, approve, undo, prune, adopt, compare, recreate, repair, merge by hand.

Each command works on one snapshot of the repository, under its lease, and writes through the controller. It prints
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metasync.engine.commands.adopt import Adopter
    from metasync.engine.commands.approve import Approver
    from metasync.engine.commands.compare import Comparer
    from metasync.engine.commands.merge_by_hand import Merger
    from metasync.engine.commands.prune import Pruner
    from metasync.engine.commands.recreate import Recreator
    from metasync.engine.commands.repair import Repairer
    from metasync.engine.commands.resolve import Resolver
    from metasync.engine.commands.undo import Undoer


@dataclass(frozen=True)
class Commands:
    """One of each."""

    adopter: Adopter
    approver: Approver
    comparer: Comparer
    merger: Merger
    pruner: Pruner
    recreator: Recreator
    repairer: Repairer
    resolver: Resolver
    undoer: Undoer
