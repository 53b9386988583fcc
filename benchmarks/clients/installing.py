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
                folder = str(INSTALLED / wanted.folder)
                _run(sys.executable, "-m", "venv", "--clear", folder)
                package = f"{wanted.package}{wanted.extra}=={wanted.version}"
                _run(f"{folder}/bin/python", "-m", "pip", "install", "-q", package)
        case Npm() as wanted:
            if not _package_file(_NODE).exists():
                _npm_install(_NODE)
            if version_of(recipe) != wanted.version:
                _npm_install(wanted)


def version_of(recipe: Recipe) -> str | None:
    """The installed version; None where there is none."""
    match recipe.install:
        case Here(package):
            return importlib.metadata.version(package)
        case Pip() as wanted:
            libraries = INSTALLED.joinpath(wanted.folder, "lib").glob("python*/site-packages")
            path = [*map(str, libraries)]
            found = importlib.metadata.distributions(name=wanted.package, path=path)
            return next((distribution.version for distribution in found), None)
        case Npm() as wanted:
            file = _package_file(wanted)
            return json.loads(file.read_text("utf-8"))["version"] if file.exists() else None


def folders_of(recipe: Recipe) -> list[Path]:
    """Where the programs of an installed client are, first things first."""
    match recipe.install:
        case Here():
            return [Path(sys.executable).parent]
        case Pip() as wanted:
            return [INSTALLED / wanted.folder / "bin"]
        case Npm() as wanted:
            return [INSTALLED / wanted.folder / "node_modules" / ".bin", _node_folder()]


def _package_file(wanted: Npm) -> Path:
    return INSTALLED / wanted.folder / "node_modules" / wanted.package / "package.json"


def _node_folder() -> Path:
    return _package_file(_NODE).parent / "bin"


def _npm_install(wanted: Npm) -> None:
    prefix = str(INSTALLED / wanted.folder)
    package = f"{wanted.package}@{wanted.version}"
    _run("npm", "install", "--prefix", prefix, "--no-audit", "--no-fund", package)


def _run(*command: str) -> None:
    path = f"{_node_folder()}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
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
