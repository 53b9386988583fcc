"""The command line: `clawjax COMMAND ...`.

A command is one module in `clawjax/cli/commands`: its name, its docstring, whose first line is the
help, and the two functions of `Command`. It is imported when it is chosen, so `clawjax --help`
reads a few files and imports nothing.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

__all__ = ["Command", "known_commands", "main", "with_signs"]

_FOLDER = Path(__file__).parent / "commands"
_OPTION = re.compile(r"--[a-z][^=]*")
_UNSATISFIED = 2
"""The exit code where arguments cannot be satisfied, as argparse has it."""
_INTERRUPTED = 130


class Command(Protocol):
    """What a command's module has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Say what the command takes."""
        ...

    def run(self, options: argparse.Namespace) -> int:
        """Do it; returns the exit code.

        Raises:
            ClawError: it cannot be done; the message is shown.
        """
        ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    known = known_commands()
    if not words or words[0] not in known:
        _front(known).parse_args(words or ["--help"])
        return _UNSATISFIED
    return _run(words[0], words[1:])


def known_commands() -> dict[str, str]:
    """The first line of help of every command, by name, without importing any."""
    found: dict[str, str] = {}
    for file in sorted(_FOLDER.glob("[!_]*.py")):
        described = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        found[file.stem] = described.partition("\n")[0]
    return found


def with_signs(words: Sequence[str]) -> list[str]:
    """The words, a negative number joined to the option before it.

    argparse takes `-1e-3` for an option of its own, and `--name=-1e-3` for what it is.
    """
    joined: list[str] = []
    for word in words:
        if joined and _is_negative(word) and _OPTION.fullmatch(joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _is_negative(word: str) -> bool:
    try:
        return word.startswith("-") and not math.isnan(float(word))
    except ValueError:
        return False


def _front(known: dict[str, str]) -> argparse.ArgumentParser:
    width = max(map(len, known), default=0)
    listed = "\n".join(f"  {name:{width}}  {described}" for name, described in known.items())
    parser = argparse.ArgumentParser(
        prog="clawjax",
        description="Train personal AI agents by talking to them.",
        epilog=f"commands:\n{listed}\n\n`clawjax COMMAND --help` says what a command takes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=known, metavar="COMMAND", help="one of those below")
    return parser


def _run(name: str, words: Sequence[str]) -> int:
    module = importlib.import_module(f"clawjax.cli.commands.{name}")
    command = cast(Command, module)
    parser = argparse.ArgumentParser(
        prog=f"clawjax {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    has_commands = parser._subparsers is not None  # beside which nothing may be mixed
    parse = parser.parse_args if has_commands else parser.parse_intermixed_args
    options = parse(with_signs(words))
    from clawjax.errors import ClawError
    from clawjax.texts import clean

    try:
        return command.run(options)
    except ClawError as error:
        sys.stderr.write(f"{clean(str(error))}\n")
        return _UNSATISFIED
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return _INTERRUPTED
    except BrokenPipeError:  # the reader, e.g. `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # e.g. another account's folder, which only its owner may enter
        where = "" if error.filename is None else f": {error.filename}"
        sys.stderr.write(f"{clean(f'{error.strerror or error}{where}')}\n")
        return _UNSATISFIED
