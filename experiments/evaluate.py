"""Measure policies: `python experiments/evaluate.py suite=personal`.

Or any agent on suites of tasks: `suite=gaia agent=endpoint agent.model=NAME`, `suite=quick`.
Or on a suite of one's own: `suite=own suite.name=package.module:function`.
Or reward modules on labelled turns: `suite=judge reward=next_state`.
Results are kept trial by trial, or episode by episode, in the run's folder; the same command goes
on where it stopped. Exit codes: 0 done, 2 the configuration or this machine does not allow it,
1 anything else.
"""

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import hydra
from _entry import guarded, is_checked_only, register_schema, start
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from clawjax.config import UNTRAINED, RunConfig, SuiteConfig, UserConfig, to_run_config
from clawjax.config.overrides import path_override
from clawjax.errors import ConfigError
from clawjax.evals.suites import SUITES

register_schema()


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
def main(config: DictConfig) -> float | None:
    """Measure and write the table; a sweep gets the mean score."""
    return guarded(lambda: _evaluate(to_run_config(config)))


def _evaluate(config: RunConfig) -> float | None:
    if config.suite.name == "personal":
        return _personal(config)
    return _judges(config) if config.suite.name == "judge" else _tasks(config)


def _judges(config: RunConfig) -> float | None:
    """The reward modules themselves, on labelled turns."""
    from clawjax.runtime.judge_suite import check_judge_suite, run_judge_suite

    if config.run.dry:
        check_judge_suite(config)
    if is_checked_only(config):
        return None
    found = [row["kappa"]["value"] for row in run_judge_suite(config)]
    known = [kappa for kappa in found if kappa is not None]
    return fmean(known) if known else None


def _tasks(config: RunConfig) -> float | None:
    """One suite of tasks, or each of those that it lists, with one agent."""
    from clawjax.runtime.task_suites import check_task_suites, run_task_suites

    _check_options(config.suite)
    chosen = [_part(name, config) for name in config.suite.suites] or [config.suite]
    if config.run.dry:
        from clawjax.runtime.rehearsal import rehearse_agent

        rehearse_agent(config, check_task_suites(config, chosen))
    if is_checked_only(config):
        return None
    scores = [summary["score"]["value"] for summary in run_task_suites(config, chosen)]
    return None if None in scores else fmean(scores)


def _check_options(suite: SuiteConfig) -> None:
    """Of suites that are listed, options go under their names."""
    for name in suite.options if suite.suites else ():
        if name not in SUITES:
            msg = f"suite.options.{name} is no suite's: use the name of one, {', '.join(SUITES)}"
            raise ConfigError(msg)


def _part(name: str, config: RunConfig) -> SuiteConfig:
    """A suite by the name of its file, or one's own, as the one that lists it selects."""
    is_own = ":" in name
    with_it = [f"suite={'own' if is_own else name}", path_override("run.dir", config.run.dir)]
    part = to_run_config(compose("evaluate", overrides=[*_search_path(), *with_it])).suite
    part.name = name if is_own else part.name
    part.options |= config.suite.options.get(name, {})
    part.limit = config.suite.limit
    part.trials = config.suite.trials
    part.concurrency = config.suite.concurrency
    part.max_error_share = config.suite.max_error_share
    part.limits = replace(part.limits, **config.suite.limits.given())
    return part


def _personal(config: RunConfig) -> float | None:
    """One configuration per method."""
    _check_choices(config)
    if config.run.plan or config.run.dry:
        _check_personal(config)
        return None
    from clawjax.evals.personal_table import render_table
    from clawjax.runtime.personal_suite import run_suite

    results = run_suite({method: _of(method, config) for method in config.suite.methods})
    table = render_table(results)
    (Path(config.run.dir) / "results.md").write_text(table)
    print(table)
    return fmean(result["style"]["style_score"] for result in results)


def _check_choices(config: RunConfig) -> None:
    """Refuse what would change nothing, as the suite chooses it by lists of its own.

    Raises:
        ConfigError: a user, a seed, or an objective that is not the one method which learns.
    """
    if config.user.persona != UserConfig().persona:
        msg = (
            f"user.persona={config.user.persona} is of a run's user: name whom suite="
            f"{config.suite.name} measures by suite.personas=[{config.user.persona}]"
        )
        raise ConfigError(msg)
    if config.run.seed and not config.model.path.startswith("random:"):
        msg = (
            f"run.seed={config.run.seed} draws random models, and changes nothing of another: "
            f"name the seeds of suite={config.suite.name} by suite.seeds=[{config.run.seed}]"
        )
        raise ConfigError(msg)
    learnt = set(config.suite.methods) - set(UNTRAINED)
    for given in HydraConfig.get().overrides.task:
        key, _, chosen = given.partition("=")
        if key == "objective" and learnt != {chosen}:
            msg = (
                f"{given} is of a run, and every method of suite={config.suite.name} has its own: "
                f"name those that are measured by suite.methods=[{chosen}], and to compare some "
                "in a sweep 'suite.methods=[binary_rl],[opd]'"
            )
            raise ConfigError(msg)


def _check_personal(config: RunConfig) -> None:
    """Say of each method that learns what it would take, or learn by."""
    from clawjax.runtime.rehearsal import rehearse_personal

    if config.run.dry:
        rehearse_personal(config)
    for method in config.suite.methods:
        if method not in UNTRAINED:
            _print_what(method, _of(method, config))
    if config.run.dry:
        is_checked_only(config)


def _print_what(method: str, config: RunConfig) -> None:
    """What the method would take of its devices, or what it would learn by."""
    from clawjax.runtime.run import print_objective, print_plan

    print(f"== {method}")
    if config.run.plan:
        print_plan(config)
    else:
        print_objective(config)


def _of(method: str, config: RunConfig) -> RunConfig:
    """The same configuration with the method's objective."""
    if method in UNTRAINED:
        return config
    chosen = HydraConfig.get().overrides.task
    where = path_override("run.dir", config.run.dir)
    overrides = [*_search_path(), *chosen, f"objective={method}", where]
    return to_run_config(compose("evaluate", overrides=overrides))


def _search_path() -> list[str]:
    """The override that names folders of one's own, as a sweep gives them to its trials.

    Hydra forgets it after the first configuration, other than `--config-dir`.
    """
    given = HydraConfig.get().overrides.hydra if HydraConfig.initialized() else []
    return [each for each in given if each.lstrip("+").startswith("hydra.searchpath=")]


if __name__ == "__main__":
    start(main)
