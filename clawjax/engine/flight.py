"""A decode step that the device is at, or has behind another, while the host looks elsewhere."""

from __future__ import annotations

from typing import NamedTuple

from clawjax.engine.decode import Drawing
from clawjax.engine.replies import RunningReply

__all__ = ["Flight"]


class Flight(NamedTuple):
    """Draws that nobody has looked at yet."""

    replies: list[RunningReply]
    """Whose draws count; what is drawn in other rows is nobody's."""
    drawing: Drawing
    version: int
    """Of the weights that draw."""

    @property
    def has_room(self) -> bool:
        """Whether every reply may have a token more than these."""
        steps = self.drawing.steps
        return all(r.job.limit - len(r.drawn) > steps for r in self.replies)

    def without(self, reply: RunningReply) -> bool:
        """Take a reply off that leaves its slot; whether any is left."""
        self.replies[:] = [each for each in self.replies if each is not reply]
        return bool(self.replies)
