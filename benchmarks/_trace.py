"""Reads what XLA's profiler recorded: how long each part of the model took, and the device idled.

Which part an operation belongs to is read from the name that flax and jax gave it (`op_name`), in
the text of the compiled program. Invariant: time is counted once, in one part; an operation that
runs others has the time that is left of its own, and loops and branches have none.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.profiler import ProfileData

__all__ = ["DUMP_FLAGS", "PARTS", "Operation", "Program", "Trace", "programs", "shares", "traced"]

DUMP_FLAGS = "--xla_dump_hlo_as_text --xla_dump_to="
"""Of `XLA_FLAGS`, before jax starts: leaves the text of compiled programs in a folder."""

OTHER = "other"
PARTS = {
    "sampling": r"^jit_(sample|masked) ",
    "optimiser": r"^jit_\w*apply_gradients ",
    "sums of gradients": r"\)/add$|transpose\(jvp\(\)\)/broadcast_in_dim$",
    "stacking of layers": r"jit\(dynamic_(update_)?index_in_dim\)",
    "projections": r"_proj",
    "output head": r"logits|lm_head|^\S+ embed_tokens|while/body/(?!closed_call|add$)\w+$",
    "attention": r"self_attn",
    "norms, activations, sums": r"mlp|norm|DecoderLayer/add",
    "embedding": r"embed|gather|take",
}
"""Parts of the work, and what `program op_name` has in it where an operation is theirs; by rank."""
_CONTAINERS = ("while", "call", "conditional")
_LINE = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = (.*)$", re.MULTILINE)
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_WEIGHT = re.compile(r"%params__([\w.]+)")
_IS_PRODUCT = re.compile(r"\bdot\(|__ynn_fusion")


class Operation(NamedTuple):
    """One run of one operation; times in nanoseconds."""

    module: str
    """Name of the program it is of."""
    program: int
    """Its number."""
    name: str
    began: float
    ended: float
    own: float
    """What no other operation within it took."""


class Program(NamedTuple):
    """A compiled program's text."""

    module: str
    op_names: Mapping[str, str]
    """By operation; empty where it has none."""


class Trace(NamedTuple):
    """Where the time of some work went."""

    seconds: float
    """From the first operation to the end of the last."""
    busy: float
    """Share of that in which the device computed anything."""
    shares: Mapping[str, float]
    """Of the operations' time, by part of the model; they add up to 1."""


def traced(work: Callable[[], object], folder: Path, dump: Path) -> Trace:
    """Do something under the profiler.

    Args:
        work: waits for what it starts on the device.
        folder: for the profiler's own files; empty.
        dump: where `DUMP_FLAGS` leaves programs.

    Raises:
        ValueError: nothing ran on the device.
    """
    with jax.profiler.trace(str(folder)):
        work()
    (file,) = folder.rglob("*.xplane.pb")
    operations = sorted(_operations(ProfileData.from_file(str(file))), key=lambda each: each.began)
    if not operations:
        msg = "the profiler saw no operation of the device"
        raise ValueError(msg)
    whole = max(each.ended for each in operations) - operations[0].began
    return Trace(
        whole / 1e9, _covered(operations) / whole, shares(operations, list(programs(dump)))
    )


def programs(dump: Path) -> Iterator[Program]:
    """The programs whose text `DUMP_FLAGS` left, as they were run."""
    for file in dump.glob("*after_optimizations.txt"):
        module = file.name.split(".")[1]
        lines = _LINE.findall(file.read_text(encoding="utf-8"))
        yield Program(module, {name: _op_name(rest) for name, rest in lines})


def _op_name(instruction: str) -> str:
    """What an operation is called; by what it reads where XLA, rewriting it, has lost its name."""
    named = _OP_NAME.search(instruction)
    if named is not None:
        return named[1]
    weight = _WEIGHT.search(instruction)
    if weight is not None:
        return weight[1]
    return "self_attn" if _IS_PRODUCT.search(instruction) else ""  # the one product of no weights


def shares(operations: Sequence[Operation], known: Sequence[Program]) -> dict[str, float]:
    """Of their time, by part of the model, the largest first.

    The profiler counts programs differently from the texts: a program is the first text of its
    name in which all of its operations occur.
    """
    ran: dict[tuple[str, int], set[str]] = defaultdict(set)
    for each in operations:
        ran[each.module, each.program].add(each.name)
    texts = {
        (module, number): next(
            (
                text.op_names
                for text in known
                if text.module == module and names <= set(text.op_names)
            ),
            {},
        )
        for (module, number), names in ran.items()
    }
    spent: defaultdict[str, float] = defaultdict(float)
    for each in operations:
        op_name = texts[each.module, each.program].get(each.name, "")
        spent[_part(f"{each.module} {op_name}")] += each.own
    total = sum(spent.values())
    ranked = sorted(spent, key=lambda part: -spent[part])
    return {part: spent[part] / total for part in ranked}


def _part(named: str) -> str:
    fitting = (part for part, pattern in PARTS.items() if re.search(pattern, named))
    return next(fitting, OTHER)


def _operations(profile: Any) -> Iterator[Operation]:
    for plane in profile.planes:
        for line in plane.lines:
            yield from _of_thread(
                (event.start_ns, event.start_ns + event.duration_ns, stats)
                for event in line.events
                if "hlo_op" in (stats := dict(event.stats))
                and not str(stats["hlo_op"]).startswith(_CONTAINERS)
            )


def _of_thread(events: Iterable[tuple[float, float, Mapping[str, object]]]) -> Iterator[Operation]:
    """The operations of one thread, where they nest."""
    open_ones: list[list[float]] = []  # [ended, taken by those within]
    found: list[tuple[float, float, Mapping[str, object], list[float]]] = []
    for began, ended, stats in sorted(events, key=lambda event: (event[0], -event[1])):
        while open_ones and open_ones[-1][0] <= began:
            open_ones.pop()
        if open_ones:
            open_ones[-1][1] += ended - began
        open_ones.append([ended, 0.0])
        found.append((began, ended, stats, open_ones[-1]))
    for began, ended, stats, (_, within) in found:
        module, number, name = (stats[key] for key in ("hlo_module", "program_id", "hlo_op"))
        own = max(0.0, ended - began - within)
        yield Operation(str(module), int(str(number)), str(name), began, ended, own)


def _covered(operations: Iterable[Operation]) -> float:
    """Nanoseconds in which at least one of the operations, in order of beginning, ran."""
    covered, until = 0.0, 0.0
    for each in operations:
        covered += max(0.0, each.ended - max(each.began, until))
        until = max(until, each.ended)
    return covered
