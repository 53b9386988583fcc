"""Which configuration, code and libraries produced a run."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from omegaconf import OmegaConf

from clawjax.config import RunConfig
from clawjax.config.writing import written
from clawjax.log.connection import parse_url, shown_url

__all__ = ["config_yaml", "git_sha", "versions"]

_PACKAGES = (
    "clawjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "qwix", "hydra-core",
    "wandb", "sqlalchemy", "starlette", "openai", "tokenizers", "numpy",
)  # fmt: skip


_NOT_RESULTS = ":(exclude)benchmarks/results"


def config_yaml(config: RunConfig) -> str:
    """The resolved configuration as it is kept beside results, without the turn log's password.

    Raises:
        LogError: `log.url` is no address of a turn log.
    """
    url = shown_url(parse_url(config.log.url))
    public = dataclasses.replace(config, log=dataclasses.replace(config.log, url=url))
    return OmegaConf.to_yaml(OmegaConf.create(written(public)))


def git_sha() -> str | None:
    """The commit of this source tree, `-dirty` appended where files differ; None without git.

    Files of results do not count: they are written by what is to be reproduced, one by one.
    """
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments],
            check=True, capture_output=True, text=True, timeout=10,
        ).stdout.strip()  # fmt: skip

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", _NOT_RESULTS)
        dirty = "-dirty" if changed else ""
        return git("rev-parse", "HEAD") + dirty
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict[str, str]:
    """Python's version and those of the packages that matter; absent ones are left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
