"""Is it the same demo where a server in another process does the sampling?

    python benchmarks/demo_on_servers.py [--quick]

A short personal demo is run twice, round by round (talk, judge, train, adopt): with the embedded
engine, and with `engine=sglang` attached to `python -m clawjax.engine.server`. The same simulated
user asks the same questions, replies are greedy, so everything that is said and learnt ought to be
the same. About twelve minutes on two quiet cores with SmolLM2-135M-Instruct. `--quick` takes the
tiny random model.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from _compare import one_line
from _config import composed
from _engine_servers import running_servers
from _result import Goal, write_result

from clawjax.config import RunConfig
from clawjax.envs.persona import load_persona
from clawjax.log.replay import replay
from clawjax.models.load import load_model
from clawjax.protocols import Engine
from clawjax.records import Turn, TurnKind, expand_versions
from clawjax.runtime.build import use_compilation_cache
from clawjax.runtime.engines import open_engine
from clawjax.runtime.lockstep import Lockstep
from clawjax.runtime.paths import RunPaths
from clawjax.weights import DirectoryWeightStore

PARITY = 1e-4
EMBEDDED, SERVER = "embedded", "sglang, one engine server"

Row = dict[str, Any]

NOTES = {
    "runs": "one simulated user at a time (persona brief), temperature 0, the same seed; a round "
    "is so many turns, their judgements, one training step, and the new version for the engine",
    "non_2xx": "answers of the gateway",
    "published": "versions made by the learner and served afterwards; server: what the server "
    "itself says that it has, at the end",
    "differ": "turns whose prompt, reply or token versions are not the same in both runs",
    "largest_difference": "of log-probs at temperature 1 of the same tokens, in nats",
    "weights": "largest difference between two elements of the last published versions",
}


class Size(NamedTuple):
    """How much is said and learnt."""

    experiment: str
    model: str
    """As servers are told it."""
    rounds: int
    turns: int
    """In a round."""


FULL = Size("personal_demo", "smollm2", rounds=3, turns=16)
QUICK = Size("tiny_demo", "random:llama", rounds=2, turns=8)


class Ran(NamedTuple):
    """What came of a run."""

    turns: list[Turn]
    version: int
    non_2xx: int
    weights: dict[str, np.ndarray]
    said: str | None = None
    """The server's own word for its weights."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(prefix="demo_on_servers-") as folder:
        embedded = asyncio.run(run(size, Path(folder) / "embedded", []))
        served = on_a_server(size, Path(folder))
    rows = [run_row(EMBEDDED, embedded), run_row(SERVER, served), comparison(embedded, served)]
    for row in rows:
        print(one_line(row))
    write_result(
        "demo_on_servers_quick" if options.quick else "demo_on_servers",
        rows,
        goals(rows, size),
        command="python benchmarks/demo_on_servers.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


def on_a_server(size: Size, folder: Path) -> Ran:
    """The run whose replies come from another process."""
    context = configure(size, folder / "unused", []).model.context_length
    with running_servers(1, folder, model=size.model, context_length=context) as [server]:
        where = ["engine=sglang", f"engine.sglang.urls=[{server.url}]", "engine.sglang.model=tiny"]
        ran = asyncio.run(run(size, folder / "server", where))
        info = httpx.get(f"{server.url}/get_model_info", timeout=30, trust_env=False).json()
    return ran._replace(said=str(info["weight_version"]))


def configure(size: Size, folder: Path, overrides: Sequence[str]) -> RunConfig:
    """The demo's own settings but for what makes two runs alike."""
    alike = ("user.concurrency=1", "user.temperature=0", "gateway.port=0")
    return composed(folder, f"experiment={size.experiment}", *alike, *overrides)


async def run(size: Size, folder: Path, overrides: Sequence[str]) -> Ran:
    """One demo, round by round."""
    config = configure(size, folder, overrides)
    paths = RunPaths(folder)
    paths.prepare()
    use_compilation_cache(config)
    model = load_model(config.model, seed=config.run.seed)
    persona = load_persona(config.user.persona)
    async with (
        servers_of(config, paths) as engine,
        Lockstep.open(config, paths, model, engine) as lockstep,
    ):
        for number in range(size.rounds):
            await lockstep.round(persona, (number + 1) * size.turns)
        await lockstep.catch_up()
        turns = [one.turn for one in replay(lockstep.log) if one.turn.kind is TurnKind.MAIN]
        non_2xx = lockstep.log.counters().get("non_2xx", 0)
        version = lockstep.version
    _, weights = DirectoryWeightStore(paths.weights).load(version)
    return Ran(turns, version, non_2xx, dict(weights))


@asynccontextmanager
async def servers_of(config: RunConfig, paths: RunPaths) -> AsyncIterator[Engine | None]:
    """The engine on servers; None where none are configured."""
    if config.engine.kind == "embedded":
        yield None
        return
    engine, _ = await open_engine(config, paths, DirectoryWeightStore(paths.weights))
    try:
        yield engine
    finally:
        await engine.aclose()


def run_row(case: str, ran: Ran) -> Row:
    """One run."""
    tokens = sum(len(turn.response_ids) for turn in ran.turns)
    server = {} if ran.said is None else {"server": ran.said}
    counts = {"turns": len(ran.turns), "tokens": tokens, "non_2xx": ran.non_2xx}
    return {"case": case, **counts, "published": ran.version, **server}


def comparison(one: Ran, other: Ran) -> Row:
    """Both runs, turn by turn."""
    pairs = list(zip(one.turns, other.turns, strict=False))
    same = [pair for pair in pairs if _tokens(pair[0]) == _tokens(pair[1])]
    unpaired = abs(len(one.turns) - len(other.turns))
    differences = [
        float(np.abs(np.subtract(a.sampler_logprobs_t1, b.sampler_logprobs_t1)).max())
        for a, b in same
        if a.response_ids
    ]
    return {
        "case": "compared",
        "turns": len(pairs),
        "differ": len(pairs) - len(same) + unpaired,
        "largest_difference": max(differences, default=None),
        "weights": _apart(one.weights, other.weights),
    }


def _tokens(turn: Turn) -> tuple[Any, ...]:
    return turn.prompt_ids, turn.response_ids, expand_versions(turn.token_versions)


def _apart(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float | None:
    """None where they have not the same tensors."""
    if one.keys() != other.keys():
        return None
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def goals(rows: Sequence[Row], size: Size) -> list[Goal]:
    """Nothing is different, nothing is refused, and every version arrives."""
    embedded, served, compared = rows
    confirmed = int(served["server"]) if served["server"].isdecimal() else 0
    non_2xx = embedded["non_2xx"] + served["non_2xx"]
    return [
        Goal("turns that are not the same", "==", 0, compared["differ"], "turns"),
        Goal(
            "log-probs, embedded and server", "<=", PARITY, compared["largest_difference"], "nats"
        ),
        Goal("answers that are not 2xx", "==", 0, non_2xx, "answers"),
        Goal("newest version, in the server's own words", ">=", size.rounds, confirmed, "versions"),
    ]


if __name__ == "__main__":
    main()
