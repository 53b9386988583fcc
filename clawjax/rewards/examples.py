"""Turns that people have labelled, as examples for a judge.

Read once, from a file that `clawjax review RUN --export FILE` wrote: so a judge's prompt, and with
it the digest in its verdicts, changes only when somebody wants it to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError
from clawjax.records import Message, ToolCall
from clawjax.rewards.prompts import Example

__all__ = ["choose", "read_examples"]


def read_examples(file: Path, count: int) -> tuple[Example, ...]:
    """The newest decided labels of a file, good and bad ones in turn as far as there are both.

    Raises:
        ConfigError: the file cannot be read, has no such lines, or fewer than asked for.
    """
    try:
        texts = file.read_text(encoding="utf-8").split("\n")
        lines = [json.loads(text) for text in texts if text.strip()]
        found = [example for line in lines if (example := _example(line)) is not None]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        msg = (
            f"reward.llm_judge.examples_file={file} cannot be read ({error}): name what `clawjax "
            "review RUN --export FILE` wrote"
        )
        raise ConfigError(msg) from error
    if len(found) < count:
        msg = (
            f"reward.llm_judge.examples={count}, but {file} has {len(found)} labels that say good "
            "or bad: label more, or lower it"
        )
        raise ConfigError(msg)
    return choose(found, count)


def choose(examples: Sequence[Example], count: int) -> tuple[Example, ...]:
    """The newest, which come last, good and bad ones in turn."""
    newest = examples[::-1]
    good = [example for example in newest if example.score > 0]
    bad = [example for example in newest if example.score < 0]
    taken = (example for example in chain(*zip_longest(good, bad)) if example is not None)
    return tuple(taken)[:count]


def _example(line: Mapping[str, Any]) -> Example | None:
    label = line["label"]
    if label is None or not label["score"] or not line["next"]:
        return None
    return Example(
        request=_message(line["messages"][-1]),
        reply=_message(line["reply"]),
        following=tuple(map(_message, line["next"])),
        score=float(label["score"]),
    )


def _message(told: Mapping[str, Any]) -> Message:
    calls = tuple(
        ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in told.get("tool_calls") or ()
    )
    return Message(told["role"], told.get("content") or "", tool_calls=calls)
