"""An Optuna study whose trials are programs: it survives being killed, and goes on.

Owns a sweep's folder: `sweep.json` (what is tried), `study.db`, `trials/NNNN/`. Invariants: a trial
that was cut off is failed and tried again with the same values in the same folder; one folder has
one driver at a time; the value of a trial is the evaluation's score.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from clawjax.config.databases import file_url
from clawjax.config.overrides import path_override
from clawjax.config.sweeping import SweepConfig
from clawjax.errors import ConfigError, EvalError, UnavailableError
from clawjax.files import lock, replace_file
from clawjax.stopping import stop_signals
from clawjax.sweeps.space import Dimension, assignments, grid, suggest, write_space
from clawjax.sweeps.trial import (
    TrialFailedError,
    TrialPrunedError,
    TrialStoppedError,
    end_leftover,
    run_trial,
)

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial, TrialState

__all__ = ["MANIFEST", "open_study", "run_sweep"]

MANIFEST = "sweep.json"
_TRIALS = "trials"
_BUSY_S = 60
"""How long SQLite waits for another writer, seconds."""


def run_sweep(
    config: SweepConfig, space: Mapping[str, Dimension], fixed: Sequence[str]
) -> tuple[Study, bool]:
    """Try until there are `config.trials` results; the study, and whether it is complete.

    Args:
        config: `dir` holds the sweep; one that is there is gone on with.
        space: what is tried.
        fixed: overrides of every trial.

    Raises:
        ConfigError: nothing to sweep, a grid without end, no such program, or a folder that cannot
            be written, holds another sweep, or is another process's.
        EvalError: `config.max_failures` trials in a row failed.
    """
    if not space:
        msg = "nothing is swept: give a key a range, e.g. 'learner.learning_rate=interval(0, 1)'"
        raise ConfigError(msg)
    folder = Path(config.dir).resolve()
    _require_program(config.entry)
    with _lock_file(folder) as held, stop_signals() as stopping:
        if not lock(held, wait_s=0.0, poll_s=0.1):
            raise ConfigError(f"sweep.dir={folder} is in use by another process: stop it first")
        driver = _Driver(config, space, fixed, folder, stopping.is_set)
        _claim(folder, config, space, fixed)
        study = _create(config, folder, space)
        driver.take_back(study)
        driver.optimise(study)
    if driver.failures >= config.max_failures:
        raise EvalError(f"{driver.failures} trials in a row failed, the last one: {driver.why}")
    return study, not stopping.is_set()


def open_study(folder: Path, storage: str | None, name: str) -> Study:
    """The study of a sweep's folder, for reading.

    Raises:
        UnavailableError: Optuna is not installed.
    """
    optuna = _optuna()
    return optuna.load_study(study_name=name, storage=_storage(folder, storage))


class _Driver:
    """Runs the trials of one folder."""

    def __init__(
        self,
        config: SweepConfig,
        space: Mapping[str, Dimension],
        fixed: Sequence[str],
        folder: Path,
        is_stopping: Callable[[], bool],
    ) -> None:
        """Raises ConfigError: what is swept cannot be listed, and is to be."""
        self._config, self._space, self._fixed = config, space, fixed
        self._folder, self._is_stopping = folder, is_stopping
        self._name = _driver_name(folder)
        self._lock = threading.Lock()
        """Of the study, and of what follows."""
        self._running = 0
        self._errors: dict[int, str] = {}
        self._wanted = min(config.trials, _most(config, space))
        self.failures = 0
        """In a row."""
        self.why = ""

    def take_back(self, study: Study) -> None:
        """Fail what an earlier driver of this folder left running, and queue it again."""
        from optuna.trial import TrialState

        # Who holds the folder is its one driver, whatever this machine and the folder were called.
        is_alone = self._config.storage is None
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if is_alone or trial.user_attrs.get("driver") == self._name:
                if "folder" in trial.user_attrs:
                    end_leftover(self._at(trial.user_attrs["folder"]))
                study._storage.set_trial_user_attr(trial._trial_id, "interrupted", True)
                study.tell(trial.number, state=TrialState.FAIL)
        trials = study.get_trials(deepcopy=False)
        retried = {trial.user_attrs.get("retry_of") for trial in trials}
        for trial in trials:
            attributes = trial.user_attrs
            attempt = attributes.get("attempt", 0)
            is_open = attributes.get("interrupted") and trial.number not in retried
            if is_open and attempt < self._config.retries:
                known = attributes.get("folder")
                kept = {} if known is None else {"folder": str(self._at(known))}
                again = {"retry_of": trial.number, "attempt": attempt + 1}
                # Of a trial that was cut off before it took its values, those it was to take.
                values = trial.system_attrs.get("fixed_params", {}) | trial.params
                study.enqueue_trial(values, user_attrs=kept | again)

    def _at(self, folder: str) -> Path:
        """A trial's folder, also where the whole sweep was moved since it was named."""
        if self._config.storage is not None:  # it may be another driver's
            return Path(folder)
        return self._folder / _TRIALS / Path(folder).name

    def optimise(self, study: Study) -> None:
        """Keep `jobs` trials running until there are enough results.

        Trials are drawn and told one at a time: on SQLite, two that are drawn at once may be one.
        """
        with ThreadPoolExecutor(self._config.jobs, "trial") as workers:
            for done in [workers.submit(self._work, study) for _ in range(self._config.jobs)]:
                done.result()

    def _work(self, study: Study) -> None:
        while (trial := self._next(study)) is not None:
            state, score = self._result(trial)
            with self._lock:
                study.tell(trial, score, state)
                self._running -= 1
                why = self._errors.get(trial.number)
                self.failures = 0 if why is None else self.failures + 1
                self.why = why or ""
            told = "" if score is None else f", score {score:.4g}"
            sys.stdout.write(f"trial {trial.number}: {state.name.lower()}{told}\n")
            sys.stdout.flush()

    def _next(self, study: Study) -> Trial | None:
        from optuna.trial import TrialState

        ended = (TrialState.COMPLETE, TrialState.PRUNED)
        with self._lock:
            under_way = len(study.get_trials(deepcopy=False, states=ended)) + self._running
            is_over = self._is_stopping() or self.failures >= self._config.max_failures
            if is_over or under_way >= self._wanted or self._is_walked(study):
                return None
            trial = study.ask()
            known = trial.user_attrs.get("folder")
            own = self._folder / _TRIALS / f"{trial.number:04d}"
            trial.set_user_attr("folder", str(own if known is None else self._at(known)))
            trial.set_user_attr("driver", self._name)
            suggest(trial, self._space)
            self._running += 1
            return trial

    def _is_walked(self, study: Study) -> bool:
        """Whether a grid has no point left: one that failed is not replaced by another."""
        from optuna.trial import TrialState

        waiting = (TrialState.WAITING,)
        return self._config.sampler == "grid" and not study.get_trials(
            deepcopy=False, states=waiting
        )

    def _result(self, trial: Trial) -> tuple[TrialState, float | None]:
        from optuna.trial import TrialState

        folder = Path(trial.user_attrs["folder"])
        where = path_override("hydra.run.dir", folder)
        overrides = [*self._fixed, *assignments(trial.params), where]

        def is_hopeless(value: float, step: int) -> bool:
            with self._lock:
                trial.report(value, step)
                return trial.should_prune()

        try:
            score = run_trial(
                [sys.executable, _program(self._config.entry), *overrides],
                folder,
                timeout_s=self._config.timeout_s,
                is_hopeless=is_hopeless,
                is_stopping=self._is_stopping,
            )
        except TrialPrunedError:
            return TrialState.PRUNED, None
        except TrialStoppedError:
            trial.set_user_attr("interrupted", True)
            return TrialState.FAIL, None
        except TrialFailedError as failed:
            trial.set_user_attr("error", str(failed))
            self._errors[trial.number] = str(failed)
            return TrialState.FAIL, None
        return TrialState.COMPLETE, score


