"""The tools of a question: a calculator, its attachment, and Python in a sandbox.

Invariant: files are read from the question's own folder only, never through a link, and the folder
holds the attachment and what the agent's programs wrote.
"""

from __future__ import annotations

import codecs
import importlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from clawjax.evals.harness.calculator import calculate
from clawjax.evals.harness.sandbox import Sandbox
from clawjax.evals.harness.tasks import ANSWER, Action, Setup
from clawjax.evals.harness.trajectory import StepResult
from clawjax.evals.suites.gaia.browsing import ChromiumBrowser

__all__ = ["CHROMIUM", "Browser", "GaiaEnvironment"]

CHROMIUM = "chromium"
"""`suite.options.browser` for the one that is ours."""

_READ_BYTES = 200_000


class Browser(Protocol):
    """`browsing.ChromiumBrowser`, or somebody else's, made without arguments."""

    def begin(self) -> None:
        """A new question: nothing is left of the one before."""
        ...

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Carry out a tool; the text is what the agent sees.

        Raises:
            ValueError: it cannot be done; the message is what the agent sees.
        """
        ...

    def close(self) -> None:
        """Free everything."""
        ...


class GaiaEnvironment:
    """`Environment` of one question after the other."""

    def __init__(
        self,
        *,
        files: str,
        browser: str | None = None,
        browser_origins: Sequence[str] | None = None,
        python_s: float = 20.0,
    ) -> None:
        """Nothing is touched before `reset`.

        Args:
            files: folder with the attachments.
            browser: `chromium`, or `module:callable` that gives a `Browser`.
            browser_origins: of Chromium, pages of these only; None: of all public hosts.
            python_s: wall time of one program.
        """
        self._files = Path(files)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._browser: Browser | None = None
        self._python_s = python_s
        if browser == CHROMIUM:
            self._browser = ChromiumBrowser(browser_origins)
        elif browser is not None:
            module, _, name = browser.partition(":")
            self._browser = getattr(importlib.import_module(module), name)()

    def reset(self, setup: Setup) -> str:
        """An empty folder with the attachment, which is named."""
        self._leave()
        if self._browser is not None:
            self._browser.begin()
        self._folder = tempfile.TemporaryDirectory(prefix="clawjax-gaia-")
        attached = setup.options.get("file_name")
        if not attached:
            return ""
        shutil.copyfile(self._files / attached, self._work / attached)
        return f"Attached file: {attached}"

    def step(self, action: Action) -> StepResult:
        """Use a tool; what it refuses is told."""
        told = action.arguments
        try:
            match action.name:
                case "calculator":
                    return StepResult(str(calculate(told["expression"])))
                case "read_file":
                    return StepResult(self._read(told["name"]))
                case "python":
                    return self._python(told["code"])
                case name if name == ANSWER:
                    return StepResult("", is_done=True)
            assert self._browser is not None, f"no tool {action.name} was offered"
            return StepResult(self._browser.call(action.name, told))
        except ValueError as refused:
            return StepResult(str(refused), error=str(refused), is_valid=False)

    def snapshot(self) -> Mapping[str, Any]:
        """Names and sizes of the files."""
        return {each.name: each.lstat().st_size for each in sorted(self._work.iterdir())}

    def inspect(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """An answer says it all."""
        return {}

    def close(self) -> None:
        """Remove the folder, end the browser."""
        self._leave()
        if self._browser is not None:
            self._browser.close()

    def _leave(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    @property
    def _work(self) -> Path:
        assert self._folder is not None, "reset comes first"
        return Path(self._folder.name)

    def _python(self, code: str) -> StepResult:
        found = Sandbox(self._work, timeout_s=self._python_s).run_python(code)
        if found.timed_out:
            text = f"{found.output}\n[stopped after {self._python_s:g} s]"
            return StepResult(text, error="timed out")
        text = found.output or "[nothing was printed]"
        return StepResult(text, error=None if found.exit_code == 0 else f"exit {found.exit_code}")

    def _read(self, name: str) -> str:
        if Path(name).name != name or name in ("", ".", ".."):
            msg = f"{name!r} is no file of this question: use the name alone"
            raise ValueError(msg)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self._work / name, flags)
        except OSError as error:
            there = ", ".join(sorted(each.name for each in self._work.iterdir())) or "none"
            msg = f"{name!r} cannot be read ({error.strerror}); there are: {there}"
            raise ValueError(msg) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # fdopen fails on folders
            os.close(descriptor)
            msg = f"{name!r} is not a regular file: name one"
            raise ValueError(msg)
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(_READ_BYTES + 1)
        is_whole = len(content) <= _READ_BYTES
        try:  # the limit may cut a character in two
            return codecs.getincrementaldecoder("utf-8")().decode(content[:_READ_BYTES], is_whole)
        except UnicodeDecodeError as error:
            msg = f"{name!r} is not text: open /work/{name} with the python tool"
            raise ValueError(msg) from error
