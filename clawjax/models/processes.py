"""Several processes that compute as one: how they come together and how they agree.

All of them run the same program on the same values. What touches the world (the turn log, the
weight store, the monitor, the clock) does so in the first process, the leader, and the others are
told what came of it. Invariants: no process acts on a value that another one does not have; where
one is about to ask for something else than the others, all of them stop; where one is gone, all of
them end, within `silence_timeout_s` at the latest, to be started again together.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import jax
import numpy as np
from jax.experimental import multihost_utils

from clawjax.config import DistributedConfig
from clawjax.errors import ClawError, ConfigError, LearnerError
from clawjax.models.told import packed, unpacked

__all__ = [
    "agree",
    "any_of",
    "come_together",
    "is_leader",
    "led",
    "led_call",
    "one_fate",
    "whole",
]

T = TypeVar("T")
logger = logging.getLogger(__name__)

_HEADER = 256
"""Bytes in front of every message: what it is about, so that all can see that they agree."""
_SMALLEST = 1 << 12
"""Messages are padded to this times a power of two: few sizes, as each is compiled for."""


def come_together(config: DistributedConfig) -> None:
    """Join the other processes; before anything else asks jax for devices. Once per process.

    Raises:
        ConfigError: they cannot be found, or do not come in time.
    """
    if not config.enabled:
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            config.coordinator,
            config.processes,
            config.process_id,
            initialization_timeout=round(config.timeout_s),
            heartbeat_timeout_seconds=round(config.silence_timeout_s),
            shutdown_timeout_seconds=round(config.silence_timeout_s),
        )
    except (ValueError, RuntimeError) as error:
        msg = (
            f"the learner's processes did not come together ({error}): set "
            "learner.distributed.coordinator, processes and process_id, and see that the "
            "coordinator can be reached"
        )
        raise ConfigError(msg) from error
    logger.info(
        "process %d of %d, %d of %d devices",
        jax.process_index(),
        jax.process_count(),
        jax.local_device_count(),
        jax.device_count(),
    )


@contextmanager
def one_fate(config: DistributedConfig) -> Generator[None]:
    """Ends the process at once, with 1, where it fails as only one of several: none can go on.

    An ordinary exit meets the other processes once more, and would wait there for one that is gone.
    What is raised on purpose (`ClawError`) was raised by all of them, and passes.

    Args:
        config: where it is off, nothing is changed.
    """
    try:
        yield
    except ClawError:
        raise
    except Exception as error:
        if not config.enabled:
            raise
        logger.exception("this process fails")
        sys.stderr.write(
            f"process {jax.process_index()} of {jax.process_count()} ends "
            f"({type(error).__name__}: {str(error).splitlines()[0]}): it failed, or another one is "
            "gone, whose own log says why; all end and go on from the checkpoint when they are "
            "started again\n"
        )
        sys.stderr.flush()
        logging.shutdown()
        os._exit(1)


def is_leader() -> bool:
    """Whether this is the process that reads, writes and decides; so is one that is alone."""
    return jax.process_index() == 0


def agree(is_fine: bool) -> bool:
    """Whether all processes say so; all have to ask."""
    if jax.process_count() == 1:
        return is_fine
    return bool(np.all(multihost_utils.process_allgather(np.asarray(is_fine))))


def any_of(is_so: bool, about: str) -> bool:
    """Whether any process says so; all have to ask, and for the same reason.

    Raises:
        LearnerError: this process asks about something else than the others.
    """
    if jax.process_count() == 1:
        return is_so
    _told(about, b"")
    return not agree(not is_so)


def whole(leaf: Any) -> np.ndarray:
    """All of an array, on the host of every process; all of them have to ask for it."""
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def led_call(function: Callable[..., T], name: str) -> Callable[..., T]:
    """The function, run by the leader alone; every process gets what it returns or raises.

    Only what the leader passes counts. Values have to be such as `told` can tell; of an exception
    that is not, the others are told what it says.
    """
    if jax.process_count() == 1:
        return function

    def call(*arguments: Any, **keywords: Any) -> T:
        message, own_error = b"", None
        if is_leader():
            try:
                message = packed((function(*arguments, **keywords), None))
            except Exception as error:  # told to the others, and raised by all
                message, own_error = _complaint(name, error), error
        value, error = unpacked(_told(name, message))
        if error is not None:
            raise own_error or error
        return value

    return call


def led(subject: T | None, name: str, *, own: Collection[str] = ()) -> T:
    """The object, all of whose methods are called by the leader alone.

    Args:
        subject: None in processes that do not lead, unless they have methods of their `own`.
        name: in messages.
        own: methods that every process calls for itself, as they only read what all can reach.
    """
    if jax.process_count() == 1:
        assert subject is not None
        return subject
    return cast(T, _Led(subject, name, own))


class _Led:
    def __init__(self, subject: Any, name: str, own: Collection[str]) -> None:
        self._subject, self._name, self._own = subject, name, own

    def __getattr__(self, method: str) -> Any:
        if method in self._own:
            return getattr(self._subject, method)

        def call(*arguments: Any, **keywords: Any) -> Any:
            return getattr(self._subject, method)(*arguments, **keywords)

        return led_call(call, f"{self._name}.{method}")


def _complaint(about: str, error: Exception) -> bytes:
    """A message that has all raise the error."""
    try:
        message = packed((None, error))
        unpacked(message)
    except Exception:  # an exception's parts raise whatever they do, or are no values
        said = LearnerError(f"{about} failed in process 0: {type(error).__name__}: {error}")
        return packed((None, said))
    return message


def _told(about: str, message: bytes) -> bytes:
    """The leader's message, in all processes.

    Raises:
        LearnerError: this process expected one about something else.
    """
    header = np.zeros(_HEADER, np.uint8)
    expected = about.encode()[: _HEADER - 8]
    header[8 : 8 + len(expected)] = np.frombuffer(expected, np.uint8)
    header[:8] = np.frombuffer(len(message).to_bytes(8, "little"), np.uint8)
    heard = np.asarray(multihost_utils.broadcast_one_to_all(header))
    size = int.from_bytes(heard[:8].tobytes(), "little")
    is_same = bool(np.array_equal(heard[8:], header[8:]))
    if not agree(is_same):
        subject = heard[8:].tobytes().rstrip(b"\0").decode()
        msg = (
            f"process {jax.process_index()} is at {about}, process 0 at {subject}, and not all are "
            "there: start all processes again, from the same configuration and code"
        )
        raise LearnerError(msg)
    payload = np.zeros(_padded(size), np.uint8)
    if is_leader():
        payload[:size] = np.frombuffer(message, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(payload))[:size].tobytes()


def _padded(size: int) -> int:
    length = _SMALLEST
    while length < size:
        length *= 2
    return length