def _most(config: SweepConfig, space: Mapping[str, Dimension]) -> int:
    """How many trials there can be."""
    if config.sampler != "grid":
        return config.trials
    return len(_grid(space))


def _grid(space: Mapping[str, Dimension]) -> list[dict[str, Any]]:
    listed = grid(space)
    return [dict(zip(listed, values, strict=True)) for values in product(*listed.values())]


def _create(config: SweepConfig, folder: Path, space: Mapping[str, Dimension]) -> Study:
    optuna = _optuna()
    study = optuna.create_study(
        study_name=config.name,
        storage=_storage(folder, config.storage),
        direction="minimize" if config.minimise else "maximize",
        pruner=_pruner(config),
        load_if_exists=True,
    )
    study.sampler = _sampler(config, _seed(config, folder, study))
    if config.sampler == "grid":  # Optuna's own grid needs its own loop
        for values in _grid(space):
            study.enqueue_trial(values, skip_if_exists=True)
    return study


def _seed(config: SweepConfig, folder: Path, study: Study) -> int:
    """By the trials before as well: a sweep that goes on does not draw the same again.

    And of several drivers of one study each draws its own.
    """
    seed = config.seed + len(study.get_trials(deepcopy=False))
    if config.storage is None:
        return seed
    return (seed + zlib.crc32(_driver_name(folder).encode())) % 2**32


