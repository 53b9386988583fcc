"""Which way a version goes to a server, by what the server can do. Pure.

Facts about SGLang that the rules rest on (`managers/tokenizer_manager.py`, `managers/scheduler.py`
and `managers/scheduler_components/weight_updater.py`, read at 0.5.x):

- A paused server loads weights at once; one that is not waits for all its requests to end first.
- `/update_weights_from_disk` with `flush_cache` *asserts* that the cache could be flushed, which
  takes an idle scheduler. Requests that a pause has retracted wait in its queue, so after
  `retract`, as after `in_place`, the assertion ends the scheduler's process wherever a request was
  under way. Only `abort` leaves it idle. So weights are loaded without a flush, which is asked for
  on its own, where a refusal does no harm.
- What is not flushed stays in the prefix cache: requests give a `cache_key` as `extra_key`, one for
  each time that weights come to a server. Replies that go on through a load leave keys and values
  of the new weights under the key they began with: a version that comes back is given another.
- `retract` frees a request's own keys and values and computes them anew; the part of its prompt
  that the prefix cache owns may be found again there. `in_place` keeps them all: later tokens
  attend to what the old weights left. Either way their log-probs are those they were drawn with.
- `weight_version` changes when, and only when, all weights have been loaded. That it has not does
  not show that the weights have not: a load that fails in the middle ("Failed to update weights")
  is "rolled back" by reading once more from the new path, which leaves the new weights, a mixture,
  or a process that has died. A load that finds no files ("Failed to get weights iterator") has
  touched nothing. Each host and each replica looks for itself: the answers of replicas are joined
  by " | ", of several hosts the first alone answers, and a draft model loads after the model.
- `/unload_lora_adapter` waits for the adapter's last request and holds up every other load
  meanwhile: it is called once there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from clawjax.config.delivery import DeliveryConfig
from clawjax.engine.sglang.failures import DeclinedError
from clawjax.protocols import BASE_KIND

__all__ = [
    "WITHOUT_PAUSE",
    "Capability",
    "Pause",
    "Plan",
    "Proof",
    "Transport",
    "adapter_name",
    "cache_key",
    "capability",
    "is_untouched",
    "plan",
    "read_version",
]

WITHOUT_PAUSE = (
    "a server without that endpoint takes no whole weights: use SGLang 0.5.2 or newer, or one that "
    "takes adapters, which need no pause (--enable-lora --max-lora-rank R --lora-target-modules "
    "...)"
)
"""What to do about it, after words that name `/pause_generation`."""
_ADAPTER = "clawjax-"
_NOT_TAKEN_UP = (401, 403, 404, 405, 422)
"""HTTP's own refusals: whatever loads has not heard of it."""
_NOT_BEGUN = (
    "Failed to get weights iterator",
    "Failed to get model loader",
    "Online weight updates are not supported",
)
"""How SGLang's answers begin where it has not begun to load."""


class Transport(StrEnum):
    """How weights travel."""

    DISK = "disk"
    ADAPTER = "adapter"


class Pause(StrEnum):
    """What a pause does to running requests; in order of preference."""

    RETRACT = "retract"
    IN_PLACE = "in_place"
    ABORT = "abort"


class Proof(StrEnum):
    """How a server shows what it has."""

    VERSION = "version"
    """It says so in `/get_model_info`."""
    ADAPTERS = "adapters"
    """It lists the adapter among those it has loaded."""
    PROBE = "probe"
    """Log-probs of a fixed reply are as expected."""


@dataclass(frozen=True, slots=True)
class Capability:
    """What a server can do."""

    says_version: bool
    """Whether `/get_model_info` has a `weight_version`; those that do load from a disk."""
    takes_adapters: bool
    weight_version: int | None = None
    """Of its whole weights, as it says; None or 0: they are the base model."""
    longest_pause_s: float | None = None
    """A pause ends by itself after so long, or sooner if asked; None: only when it is told."""
    pauses: tuple[Pause, ...] = tuple(Pause)
    keeps_refused: bool = False
    """Whether it says that a load which it refuses changes nothing, whatever the reason."""
    answers_alone: bool = True
    """Whether its answer is that of all that loads: one host, no draft model."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one version goes to one server."""

    transport: Transport
    pause: Pause | None
    """None: it need not stop."""
    proof: Proof
    lease_s: float | None = None
    """What the server is told to end the pause after by itself; None: it does not know how to."""


