"""What the protocol asks of an engine beyond `protocols.Engine`: to stand still, and to let go.

An engine without it is served all the same; what only these methods can do is answered with 501.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from clawjax.engine.pausing import PauseMode
from clawjax.errors import WireError
from clawjax.protocols import Engine, ScoreRequest, TokenChunk

__all__ = ["ControlledEngine", "controlled"]


@runtime_checkable
class ControlledEngine(Engine, Protocol):
    """An engine that can be paused; `EmbeddedEngine` documents each method."""

    async def read(self, request: ScoreRequest, *, top_logprobs: int = 0) -> TokenChunk:
        """`score`, with versions and alternatives."""
        ...

    def abort(self, request_id: str | None = None) -> int:
        """End the requests of an id, or all, with what they have."""
        ...

    async def pause(self, mode: PauseMode, *, lease_s: float) -> None:
        """Draw nothing until `resume`, or for `lease_s`."""
        ...

    async def resume(self) -> None:
        """End a pause, if there is one."""
        ...

    async def flush(self) -> bool:
        """Forget all prompts that were read, unless they are in use."""
        ...


def controlled(engine: Engine) -> ControlledEngine:
    """The engine, if it can do these things.

    Raises:
        WireError: 501.
    """
    if not isinstance(engine, ControlledEngine):
        msg = f"{type(engine).__name__} cannot be paused, aborted or flushed from outside"
        raise WireError(msg, status=501)
    return engine