def _driver_name(folder: Path) -> str:
    return f"{socket.gethostname()}:{folder}"


def _sampler(config: SweepConfig, seed: int) -> BaseSampler:
    from optuna import samplers

    if config.sampler in ("random", "grid"):
        return samplers.RandomSampler(seed=seed)
    return samplers.TPESampler(seed=seed, constant_liar=config.jobs > 1)


def _pruner(config: SweepConfig) -> BasePruner:
    from optuna import pruners

    match config.pruner:
        case "none":
            return pruners.NopPruner()
        case "hyperband":
            return pruners.HyperbandPruner()
    from clawjax.sweeps.pruning import RunningMedianPruner

    return RunningMedianPruner(config.pruner_trials, config.pruner_steps)


def _storage(folder: Path, url: str | None) -> Any:
    from optuna.storages import RDBStorage

    if url is not None:
        return RDBStorage(url)
    waiting = {"connect_args": {"timeout": _BUSY_S}}
    return RDBStorage(file_url(folder / "study.db"), engine_kwargs=waiting)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as missing:
        msg = "sweeps need Optuna, which is not installed: pip install -e '.[sweep]'"
        raise UnavailableError(msg) from missing
    return optuna


def _program(entry: str) -> str:
    """The entry point; a relative one that is not here is the checkout's."""
    ours = Path(__file__).parents[2] / entry
    return entry if Path(entry).exists() or not ours.is_file() else str(ours)


def _require_program(entry: str) -> None:
    if not Path(_program(entry)).is_file():
        msg = f"sweep.entry={entry} is no file, here or in the checkout: name the trials' program"
        raise ConfigError(msg)


def _lock_file(folder: Path) -> TextIO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / "lock").open("w", encoding="utf-8")
    except OSError as error:
        msg = (
            f"sweep.dir={folder} cannot be written ({error.strerror}): name another, or set "
            "CLAWJAX_RUNS to a folder that can"
        )
        raise ConfigError(msg) from error


def _claim(
    folder: Path, config: SweepConfig, space: Mapping[str, Dimension], fixed: Sequence[str]
) -> None:
    """Write down what is swept here; a second time it has to be the same."""
    wanted = {
        "name": config.name,
        "storage": config.storage,
        "entry": config.entry,
        "fixed": list(fixed),
        "space": write_space(space),
        "is_minimised": config.minimise,
    }
    wanted = json.loads(json.dumps(wanted))
    path = folder / MANIFEST
    if not path.exists():
        replace_file(path, json.dumps(wanted, indent=1) + "\n")
        return
    held = json.loads(path.read_text(encoding="utf-8"))
    for key, value in wanted.items():
        if held.get(key) != value:
            msg = f"{folder} holds another sweep ({key}: {held.get(key)!r} there, {value!r} now)"
            raise ConfigError(f"{msg}: use another sweep.name")
