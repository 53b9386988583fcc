"""Runs a recipe against a live gateway, and judges what the turn log has of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clawjax.config import EngineConfig, GatewayConfig, ModelConfig
from clawjax.gateway.app import GatewayDeps, create_app
from clawjax.log.replay import replay
from clawjax.models.load import load_tokenizer
from clawjax.runtime.loopback import serving
from clawjax.testing import temporary_log
from clients.cutting import judge_cut
from clients.engine import ScriptedEngine
from clients.installing import NotInstalledError, folders_of, install, version_of
from clients.judging import Seen, judge
from clients.recipe import Recipe, filled
from clients.script import Fault, Script

__all__ = ["failed", "run"]

Row = dict[str, Any]

_MODEL = "policy"
_PROGRAMS = Path(__file__).parent / "programs"
_SHOWN = 300
_PATIENCE_S = 10.0


def run(recipe: Recipe, fault: Fault = Fault.REFUSED) -> Row:
    """Install a client, talk to it, and look into the log."""
    try:
        install(recipe)
    except NotInstalledError as error:
        return failed(recipe, f"cannot be installed: {error}")
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_play(Script(recipe, fault), Path(folder)))


def failed(recipe: Recipe, reason: str) -> Row:
    """The row of a client that did not get as far as the gateway."""
    nothing = dict.fromkeys(("turns", "linked_right", "sides", "retries_doubled"), 0)
    head = {"client": recipe.name, "version": version_of(recipe)}
    placed = {"side_right": False, "links": {}, "keys": []}
    return head | nothing | placed | {"ok": False, "reason": reason}


async def _play(script: Script, folder: Path) -> Row:
    seen, recipe = Seen(script), script.recipe
    tokenizer = load_tokenizer(ModelConfig(path="random:llama"))[0]
    log = temporary_log(folder)
    deps = GatewayDeps(
        engine=ScriptedEngine(tokenizer, seen),
        tokenizer=tokenizer,
        log=log,
        config=GatewayConfig(),
        sampling_defaults=EngineConfig(),
        model_name=_MODEL,
    )
    async with serving(create_app(deps)) as url:
        await _talk(seen, url, folder)
    logged = list(replay(log))
    links = log.links([one.turn.turn_id for one in logged])
    if script.fault is Fault.CUT:
        row = judge_cut(seen, logged, links, log.outcomes())
    else:
        row = judge(seen, logged, links)
    log.close()
    return {"client": recipe.name, "version": version_of(recipe)} | row


async def _talk(seen: Seen, url: str, folder: Path) -> None:
    """Run the client's commands, until one fails."""
    recipe = seen.script.recipe
    home, work = folder / "home", folder / "work"
    values = {
        "URL": url,
        "BASE": url.removesuffix("/v1"),
        "MODEL": _MODEL,
        "HOME": str(home),
        "WORK": str(work),
        "PROGRAMS": str(_PROGRAMS),
    }
    home.mkdir()
    work.mkdir()
    for name, text in recipe.files.items():
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(filled(text, values), encoding="utf-8")
    environment = _environment(recipe, values)
    for command, typed in _commands(seen.script):
        words = [filled(word, values) for word in command]
        said, trouble = await _run(words, typed, environment, work, recipe.timeout_s)
        seen.output += said
        if trouble is not None:
            seen.trouble = f"{words[0]} {trouble}: {said.strip()[-_SHOWN:]}"
            return


def _environment(recipe: Recipe, values: dict[str, str]) -> dict[str, str]:
    """Of its own: nothing but the way to its programs and what the recipe sets."""
    path = [*map(str, folders_of(recipe)), os.environ["PATH"]]
    home = values["HOME"]
    own = {name: filled(value, values) for name, value in recipe.environment.items()}
    return {
        "PATH": os.pathsep.join(path),
        "HOME": home,
        "TMPDIR": values["WORK"],
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "NO_PROXY": "127.0.0.1",
        "PYTHONUTF8": "1",
    } | own


def _commands(script: Script) -> Iterator[tuple[Sequence[str], str]]:
    """Each with what is typed into it."""
    recipe = script.recipe
    texts = [text for name in recipe.conversations for text in script.texts(name)]
    if recipe.is_typed:
        yield recipe.command, "".join(f"{text}\n" for text in texts)
    elif recipe.holds_all:
        yield (*recipe.command, *texts), ""
    else:
        for number, text in enumerate(texts):
            words = recipe.goes_on if number and recipe.goes_on else recipe.command
            yield [filled(word, {"TEXT": text}) for word in words], ""
    yield from ((words, "") for words in recipe.then)


async def _run(
    words: list[str], typed: str, environment: dict[str, str], work: Path, timeout_s: float
) -> tuple[str, str | None]:
    """What a command printed, and what went wrong with it. It takes its children with it."""
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            cwd=work,
            start_new_session=True,
        )
    except FileNotFoundError:
        return "", "is not among the client's programs"
    asked = asyncio.ensure_future(process.communicate(typed.encode()))
    done, _ = await asyncio.wait([asked], timeout=timeout_s)
    with contextlib.suppress(ProcessLookupError):  # nothing of it is left
        os.killpg(process.pid, signal.SIGKILL)
    ended, _ = await asyncio.wait([asked], timeout=_PATIENCE_S)
    if not ended:
        asked.cancel()
        return "", "left processes behind that hold its output"
    said = asked.result()[0].decode("utf-8", "replace")
    if not done:
        return said, f"was not done after {timeout_s:.0f} s"
    return said, None if process.returncode == 0 else f"ended with {process.returncode}"
