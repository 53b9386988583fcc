"""Looks for secrets, pickles and unpinned dependencies in what is tracked; 0 where there are none.

python scripts/audit.py             # what needs no network
python scripts/audit.py --online    # and known weaknesses of the pinned versions (pip-audit)

Known weaknesses are asked for where pip-audit is installed (`pipx install pip-audit`) and reaches
its database. What was checked, and what was not and why, is said at the end.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

SECRETS = {
    "private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "clawjax key": r"\bck-[A-Za-z0-9_-]{43}\b",
    "AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}\b",
    "OpenAI key": r"\bsk-(?:proj-)?[A-Za-z0-9_-]{32,}\b",
    "Anthropic key": r"\bsk-ant-[A-Za-z0-9_-]{32,}\b",
    "Google key": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "Slack token": r"\bxox[abposr]-[0-9A-Za-z-]{20,}\b",
    "W&B key": r"(?i)wandb[^\n]{0,20}[\"'=: ][0-9a-f]{40}\b",
    "password in a URL": r"\b[a-z][a-z0-9+]{2,12}://[^\s:/@\"'{}$<>]+:(?!PASSWORD@)[^\s:/@\"'{}$<>]+@",
}
"""Patterns of what opens something, by what it is."""

MADE_UP = "made-up-secret"
"""A line with this word holds no real one."""

PICKLES = frozenset({"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"})
READS_PICKLES = {"clawjax/models/told.py"}
"""Reads them without running anything; tests/models/test_told.py holds it to that."""

_PINNED = re.compile(r"^[A-Za-z0-9._-]+(?:\[[^\]]+\])?==[^\s;\\]+")
_HASH = "--hash=sha256:"
_LARGEST = 5_000_000
"""Bytes; larger files are models and data."""
_TIMEOUT_S = 300.0
_ONLINE_S = 120.0
"""For all questions to the database of weaknesses together."""
_UNREACHABLE = re.compile(r"ConnectionError|MaxRetryError|Name or service|timed out|ServiceError")


def main() -> int:
    """Print what was found and return how bad it is."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--online", action="store_true", help="ask for known weaknesses as well")
    is_online = options.parse_args().online
    files, pinned = tracked(), locks()
    found = [*secrets_in(files), *pickles_in(files), *loose_ends(pinned)]
    checked = [f"secrets and pickles in {len(files)} files", f"hashes in {len(pinned)} lock files"]
    asked = weaknesses(pinned) if is_online else Asked({}, dict.fromkeys(pinned, "add --online"))
    found += [f"{shown(path)}: {told}" for path, told in asked.answers.items() if told]
    checked += [f"known weaknesses in {shown(path)}" for path in asked.answers]
    print(*(found or ["nothing found"]), sep="\n")
    print(f"checked: {'; '.join(checked)}")
    for path, why in asked.silent.items():
        print(f"NOT checked: known weaknesses in {shown(path)}: {why}")
    return int(bool(found))


def tracked(root: Path = ROOT) -> list[Path]:
    """Files that are in the repository, or will be with the next commit."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        timeout=_TIMEOUT_S,
    ).stdout
    paths = [root / name for name in listed.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and path.stat().st_size <= _LARGEST]


def secrets_in(paths: list[Path]) -> Iterator[str]:
    """Lines that look like a secret; what it is is said, not the secret."""
    patterns = {name: re.compile(pattern) for name, pattern in SECRETS.items()}
    for path in paths:
        text = path.read_bytes().decode("utf-8", "replace")
        for name, pattern in patterns.items():
            for match in pattern.finditer(text):
                start = text.rfind("\n", 0, match.start()) + 1
                line = text[start:].partition("\n")[0]
                if MADE_UP not in line:
                    number = text.count("\n", 0, start) + 1
                    yield f"{shown(path)}:{number}: looks like a secret ({name}): remove it"


def pickles_in(paths: list[Path]) -> Iterator[str]:
    """Imports of what runs code while it reads data, and arrays that may be such."""
    for path in paths:
        if path.suffix != ".py" or shown(path) in READS_PICKLES or "tests" in path.parts:
            continue
        code = path.read_text(encoding="utf-8")
        if not any(word in code for word in (*PICKLES, "allow_pickle")):
            continue
        for node in ast.walk(ast.parse(code)):
            names, where = _imported(node) & PICKLES, f"{shown(path)}:{getattr(node, 'lineno', 0)}"
            if names:
                yield f"{where}: imports {', '.join(names)}: use JSON or safetensors"
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and _is_true(node):
                yield f"{where}: reads arrays of pickles: leave allow_pickle out"


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module:
        return {node.module.partition(".")[0]}
    return set()


def _is_true(keyword: ast.keyword) -> bool:
    return not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)


def locks(root: Path = ROOT) -> list[Path]:
    """Files of pinned dependencies."""
    return [root / "requirements.lock", *sorted((root / "requirements").glob("*.lock"))]


def loose_ends(paths: list[Path]) -> Iterator[str]:
    """Requirements that name no version, or no hash that a download is held to."""
    for path in paths:
        for requirement in requirements(path):
            name = requirement.split()[0]
            if _HASH not in requirement:
                yield f"{shown(path)}: {name} has no sha256: run make lock"
            if not (_PINNED.match(requirement) or " @ " in requirement or "://" in requirement):
                yield f"{shown(path)}: {name} names no version: run make lock"


def requirements(path: Path) -> list[str]:
    """A lock file's requirements, each with its hashes, in one line."""
    joined = path.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and line[0] not in "#-"]


class Asked(NamedTuple):
    """What was asked of the database of weaknesses."""

    answers: dict[Path, str]
    """By lock file; empty where none is known."""
    silent: dict[Path, str]
    """Why there is no answer."""


def weaknesses(
    paths: list[Path], *, command: list[str] | None = None, seconds: float = _ONLINE_S
) -> Asked:
    """What pip-audit knows of the pinned versions; its database need not be reachable.

    Args:
        paths: lock files.
        command: runs pip-audit; None looks for it.
        seconds: for all of them together.
    """
    command = command or pip_audit()
    if not command:
        return Asked({}, dict.fromkeys(paths, "pip-audit is not installed: pipx install pip-audit"))
    asked, deadline = Asked({}, {}), time.monotonic() + seconds
    for path in paths:
        left_s = deadline - time.monotonic()
        try:
            done = subprocess.run(
                [*command, "--disable-pip", "--require-hashes", "-r", str(path)],
                capture_output=True,
                text=True,
                timeout=max(left_s, 0.0),
            )
        except subprocess.TimeoutExpired:
            asked.silent[path] = f"no answer within {seconds:g} s for all"
            continue
        if done.returncode and _UNREACHABLE.search(done.stderr):
            asked.silent[path] = "pip-audit does not reach its database"
        else:
            told = (done.stdout or done.stderr).strip() or f"exit code {done.returncode}"
            asked.answers[path] = told if done.returncode else ""
    return asked


def pip_audit() -> list[str]:
    """How to run it: as a module of this Python, or as a program; empty where it is neither."""
    if importlib.util.find_spec("pip_audit") is not None:
        return [sys.executable, "-m", "pip_audit"]
    program = shutil.which("pip-audit")
    return [program] if program else []


def shown(path: Path) -> str:
    """A path as people write it here."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    sys.exit(main())
