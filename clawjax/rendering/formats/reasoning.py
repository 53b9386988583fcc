"""How families write their thoughts: between two tags, of which templates may write the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from clawjax.errors import WireError
from clawjax.records import Message
from clawjax.rendering.formats.base import Form

__all__ = ["REASONING", "ReasoningFormat", "reasoning_format", "with_thought"]

_PROBE, _ANSWER = "zqthought", "zqanswer"


class ReasoningFormat(NamedTuple):
    """What stands around a thought."""

    begin: str
    end: str


REASONING: Mapping[str, ReasoningFormat] = {
    "think": ReasoningFormat("<think>", "</think>"),
    "mistral": ReasoningFormat("[THINK]", "[/THINK]"),
    "seed": ReasoningFormat("<seed:think>", "</seed:think>"),
    "exaone": ReasoningFormat("<thought>", "</thought>"),
    "kimi": ReasoningFormat("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    "command": ReasoningFormat("<|START_THINKING|>", "<|END_THINKING|>"),
}
"""By `gateway.reasoning_parser`: DeepSeek-R1, Qwen3, QwQ and SmolLM3; Magistral; Seed-OSS;
EXAONE Deep; Kimi-VL; Command A."""


def reasoning_format(
    name: str, render: Callable[[Sequence[Message]], str]
) -> ReasoningFormat | None:
    """The format that a configuration names; for `auto` what the template is found to treat so.

    A template that knows thoughts removes earlier ones from the text, writes those of a message's
    `reasoning_content`, or begins one.

    Args:
        name: `auto`, `none` or one of `REASONING`.
        render: writes messages, and the beginning of a reply, by the model's template.
    """
    if name != "auto":
        return REASONING.get(name)
    return next((form for form in REASONING.values() if _knows(form, render)), None)


def with_thought(form: Form, thought: ReasoningFormat | None, *, is_open: bool) -> Form:
    """A grammar behind a thought that the prompt has begun, or that there may be."""
    if thought is None:
        return form
    text = {"type": "any_text"}
    space = {"type": "regex", "pattern": r"\s{0,2}"}
    begin = "" if is_open else thought.begin
    thinking: list[Form] = [
        {"type": "tag", "begin": begin, "content": text, "end": thought.end},
        space,
        form,
    ]
    whole: Form = {"type": "sequence", "elements": thinking}
    return whole if is_open else {"type": "or", "elements": [form, whole]}


def _knows(form: ReasoningFormat, render: Callable[[Sequence[Message]], str]) -> bool:
    thought = f"{form.begin}\n{_PROBE}\n{form.end}\n\n{_ANSWER}"
    before, after = Message("user", "a"), Message("user", "b")
    kept = Message("assistant", _ANSWER, reasoning=_PROBE)
    try:
        begun = render((before,))
        removed = render((before, Message("assistant", thought), after))
        told = render((before, kept))
    except WireError:
        return False
    is_removed = _ANSWER in removed and _PROBE not in removed
    is_told = _PROBE in told and form.begin in told
    return begun.rstrip().endswith(form.begin) or is_removed or is_told
