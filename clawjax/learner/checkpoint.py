"""Checkpoints of the learner, through Orbax: written after every step, resumed from by default.

Owns `checkpoints/`. Invariants: `save` returns when the checkpoint is complete on disk (written
aside and renamed by Orbax); what is restored is bit for bit what was saved, or is not restored at
all: a damaged checkpoint is moved to `checkpoints.damaged/` and the one before it is used. Arrays
are written by the devices that hold them and may be restored on another mesh; where processes share
one, all of them save and restore, in one directory.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import orbax.checkpoint as ocp

from clawjax.errors import LearnerError, StoreError
from clawjax.learner.credit import CreditState
from clawjax.learner.digest import checksum, is_spread, sha256
from clawjax.learner.step import TrainState
from clawjax.models.processes import agree, is_leader, whole

__all__ = ["Checkpoints", "Progress", "Restored"]

logger = logging.getLogger(__name__)


class Progress(NamedTuple):
    """What the learner remembers besides the train state; the log keeps its own place."""

    credit: CreditState = CreditState()
    turns: int = 0
    """Trained on so far."""
    tokens: int = 0
    """Response tokens trained on so far."""
    parent: int = 0
    """Version that the newest step started from."""
    refused: str | None = None
    """Why the version which that step made is not to be served."""


class Restored(NamedTuple):
    """A checkpoint read back."""

    state: TrainState
    progress: Progress


class Checkpoints:
    """The newest few checkpoints of one run."""

    def __init__(self, root: Path, *, keep: int, identity: Mapping[str, object]) -> None:
        """Open or create the directory.

        Args:
            root: directory.
            keep: how many to keep.
            identity: what must not change within a run, e.g. base model, method and rank.

        Raises:
            LearnerError: the directory cannot be written.
        """
        self._root = Path(root).absolute()
        self._identity = {name: str(value) for name, value in identity.items()}
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self._root, options=options)
        except OSError as error:
            msg = f"{self._root}: {error.strerror or error}: make it writable or change run.dir"
            raise LearnerError(msg) from error

    def save(self, state: TrainState, progress: Progress) -> None:
        """Make the state durable under its step.

        Raises:
            StoreError: the disk refuses.
        """
        step = int(state.step)
        meta = {
            "identity": self._identity,
            **_digest(state),
            "ema_scores": dict(progress.credit.ema_scores),
            "turns": progress.turns,
            "tokens": progress.tokens,
            "parent": progress.parent,
            "refused": progress.refused,
        }
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(state),  # pyright: ignore[reportCallIssue]
            meta=ocp.args.JsonSave(meta),  # pyright: ignore[reportCallIssue]
        )
        try:
            is_saved = self._manager.save(step, args=arguments, force=True)
        except (OSError, ValueError) as error:
            msg = (
                f"checkpoint {step} cannot be written to {self._root}: {error}: make room there, "
                "or make it writable"
            )
            raise StoreError(msg) from error
        if not is_saved:
            msg = (
                f"checkpoint {step} was not written to {self._root}: the step exists already: "
                "move it away"
            )
            raise StoreError(msg)

    def restore(self, example: TrainState) -> Restored | None:
        """The newest checkpoint that can be read; None where there is none.

        Args:
            example: a state of the wanted structure and shapes.

        Raises:
            LearnerError: the run was made with another model or method.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            restored = self._read(step, example)
            if agree(restored is not None):
                return restored
            self._set_aside(step)
        return None

    def close(self) -> None:
        """Release Orbax's threads."""
        self._manager.close()

    def _read(self, step: int, example: TrainState) -> Restored | None:
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, example)
        try:
            meta = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
            self._check_identity(meta["meta"]["identity"])
            arguments = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))  # pyright: ignore[reportCallIssue]
            state = self._manager.restore(step, args=arguments)["state"]
        except LearnerError:
            raise
        # Orbax raises whatever its storage layers raise; all of it means: not this one.
        except Exception as error:
            logger.warning("checkpoint %d cannot be read (%s)", step, type(error).__name__)
            logger.debug("reading checkpoint %d", step, exc_info=error)
            return None
        found = meta["meta"]
        if not _is_intact(state, found):
            logger.warning("checkpoint %d is damaged: its digest does not match", step)
            return None
        credit = CreditState(found.get("ema_scores", {}))
        progress = Progress(
            credit,
            found["turns"],
            found["tokens"],
            found.get("parent", max(step - 1, 0)),
            found.get("refused"),
        )
        return Restored(TrainState(*state), progress)

    def _check_identity(self, found: Mapping[str, str]) -> None:
        for name, value in sorted(self._identity.items()):
            if found.get(name, value) != value:  # earlier checkpoints say less of themselves
                msg = (
                    f"{self._root} was trained with {name}={found[name]}, this run has "
                    f"{name}={value}: restore the setting or choose another run.dir"
                )
                raise LearnerError(msg)

    def _set_aside(self, step: int) -> None:
        target = self._root.with_name(f"{self._root.name}.damaged") / str(step)
        if is_leader():
            target.parent.mkdir(exist_ok=True)
            if target.exists():
                shutil.rmtree(target)
            shutil.move(self._root / str(step), target)
        agree(True)  # nobody looks before it is done
        self._manager.reload()
        logger.warning("moved checkpoint %d to %s; using the one before it", step, target)


def _digest(state: TrainState) -> dict[str, str]:
    """What tells a state from a damaged one, under the name of how it is computed."""
    if is_spread(state):
        return {"checksum": checksum(state)}
    return {"digest": sha256(state)}


def _is_intact(state: TrainState, meta: Mapping[str, str]) -> bool:
    """Whether a state is what was saved; it may lie elsewhere now."""
    if "checksum" in meta:
        return checksum(state) == meta["checksum"]
    return sha256([whole(leaf) for leaf in jax.tree.leaves(state)]) == meta["digest"]
