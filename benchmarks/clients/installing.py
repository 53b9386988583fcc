"""Clients from their registries, each in a folder of its own, kept between runs."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

from clients.recipe import Here, Npm, Pip, Recipe

__all__ = ["INSTALLED", "NotInstalledError", "folders_of", "install", "version_of"]

INSTALLED = Path(__file__).parent / "installed"
"""Ignored by git."""
_NODE = Npm("node", "24")
_TIMEOUT_S = 900.0
_SHOWN = 300


class NotInstalledError(Exception):
    """A client could not be had."""


def install(recipe: Recipe) -> None:
    """Install a client, unless it is.

    Raises:
        NotInstalledError: its registry, or this machine, does not allow it.
    """
    match recipe.install:
        case Here():
            return
        case Pip() as wanted:
            if version_of(recipe) != wanted.version:
                folder = str(INSTALLED / recipe.name)
                _run(sys.executable, "-m", "venv", "--clear", folder)
                package = f"{wanted.package}{wanted.extra}=={wanted.version}"
                _run(f"{folder}/bin/python", "-m", "pip", "install", "-q", package)
        case Npm() as wanted:
            if not _package_file("node", _NODE.package).exists():
                _npm_install("node", _NODE)
            if version_of(recipe) != wanted.version:
                _npm_install(recipe.name, wanted)


def version_of(recipe: Recipe) -> str | None:
    """The installed version; None where there is none."""
    match recipe.install:
        case Here(package):
            return importlib.metadata.version(package)
        case Pip(package):
            libraries = INSTALLED.joinpath(recipe.name, "lib").glob("python*/site-packages")
            found = importlib.metadata.distributions(name=package, path=[*map(str, libraries)])
            return next((distribution.version for distribution in found), None)
        case Npm(package):
            file = _package_file(recipe.name, package)
            return json.loads(file.read_text("utf-8"))["version"] if file.exists() else None


def folders_of(recipe: Recipe) -> list[Path]:
    """Where the programs of an installed client are, first things first."""
    match recipe.install:
        case Here():
            return [Path(sys.executable).parent]
        case Pip():
            return [INSTALLED / recipe.name / "bin"]
        case Npm():
            node = INSTALLED / "node" / "node_modules" / "node" / "bin"
            return [INSTALLED / recipe.name / "node_modules" / ".bin", node]


def _package_file(name: str, package: str) -> Path:
    return INSTALLED / name / "node_modules" / package / "package.json"


def _npm_install(name: str, wanted: Npm) -> None:
    prefix = str(INSTALLED / name)
    package = f"{wanted.package}@{wanted.version}"
    _run("npm", "install", "--prefix", prefix, "--no-audit", "--no-fund", package)


def _run(*command: str) -> None:
    node = INSTALLED / "node" / "node_modules" / "node" / "bin"
    environment = os.environ | {"PATH": f"{node}{os.pathsep}{os.environ['PATH']}"}
    try:
        subprocess.run(
            command, check=True, capture_output=True, timeout=_TIMEOUT_S, env=environment
        )
    except FileNotFoundError as error:
        msg = f"{command[0]} is not on this machine: install it"
        raise NotInstalledError(msg) from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip()[-_SHOWN:]
        msg = f"{' '.join(command[-2:])}: {said}"
        raise NotInstalledError(msg) from error
    except subprocess.TimeoutExpired as error:
        msg = f"{' '.join(command[-2:])}: not done after {_TIMEOUT_S:.0f} s"
        raise NotInstalledError(msg) from error
