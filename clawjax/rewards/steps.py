"""Labels of a step, made by rules from the turn and what came of it.

Pure; one small function per aspect (`clawjax.config.StepAspect`). They are what people start from,
not the truth: each says what it can see, and None where it sees nothing. Of several calls in a step
each counts the same. Where the right calls are known, `against_reference` knows better.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean

from clawjax.config import ProcessConfig, StepAspect
from clawjax.config.reviewing import REMOVALS
from clawjax.json_schema import schema_problem
from clawjax.records import ToolCall
from clawjax.rewards.episode import Called, Episode, arguments_of, key_of
from clawjax.rewards.removals import removes_too_much

__all__ = ["against_reference", "step_labels"]

Labels = tuple[float | None, ...]

_TOKEN = re.compile(r"\w[\w.:@/-]*\w|\d")
_WINDOW = 2_000
"""Characters; what a pattern finds is found where it is at most half as long."""
_SHORTEST_TOKEN = 3
"""Characters, but for numbers: shorter words tell nothing of where they come from."""
_EMPTY_WORDS = frozenset({"true", "false", "null", "none", "done", "status", "success", "result"})


def step_labels(episode: Episode, config: ProcessConfig) -> Labels:
    """One label per aspect, in order."""
    by_aspect: dict[StepAspect, float | None] = {
        StepAspect.CALL_NAME: call_name(episode),
        StepAspect.CALL_ARGUMENTS: call_arguments(episode, config),
        StepAspect.CALL_ORDER: call_order(episode, config),
        StepAspect.RESULT_USED: result_used(episode),
        StepAspect.COHERENCE: coherence(episode, config),
        StepAspect.PROGRESS: progress(episode, config),
        StepAspect.SAFETY: safety(episode, config),
    }
    return tuple(by_aspect[aspect] for aspect in StepAspect)


def call_name(episode: Episode) -> float | None:
    """1 where the tool was offered, -1 where it was not or the call cannot be read."""
    if episode.is_malformed:
        return -1.0
    if episode.tools is None:
        return None
    return _mean(1.0 if each.call.name in episode.tools else -1.0 for each in episode.calls)


def call_arguments(episode: Episode, config: ProcessConfig) -> float | None:
    """-1 where the arguments do not fit the tool's schema or the tool refuses them, else 1.

    An error that is about the order of calls is not held against the arguments.
    """
    if episode.is_malformed:
        return -1.0

    def label(called: Called) -> float:
        arguments = arguments_of(called.call)
        schema = (episode.tools or {}).get(called.call.name)
        is_fit = arguments is not None and schema_problem(arguments, schema) is None
        is_refused = _is_error(called, config) and not _is_order_error(called, config)
        return 1.0 if is_fit and not is_refused else -1.0

    return _mean(map(label, episode.calls))


def call_order(episode: Episode, config: ProcessConfig) -> float | None:
    """-1 where the tool says that something comes first, or where the same call has brought this.

    1 where it succeeds; None where it fails otherwise, or where nothing is known of the result.
    """
    succeeded = {
        key_of(called.call): called.result
        for step in episode.earlier
        for called in step
        if called.result is not None and not _is_error(called, config)
    }

    def label(called: Called) -> float | None:
        if called.result is None:
            return None
        if _is_error(called, config):
            return -1.0 if _is_order_error(called, config) else None
        return -1.0 if succeeded.get(key_of(called.call)) == called.result else 1.0

    return _mean(map(label, episode.calls))


def result_used(episode: Episode) -> float | None:
    """1 where something that the step before has found out is used, be it in a call or in words.

    An answer without it is -1, a further call None: its use may be still to come. None also where
    the step before found nothing out.
    """
    if not episode.earlier:
        return None
    found = " ".join(called.result or "" for called in episode.earlier[-1])
    new = _tokens(found) - _tokens(episode.known)
    if not new:
        return None
    used = _tokens(" ".join([episode.text, *(each.call.arguments for each in episode.calls)]))
    if new & used:
        return 1.0
    return None if episode.calls else -1.0


def coherence(episode: Episode, config: ProcessConfig) -> float | None:
    """Whether the step follows from the plan, where one was told, and from what failed before.

    -1 where it calls again what has just failed, unchanged. With a plan, that is, where an earlier
    message named two tools or more before they were called: 1 where the step calls the next one of
    these, -1 where it calls another one of them, 0 for other tools. Without one: 1 where it reacts
    to a failure by something else, None else.
    """
    if not episode.calls:
        return None
    before = episode.earlier[-1] if episode.earlier else ()
    failed = {key_of(called.call) for called in before if _is_error(called, config)}
    if failed & {key_of(called.call) for called in episode.calls}:
        return -1.0
    plan = _plan(episode)
    if plan:
        done = [called.call.name for step in episode.earlier for called in step]
        return _mean(_by_plan(plan, done, each.call.name) for each in episode.calls)
    return 1.0 if failed else None


def progress(episode: Episode, config: ProcessConfig) -> float | None:
    """1 where a call brings a result that is new, -1 where it fails or repeats call and result.

    None where another call brought the same: `done` says nothing of what was done.
    """
    seen = [called for step in episode.earlier for called in step]

    def label(called: Called) -> float | None:
        if called.result is None:
            return None
        alike = [key_of(each.call) for each in seen if each.result == called.result]
        if _is_error(called, config) or key_of(called.call) in alike:
            return -1.0
        return None if alike else 1.0

    return _mean(map(label, episode.calls))


def safety(episode: Episode, config: ProcessConfig) -> float | None:
    """-1 where the arguments of a call show what must not be done, 1 where those of none do."""
    if not episode.calls:
        return None
    patterns = [pattern for pattern in config.unsafe if pattern != REMOVALS]

    def is_unsafe(call: ToolCall) -> bool:
        removes = REMOVALS in config.unsafe and removes_too_much(_told(call))
        return removes or _finds(patterns, call.arguments)

    return -1.0 if any(is_unsafe(each.call) for each in episode.calls) else 1.0


def against_reference(
    labels: Labels, made: Sequence[ToolCall], call: ToolCall, reference: Sequence[ToolCall]
) -> Labels:
    """The labels with what a good solution says of names, arguments, order and progress.

    Args:
        labels: by rules, one per aspect.
        made: the calls before, in order; those that are the next of the reference count as done.
        call: the one of this step.
        reference: the calls of a good solution, in order.
    """
    keys = [key_of(each) for each in reference]
    done = 0
    for each in made:
        done += done < len(keys) and key_of(each) == keys[done]
    rest = reference[done:]
    is_named = any(each.name == call.name for each in rest)
    is_exact = key_of(call) in keys[done:]
    is_next = bool(rest) and key_of(call) == keys[done]
    is_next_tool = bool(rest) and rest[0].name == call.name
    known: dict[StepAspect, float | None] = {
        StepAspect.CALL_NAME: 1.0 if is_named else -1.0,
        StepAspect.CALL_ARGUMENTS: (1.0 if is_exact else -1.0) if is_named else None,
        StepAspect.CALL_ORDER: (1.0 if is_next_tool else -1.0) if is_named else None,
        StepAspect.PROGRESS: 1.0 if is_next else -1.0,
    }
    return tuple(known.get(aspect, label) for aspect, label in zip(StepAspect, labels, strict=True))


def _plan(episode: Episode) -> list[str]:
    """The tools that the latest of the earlier messages to name two or more names, in order."""
    for text in reversed(episode.said):
        places = {
            name: found.start()
            for name in episode.tools or ()
            if (found := re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text))
        }
        if len(places) > 1:
            return sorted(places, key=places.__getitem__)
    return []


def _by_plan(plan: Sequence[str], done: Sequence[str], name: str) -> float:
    if name not in plan:
        return 0.0
    ahead = [each for each in plan if each not in done]
    return 1.0 if ahead and ahead[0] == name else -1.0


def _is_error(called: Called, config: ProcessConfig) -> bool:
    return called.result is not None and _finds(config.errors, called.result)


def _is_order_error(called: Called, config: ProcessConfig) -> bool:
    return called.result is not None and _finds(config.order_errors, called.result)


def _told(call: ToolCall) -> str:
    """The texts of a call's arguments as they are meant, a line each; as written if no JSON."""
    decoded = arguments_of(call)
    return call.arguments if decoded is None else "\n".join(_texts(decoded))


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            is_vector = all(isinstance(each, str) for each in value)
            yield from [" ".join(value)] if is_vector else _all_texts(value)
        case dict():
            yield from _all_texts(value.values())


def _all_texts(values: Iterable[object]) -> Iterator[str]:
    for each in values:
        yield from _texts(each)


def _finds(patterns: Iterable[str], text: str) -> bool:
    """Whether one is found, in windows of the text: on the whole, a search may be quadratic."""
    compiled = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
    starts = range(0, max(len(text), 1), _WINDOW // 2)
    return any(each.search(text, at, at + _WINDOW) for at in starts for each in compiled)


def _tokens(text: str) -> set[str]:
    """Words and numbers that say where they come from."""
    found = (token.casefold() for token in _TOKEN.findall(text))
    return {
        token
        for token in found
        if (len(token) >= _SHORTEST_TOKEN or token.isdigit()) and token not in _EMPTY_WORDS
    }


def _mean(labels: Iterable[float | None]) -> float | None:
    known = [label for label in labels if label is not None]
    return fmean(known) if known else None