def capability(model_info: Mapping[str, object], server_info: Mapping[str, object]) -> Capability:
    """What the answers of `/get_model_info` and `/get_server_info` promise."""
    longest_s = server_info.get("max_pause_s")
    return Capability(
        longest_pause_s=float(longest_s) if isinstance(longest_s, (int, float)) else None,
        says_version="weight_version" in model_info,
        takes_adapters=bool(server_info.get("enable_lora")),
        weight_version=read_version(model_info.get("weight_version")),
        keeps_refused=bool(model_info.get("keeps_refused")),
        answers_alone=server_info.get("nnodes") in (None, 1)
        and not server_info.get("speculative_algorithm"),
    )


def plan(
    kind: str,
    can: Capability,
    config: DeliveryConfig,
    *,
    has_probe: bool,
    is_doubtful: bool = False,
) -> Plan:
    """Choose transport, pause and proof.

    Adapters go beside a server's weights as long as those are the base model's, and the base
    model then needs no more than to be asked without an adapter.

    Args:
        kind: `adapter`, `full` or `base`.
        can: the server's abilities.
        config: what is wanted.
        has_probe: whether the caller knows what a fixed reply's log-probs should be.
        is_doubtful: whether it has begun a load that it has not confirmed, which may have left a
            mixture under the old name: it then gets whole weights, whatever they are.

    Raises:
        DeclinedError: this server has no way to get such weights, or to show that it has them.
    """
    if _goes_as_adapter(kind, can, config, is_doubtful):
        return Plan(Transport.ADAPTER, None, Proof.ADAPTERS)
    if not can.says_version and config.transport == "auto":
        msg = (
            "the server takes no new weights: /get_model_info has no weight_version"
            + (" and LoRA is off" if kind == "adapter" else "")
            + "; start SGLang 0.5 or newer (for adapters with --enable-lora --max-lora-rank R "
            "--lora-target-modules ...), or insist with engine.sglang.delivery.transport=disk"
        )
        raise DeclinedError(msg)
    if not can.says_version and not has_probe:
        msg = (
            "the server cannot show which weights it has: /get_model_info has no weight_version "
            "and no probe was given; use a server that says its version"
        )
        raise DeclinedError(msg)
    proof = Proof.VERSION if can.says_version else Proof.PROBE
    lease_s = None if can.longest_pause_s is None else min(can.longest_pause_s, config.max_pause_s)
    return Plan(Transport.DISK, _pause(can, config), proof, lease_s)


def is_untouched(can: Capability, status: int, words: str) -> bool:
    """Whether a server that refused a load, in these words, has begun none of it."""
    if status in _NOT_TAKEN_UP:
        return True
    if can.keeps_refused:
        return 400 <= status < 500
    return can.answers_alone and all(each.startswith(_NOT_BEGUN) for each in words.split(" | "))


def adapter_name(version: int) -> str | None:
    """`lora_path` of requests to a version; None for the base model."""
    return f"{_ADAPTER}{version:06d}" if version > 0 else None


def cache_key(version: int, since: int) -> str:
    """`extra_key` of requests to a version that a server has `since` then.

    Prefixes cached under it are found by no other version, nor by the same once it has been away.
    """
    return f"{_ADAPTER}{version:06d}-{since:x}"


def read_version(label: object) -> int | None:
    """A server's `weight_version` as a number; None where it was never told one."""
    return int(label) if isinstance(label, str) and label.isdecimal() else None


def _goes_as_adapter(kind: str, can: Capability, config: DeliveryConfig, is_doubtful: bool) -> bool:
    objection = None
    if kind not in ("adapter", BASE_KIND):
        objection = f"weights of kind {kind!r} are no adapter: use auto or disk"
    elif not can.takes_adapters:
        objection = (
            "the server has LoRA off: start it with --enable-lora --max-lora-rank R "
            "--lora-target-modules ..., or use auto"
        )
    elif can.weight_version:
        objection = (
            f"the server's own weights are version {can.weight_version}, which adapters do not "
            "belong to: start it again with the base model, or use auto"
        )
    elif is_doubtful:
        objection = (
            "a load of whole weights has failed half way, so that its own are not known to be the "
            "base model's: use auto, by which it gets them anew"
        )
    if objection is not None and config.transport == "adapter":
        msg = f"engine.sglang.delivery.transport=adapter: {objection}"
        raise DeclinedError(msg)
    return objection is None and config.transport != "disk"


def _pause(can: Capability, config: DeliveryConfig) -> Pause:
    for mode in can.pauses:
        if config.pause in ("auto", mode):
            return mode
    known = ", ".join(can.pauses) or "none"
    msg = f"engine.sglang.delivery.pause={config.pause} is not among what the server knows: {known}"
    raise DeclinedError(msg)
