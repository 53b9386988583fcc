"""Every key of the configuration: what is wrong with it is said with its name and its range."""

from __future__ import annotations

import dataclasses
import enum
import math
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clawjax.config import RunConfig, to_run_config
from clawjax.config.shape import without_null
from clawjax.errors import ConfigError

ANY_NUMBER = {"run.seed"}
"""Keys of which every number of their type is a sensible value."""


class Leaf(NamedTuple):
    """One key, and the group it is in."""

    key: str
    group: type
    name: str
    kind: type


def leaves(group: type, path: str = "") -> Iterator[Leaf]:
    hints = typing.get_type_hints(group)
    for field in dataclasses.fields(group):
        kind = without_null(hints[field.name])
        if dataclasses.is_dataclass(kind):
            yield from leaves(kind, f"{path}{field.name}.")
        else:
            yield Leaf(path + field.name, group, field.name, kind)


LEAVES = tuple(leaves(RunConfig))
SHAPED = tuple(leaf for leaf in LEAVES if leaf.kind != dict[str, Any])
"""Without those that take any mapping."""


def complaint(leaf: Leaf, value: Any) -> str | None:
    """What the key's own group says of a value; None where it takes it."""
    try:
        leaf.group(**{leaf.name: value})
    except ConfigError as error:
        return str(error)
    return None


def nested(leaf: Leaf, value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    *groups, name = leaf.key.split(".")
    inner = found
    for group in groups:
        inner = inner.setdefault(group, {})
    inner[name] = value
    return found


def test_the_walk_finds_every_group() -> None:
    assert {leaf.key.split(".")[0] for leaf in LEAVES} == {
        field.name for field in dataclasses.fields(RunConfig)
    }
    assert len(LEAVES) > 200


def test_a_number_out_of_range_is_refused_with_its_key_and_the_range() -> None:
    silent, nameless = [], []
    for leaf in LEAVES:
        if leaf.kind not in (int, float) or leaf.key in ANY_NUMBER:
            continue
        wrong = [-(10**9)] if leaf.kind is int else [-1e9, math.nan]
        for value in wrong:
            said = complaint(leaf, value)
            if said is None:
                silent.append((leaf.key, value))
            elif leaf.key not in said or not any(c.isdigit() for c in said.replace(str(value), "")):
                nameless.append(said)
    assert not silent
    assert not nameless


def test_whatever_a_group_says_of_a_word_names_the_key() -> None:
    said = [(leaf.key, complaint(leaf, "\0 no such")) for leaf in LEAVES if leaf.kind is str]
    assert not [(key, text) for key, text in said if text is not None and key not in text]


def test_a_wrong_type_is_refused_with_its_key() -> None:
    schemas = {leaf.group: OmegaConf.structured(leaf.group) for leaf in LEAVES}
    silent = []
    for leaf in LEAVES:
        is_scalar = leaf.kind in (int, float, bool) or issubclass(_class(leaf.kind), enum.Enum)
        for value in [*(["no such"] if is_scalar else []), *([1.5] if leaf.kind is int else [])]:
            try:
                OmegaConf.merge(schemas[leaf.group], {leaf.name: value})
                silent.append((leaf.key, value))
            except OmegaConfBaseException as error:
                if f"full_key: {leaf.name}" not in str(error):
                    silent.append((leaf.key, value))
    assert not silent


def _class(kind: type) -> type:
    return kind if isinstance(kind, type) else object


@pytest.mark.parametrize("leaf", SHAPED[::16], ids=lambda leaf: leaf.key)
def test_the_whole_configuration_says_the_same(leaf: Leaf) -> None:
    for value in ([["no", "such"]], {"no": {"such": "thing"}}):
        with pytest.raises(ConfigError, match=leaf.key.replace(".", r"\.")):
            to_run_config(nested(leaf, value))


def test_an_unknown_key_is_refused_in_every_group_with_what_was_meant() -> None:
    for group in {leaf.key.rpartition(".")[0] for leaf in LEAVES}:
        typo = Leaf(f"{group}.no_such_key", RunConfig, "", str)
        with pytest.raises(ConfigError, match=f"{group}.no_such_key is unknown: use one of"):
            to_run_config(nested(typo, 1))
    with pytest.raises(ConfigError, match=r"learner\.bach_turns is unknown: did you mean batch_"):
        to_run_config({"learner": {"bach_turns": 1}})
    with pytest.raises(ConfigError, match=r"learner\.batch_turns"):
        to_run_config({"run": {"dir": "x"}, "learner": {"batch_turns": "many"}})
    with pytest.raises(ConfigError, match=r"gateway is 3: give keys and values"):
        to_run_config({"gateway": 3})
