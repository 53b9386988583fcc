r"""Search for settings: `python experiments/sweep.py sweep=tiny`.

Or any keys of any entry point, given ranges on the command line:

    python experiments/sweep.py sweep.name=mine sweep.trials=30 suite=tiny model=tiny engine=tiny \
        'learner.learning_rate=tag(log, interval(1e-4, 1e-2))' 'suite.methods=[binary_rl],[opd]'

Each trial is a run of `sweep.entry` in a process of its own; the value that is optimised is the
evaluation's score. `--config-dir DIR` adds a folder of your own to `conf/`, for `sweep=NAME`
(`DIR/sweep/NAME.yaml`) and for every trial; docs/sweeps.md says what the settings are. The same
command goes on where it stopped, however that was. Exit codes: 0 done, 1 failed or stopped, 2 the
configuration or this machine does not allow it.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from _entry import refuse_secrets, refuse_written_secrets, tell
from _space import parse_arguments, read_space, split_space
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clawjax.config.sweeping import SweepConfig, SweepRoot
from clawjax.errors import ConfigError
from clawjax.sweeps.record import read_sweep
from clawjax.sweeps.study import run_sweep
from clawjax.sweeps.summary import importance, plot, render

_CONF = Path(__file__).resolve().parents[1] / "conf"


def main(arguments: list[str]) -> int:
    """Sweep, then say what came of it; the exit code."""
    try:
        own_folder, overrides = _options(arguments)
        config, space, fixed = read_arguments(overrides, own_folder)
        _, is_complete = run_sweep(config, space, fixed)
    except Exception as error:
        return tell(error)
    folder = Path(config.dir)
    record = read_sweep(folder)
    weights = importance(record)
    (folder / "summary.md").write_text(render(record, weights), encoding="utf-8")
    plot(record, weights, folder / "importance.png")
    print(render(record, weights))
    if not is_complete:
        print("Stopped; the same command goes on.", file=sys.stderr)
    return 0 if is_complete else 1


def _options(arguments: list[str]) -> tuple[Path | None, list[str]]:
    """`--config-dir`, and what is left: overrides."""
    settings = OmegaConf.to_yaml(OmegaConf.structured(SweepRoot))
    parser = argparse.ArgumentParser(
        usage="python experiments/sweep.py [--config-dir DIR] [sweep=NAME] [OVERRIDE ...]",
        description=__doc__,
        epilog=f"Settings of the sweep, with their defaults:\n\n{settings}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help="of configurations, too")
    options, overrides = parser.parse_known_args(arguments)
    if unknown := [each for each in overrides if each.startswith("-")]:
        parser.error(f"unrecognised: {' '.join(unknown)}")
    return options.config_dir, overrides


def read_arguments(arguments: list[str], own_folder: Path | None = None):  # noqa: ANN201 - three values of three modules
    """The sweep, what it tries, and what all its trials have in common.

    Args:
        arguments: overrides.
        own_folder: of configurations besides `conf/`.

    Raises:
        ConfigError: an argument that is wrong.
    """
    search = [] if own_folder is None else [_search_path(own_folder)]
    try:
        own, others = parse_arguments(arguments)
        config = compose_sweep([*search, *own])
        refuse_written_secrets([*arguments, *config.fixed])
        refuse_written_secrets(f"{key}={value}" for key, value in config.space.items())
        refuse_secrets({"the command line": arguments, "sweep": asdict(config)})
        space, fixed = split_space(others)
        return config, read_space(config.space) | space, [*search, *config.fixed, *fixed]
    except (HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ or error.__context__
        raise ConfigError(f"{error}" if cause is None else f"{error} {cause}") from error


def _search_path(folder: Path) -> str:
    """As an override that every entry point takes.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        msg = f"--config-dir {folder} is no folder: name one that holds e.g. sweep/NAME.yaml"
        raise ConfigError(msg)
    where = f"file://{folder.resolve()}".replace("'", "\\'")
    return f"hydra.searchpath=['{where}']"


def compose_sweep(overrides: list[str]) -> SweepConfig:
    """`conf/sweep.yaml` with one of `conf/sweep/`, as an object."""
    ConfigStore.instance().store(name="sweep_schema", node=SweepRoot)
    with initialize_config_dir(str(_CONF), version_base="1.3"):
        root = OmegaConf.to_object(compose("sweep", overrides))
    assert isinstance(root, SweepRoot)
    return root.sweep


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
