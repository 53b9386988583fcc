"""Made-up conversations into a file: plans, an endpoint that plays them, filters, JSON lines.

Owns in the run's folder `dialogues.jsonl`, what became of each plan, `synthetic.jsonl`, the rows of
those that were kept, and `synthesis_settings.json`. Invariants: plans depend on the seed and the
settings alone, so that the same command goes on where it stopped and asks again where the endpoint
was silent; the rows are made anew of what was settled, so that a run that was killed leaves no half
of one; a disk that is full costs no conversation that was written before.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clawjax.config import SynthesisConfig
from clawjax.data.endpoint import EndpointChat
from clawjax.data.filters import DialogueFilter
from clawjax.data.synthetic import (
    Chat,
    Dialogue,
    Exchange,
    Ingredients,
    Plan,
    load_ingredients,
    plans,
    play,
    rows_of,
)
from clawjax.envs.persona import load_persona, shipped_personas
from clawjax.errors import ConfigError, EngineError
from clawjax.evals.material import closed_questions, neutral_prompts
from clawjax.files import replace_file
from clawjax.rewards.language import detect_language
from clawjax.runtime.holding import flat, hold, is_of
from clawjax.runtime.paths import RunPaths

__all__ = ["DIALOGUES", "ROWS", "check_synthesis", "held_out_prompts", "synthesize", "synthesized"]

logger = logging.getLogger(__name__)

DIALOGUES = "dialogues.jsonl"
ROWS = "synthetic.jsonl"
_KEPT = "kept"
_SILENT = "endpoint"
"""What became of a plan that the endpoint did not play to its end."""
_FREE = tuple(
    f"synthesis.{name}"
    for name in (
        "dialogues", "personas",  # which are among the ingredients
        "base_url", "api_key_env", "concurrency", "timeout_s", "retries",
    )
)  # fmt: skip
"""May differ from one start to the next. What is not listed may not, nor what is added later."""
_OF_FILES = ("synthesis.ingredients", "synthesis.held_out")
_DIGITS = 12
"""Of a digest that is shown."""
_GIVE_UP = 3
"""So many rounds in a row without any conversation end the run."""


@dataclass(frozen=True, slots=True)
class _Settled:
    """What became of a plan; one line of `dialogues.jsonl`."""

    source: str
    became: str
    exchanges: tuple[Exchange, ...]


def synthesized(config: SynthesisConfig, folder: Path, *, seed: int) -> dict[str, int]:
    """`synthesize` by the configured endpoint, one process at a time in a folder."""
    paths = RunPaths(folder)
    paths.prepare()
    with paths.locked(), asyncio.Runner() as runner:
        chat = EndpointChat(config, env=os.environ)
        try:
            return synthesize(config, folder, chat, seed=seed, runner=runner)
        finally:
            runner.run(chat.aclose())


def check_synthesis(config: SynthesisConfig) -> None:
    """Read ingredients and held-out prompts; the endpoint is not asked.

    Raises:
        ConfigError: a file cannot be read, or a persona is unknown.
    """
    _ingredients(config)
    held_out_prompts(config.held_out)


def _ingredients(config: SynthesisConfig) -> Ingredients:
    file = Path(config.ingredients) if config.ingredients else None
    return load_ingredients(file, personas=config.personas)


def synthesize(
    config: SynthesisConfig, folder: Path, chat: Chat, *, seed: int, runner: asyncio.Runner
) -> dict[str, int]:
    """Play the plans that are not settled yet, and write the rows of all that were kept.

    Returns:
        Dialogues by what became of them: `kept`, a reason of the filters, or `endpoint`; and
        `rows`, the lines of `synthetic.jsonl`.

    Raises:
        ConfigError: ingredients or held-out prompts cannot be used, or the folder has
            conversations of other settings.
        EngineError: the endpoint does not answer.
    """
    ingredients = _ingredients(config)
    before = _written(folder / DIALOGUES)
    most = max(config.dialogues, len(before))  # an earlier run may have planned more
    known = list(plans(ingredients, most, seed=seed))
    planned = known[: config.dialogues]
    settled = _settled_before(folder / DIALOGUES, before, {plan.source for plan in known})
    gate = DialogueFilter(
        config.filters, held_out=held_out_prompts(config.held_out), language_of=detect_language
    )
    folder.mkdir(parents=True, exist_ok=True)
    now = _deciding(config, ingredients, seed=seed)
    hold(RunPaths(folder).synthesis_settings, now, is_begun=bool(before), done="made")
    for each in settled.values():
        if each.became == _KEPT:
            gate.check(*_texts(each.exchanges))
    left = [plan for plan in planned if plan.source not in settled]
    replace_file(folder / DIALOGUES, "".join(map(_line, settled.values())))
    with (folder / DIALOGUES).open("a", encoding="utf-8") as stream:
        for each in _played(left, chat, gate, config, runner, has_heard=bool(settled)):
            settled[each.source] = each
            stream.write(_line(each))
            stream.flush()
    rows = list(_rows(planned, settled))
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    replace_file(folder / ROWS, text)
    return {**Counter(settled[plan.source].became for plan in planned), "rows": len(rows)}


def _deciding(config: SynthesisConfig, ingredients: Ingredients, *, seed: int) -> dict[str, Any]:
    """What decides which conversations there are; of files, what is in them."""
    chosen = {
        key: value
        for key, value in flat(config, "synthesis.")
        if not is_of(key, (*_FREE, *_OF_FILES))
    }
    held_out = [_lines(Path(file)) for file in config.held_out]
    for key, content in zip(_OF_FILES, (ingredients, held_out), strict=True):
        chosen[key] = hashlib.sha256(repr(content).encode()).hexdigest()[:_DIGITS]
    return {"run.seed": seed, **chosen}


def held_out_prompts(files: Sequence[str]) -> list[str]:
    """What must not be trained on: what clawjax measures by, and the lines of these files.

    Raises:
        ConfigError: a file cannot be read.
    """
    own = [
        *neutral_prompts(),
        *(question.prompt for question in closed_questions()),
        *(p for name in shipped_personas() for p in load_persona(name).held_out_prompts),
    ]
    return [*own, *(line for file in files for line in _lines(Path(file)))]


def _played(
    planned: Sequence[Plan],
    chat: Chat,
    gate: DialogueFilter,
    config: SynthesisConfig,
    runner: asyncio.Runner,
    *,
    has_heard: bool,
) -> Iterator[_Settled]:
    """Settle plans in order, `concurrency` at once; `has_heard`: others were played before."""
    silent = 0
    for start in range(0, len(planned), config.concurrency):
        part = planned[start : start + config.concurrency]
        dialogues = runner.run(_round(part, chat, config))
        has_heard = has_heard or any(dialogues)
        silent = 0 if any(dialogues) else silent + 1
        is_last = start + len(part) == len(planned)
        if silent == _GIVE_UP or (is_last and not has_heard):
            msg = (
                f"{config.base_url} has played no conversation to its end in {silent} rounds: see "
                "the log, and check synthesis.base_url, model and max_tokens"
            )
            raise EngineError(msg)
        for plan, dialogue in zip(part, dialogues, strict=True):
            if dialogue is None:
                yield _Settled(plan.source, _SILENT, ())
                continue
            reason = gate.check(*_texts(dialogue.exchanges))
            became = _KEPT if reason is None else reason.value
            yield _Settled(plan.source, became, dialogue.exchanges)


async def _round(
    part: Sequence[Plan], chat: Chat, config: SynthesisConfig
) -> list[Dialogue | None]:
    return await asyncio.gather(*(_attempt(plan, chat, config) for plan in part))


async def _attempt(plan: Plan, chat: Chat, config: SynthesisConfig) -> Dialogue | None:
    try:
        return await play(plan, chat, turns=config.turns, with_plain=config.form == "preferences")
    except EngineError as error:
        logger.warning("%s: %s", plan.source, error)
        return None


def _texts(exchanges: Sequence[Exchange]) -> tuple[list[str], list[str]]:
    """Requests and replies, for the filters; a plain reply is one that is trained away from."""
    return [e.request for e in exchanges], [e.reply for e in exchanges]


def _rows(planned: Sequence[Plan], settled: Mapping[str, _Settled]) -> Iterator[dict[str, Any]]:
    for plan in planned:
        each = settled[plan.source]
        if each.became == _KEPT:
            yield from rows_of(Dialogue(plan, each.exchanges))


def _settled_before(file: Path, lines: Sequence[str], known: Container[str]) -> dict[str, _Settled]:
    """What an earlier run of the same settings has settled, but for a line cut off by its end.

    Where the endpoint was silent a plan is not settled: it is asked again.

    Raises:
        ConfigError: it was of other settings.
    """
    found: dict[str, _Settled] = {}
    for line in lines:
        try:
            told = json.loads(line)
        except ValueError:
            break
        if told["source"] not in known:
            msg = (
                f"{file} has conversations of other settings or another seed: use another "
                "run.name, or remove it"
            )
            raise ConfigError(msg)
        exchanges = tuple(Exchange(**each) for each in told["exchanges"])
        found[told["source"]] = _Settled(told["source"], told["became"], exchanges)
    return {source: each for source, each in found.items() if each.became != _SILENT}


def _line(settled: _Settled) -> str:
    told = asdict(settled) | {"exchanges": [each._asdict() for each in settled.exchanges]}
    return json.dumps(told, ensure_ascii=False) + "\n"


def _written(file: Path) -> list[str]:
    """The whole lines of `dialogues.jsonl`: a process that ended may have cut off the last one."""
    if not file.exists():
        return []
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1].decode("utf-8", "replace")
    return [line for line in whole.split("\n") if line.strip()]


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{file} cannot be read ({error}): check synthesis.held_out and run.dir"
        raise ConfigError(msg) from error
