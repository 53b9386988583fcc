"""Cells of the offline benchmarks: one persona, seed and way to train; each is measured once.

A cell's file has the shape of a trial of the personal suite, so that both can be compared. A
benchmark that was interrupted goes on with the cells that are missing, and several processes may
share the cells of a run.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from _config import composed
from _feedback import Event, collect
from _trials import begun_anew, digest, kept, settings_of

from clawjax.config import RunConfig
from clawjax.config.databases import file_url
from clawjax.data.preferences import Rated
from clawjax.envs.persona import load_persona
from clawjax.errors import DataError
from clawjax.learner.describe import describe
from clawjax.models.load import LoadedModel, load_model
from clawjax.runtime.build import use_compilation_cache
from clawjax.runtime.lockstep import Lockstep
from clawjax.runtime.offline import train_on
from clawjax.runtime.offline_rows import RowSets
from clawjax.runtime.paths import RunPaths
from clawjax.runtime.personal_suite import measured

__all__ = ["SIZES", "TINY", "Arms"]

TINY = ("suite=tiny", "model=tiny", "engine=tiny", "learner=tiny", "user.max_tokens=16")
SIZES = {
    "sft": ("offline.batch_rows=8", "offline.batches=8"),
    "dpo": (
        "offline.batch_rows=8",
        "offline.batches=6",
        "learner.mini_batch_turns=null",
        "objective.kl_coef=0.0",
    ),
    "rlhf": (
        "offline.batch_rows=4",
        "offline.samples=4",
        "offline.batches=6",
        "objective.baseline=rloo",
    ),
}
"""How much is learnt: in 6 to 8 updates, as in the live conversations of the personal suite; and of
its settings, which are for live learning, those that would make another method of the objective."""

QUESTIONS, QUICK_QUESTIONS, SAMPLES = 24, 6, 4
"""Of a collection, and the replies to each: as many as six rounds of sixteen turns bring."""


class Arms:
    """Collects feedback once per persona and seed, and trains on it in several ways."""

    def __init__(self, folder: Path, *, is_quick: bool) -> None:
        """Prepare.

        Args:
            folder: of all cells.
            is_quick: the tiny random model, and fewer questions.
        """
        self._folder = folder
        self._suite = TINY if is_quick else ("suite=personal",)
        self._questions = QUICK_QUESTIONS if is_quick else QUESTIONS
        self._loaded: LoadedModel | None = None

    def feedback(self, persona: str, seed: int) -> list[Event]:
        """Collected from the base model, or read where it was before.

        Raises:
            ConfigError: it was collected with other settings.
        """
        folder = self._own(f"{persona}-collect-{seed}")
        config = self._config(folder, seed, persona)

        def collected() -> dict[str, Any]:
            RunPaths(begun_anew(folder)).prepare()
            events = asyncio.run(
                collect(
                    config,
                    folder,
                    self._model(),
                    load_persona(persona),
                    seed=seed,
                    questions=self._questions,
                    samples=SAMPLES,
                )
            )
            jax.clear_caches()
            return {"events": [event.as_json() for event in events]}

        file = self._folder / "feedback" / f"{persona}-{seed}.json"
        settings = {"config": settings_of(config), "size": [self._questions, SAMPLES]}
        return [Event(**event) for event in kept(file, digest(settings), collected)["events"]]

    def cell(
        self, persona: str, name: str, seed: int, *, objective: str, rows: Sequence[Rated]
    ) -> dict[str, Any]:
        """Train and measure one way, where that was not done before.

        Args:
            persona: whose feedback it is, and whose wish is measured.
            name: of the way, as the rows call it.
            seed: of everything.
            objective: `sft`, `dpo` or `rlhf`.
            rows: the feedback.

        Raises:
            ConfigError: it was measured with other settings, or on other feedback.
        """
        folder = self._own(f"{persona}-{name}-{seed}")
        config = self._config(
            folder, seed, persona, f"objective={objective}", *SIZES[objective],
            "offline.min_margin=0.5", f"offline.max_response_tokens={self._max_tokens}",
        )  # fmt: skip

        def found() -> Mapping[str, Any]:
            what = {"persona": persona, "method": name, "seed": seed}
            return {**what, **self._measured(config, folder, persona, seed, rows)}

        file = self._folder / "cells" / f"{persona}-{name}-{seed}.json"
        result = kept(file, digest({"config": settings_of(config), "rows": repr(rows)}), found)
        print(f"{persona} {name} {seed}: style {result['style']['style_score']:.2f}", flush=True)
        return result

    def _measured(
        self, config: RunConfig, folder: Path, persona: str, seed: int, rows: Sequence[Rated]
    ) -> dict[str, Any]:
        began = time.monotonic()
        RunPaths(begun_anew(folder)).prepare()
        try:
            report = train_on(config, RunPaths(folder), self._model(), RowSets(rows, []))
        except DataError as error:  # e.g. no two replies that differ: the base is what comes of it
            report = {"nothing_to_learn": str(error)}
        found = asyncio.run(self._served(config, folder, persona, seed))
        jax.clear_caches()  # the programs of a cell are its own
        return {
            "objective": describe(config.objective, config.learner, config.reward),
            "training": None,
            "offline": report,
            "labels": len(rows),
            **found,
            "seconds": round(time.monotonic() - began, 1),
        }

    async def _served(
        self, config: RunConfig, folder: Path, persona: str, seed: int
    ) -> dict[str, Any]:
        async with Lockstep.open(config, RunPaths(folder), self._model()) as lockstep:
            await lockstep.catch_up()
            return await measured(lockstep, self._model(), load_persona(persona), seed=seed)

    @functools.cached_property
    def _max_tokens(self) -> int:
        return self._config(self._folder, 0, "brief").user.max_tokens

    def _config(self, folder: Path, seed: int, persona: str, *overrides: str) -> RunConfig:
        found = composed(folder, *self._suite, *overrides, root="evaluate")
        return dataclasses.replace(
            found,
            run=dataclasses.replace(found.run, seed=seed),
            log=dataclasses.replace(found.log, url=file_url(folder / "turns.db")),
            user=dataclasses.replace(found.user, persona=persona),
        )

    def _own(self, name: str) -> Path:
        return self._folder / "runs" / name

    def _model(self) -> LoadedModel:
        """Of no use where everything was measured before."""
        if self._loaded is None:
            config = self._config(self._folder / "base", 0, "brief")
            use_compilation_cache(config)
            self._loaded = load_model(config.model, seed=0)
        return self._loaded
