"""Which sessions are in use, which are idle, and which of their turns still wait.

Owns when each session was last used and how many requests of it are under way. What turns there
are, and how requests find them, is the linker's. No clock and no I/O: not thread-safe, to be used
from one event loop.
"""

from __future__ import annotations

from dataclasses import dataclass

from clawjax.linking.tree import Node, SessionRef, Tree

__all__ = ["Sessions"]


@dataclass(slots=True)
class _Use:
    last_active: float
    in_flight: int = 0


class Sessions:
    """The use of the sessions whose turns are in a tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._uses: dict[SessionRef, _Use] = {}

    def __len__(self) -> int:
        return len(self._uses)

    def counts(self) -> dict[str, int]:
        """Sessions by what is going on in them; one may be several of these."""
        return {
            "remembered": len(self._uses),
            "open": sum(bool(self.open_turns(session)) for session in self._uses),
            "in_use": sum(use.in_flight > 0 for use in self._uses.values()),
        }

    def enter(self, session: SessionRef, now: float) -> None:
        """A request of this session has begun; the session is not idle until `leave`."""
        self.touch(session, now)
        self._uses[session].in_flight += 1

    def leave(self, session: SessionRef, now: float) -> None:
        """A request of this session has ended."""
        self.touch(session, now)
        self._uses[session].in_flight -= 1
        self.tidy(session)

    def touch(self, session: SessionRef, now: float) -> None:
        """Something of this session was seen."""
        use = self._uses.setdefault(session, _Use(now))
        use.last_active = max(now, use.last_active)
        self._tree.touch(session)

    def tidy(self, session: SessionRef) -> None:
        """Forget a session that nothing is left of."""
        use = self._uses.get(session)
        if use is not None and not use.in_flight and not self._tree.session(session):
            del self._uses[session]

    def open_turns(self, session: SessionRef) -> list[Node]:
        """The turns of a session that nothing has come after."""
        return [node for node in self._tree.session(session) if node.is_open]

    def idle(self, now: float, idle_s: float) -> list[Node]:
        """Open turns of the sessions without a request for `idle_s`.

        Where the clock went back, what was last seen later than now counts as seen now: its
        session is neither closed early nor kept until the clock has caught up.
        """
        for use in self._uses.values():
            use.last_active = min(use.last_active, now)
        return [
            node
            for session, use in self._uses.items()
            if use.last_active <= now - idle_s and not use.in_flight
            for node in self.open_turns(session)
        ]
