"""A sweep's ranges in Hydra's own grammar, as the dimensions of a search space."""

from collections.abc import Mapping

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from clawjax.errors import ConfigError
from clawjax.sweeps.space import Choice, Dimension, Interval

__all__ = ["parse_arguments", "read_space", "split_space"]


def parse_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Those of the sweep itself (`sweep=...`, `sweep.*=...`), and those of its trials."""
    own: list[str] = []
    others: list[str] = []
    for override in OverridesParser.create().parse_overrides(arguments):
        key = override.key_or_group
        if override.is_hydra_override() or key == "run.dir":
            msg = f"{override.input_line}: a trial's folder is the sweep's: set sweep.dir"
            raise ConfigError(msg)
        is_own = key == "sweep" or key.startswith("sweep.")
        (own if is_own else others).append(override.input_line or "")
    return own, others


def split_space(arguments: list[str]) -> tuple[dict[str, Dimension], list[str]]:
    """Ranges by key, and the overrides that are none."""
    space: dict[str, Dimension] = {}
    fixed: list[str] = []
    for override in OverridesParser.create().parse_overrides(arguments):
        if override.is_sweep_override():
            space[override.get_key_element()] = _dimension(override)
        else:
            fixed.append(override.input_line or "")
    return space, fixed


def read_space(written: Mapping[str, str]) -> dict[str, Dimension]:
    """Of a configuration file.

    Raises:
        ConfigError: a value that is no range.
    """
    space, fixed = split_space([f"{key}={value}" for key, value in written.items()])
    if fixed:
        msg = f"sweep.space has {fixed[0]!r}, which is no range: put it into sweep.fixed"
        raise ConfigError(msg)
    return space


def _dimension(override: Override) -> Dimension:
    sweep = override.value()
    tags: set[str] = getattr(sweep, "tags", set())
    match sweep:
        case IntervalSweep(start=start, end=end):
            is_whole = isinstance(start, int) and isinstance(end, int)
            return Interval(float(start or 0), float(end or 0), "log" in tags, is_whole)
        case RangeSweep():
            return _range(override, sweep)
    return Choice(tuple(override.sweep_string_iterator()))


def _range(override: Override, sweep: RangeSweep) -> Dimension:
    """Without its end, as everywhere in Hydra (its Optuna plugin has it included)."""
    values = list(sweep.range())
    if len(values) < 2:
        raise ConfigError(f"{override.input_line} is no range: it has {len(values)} values")
    if "log" in sweep.tags:
        raise ConfigError(f"{override.input_line}: steps have no logarithm: use interval(...)")
    is_whole = all(isinstance(value, int) for value in values)
    return Interval(float(min(values)), float(max(values)), False, is_whole, abs(float(sweep.step)))
