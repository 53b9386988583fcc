"""What a tool's result proves about the call that it answers. Pure functions of text.

Invariant: a result that only came back proves nothing. Praise needs a check that could have failed
(a test run, a build, a declared form) and a command that does not print its own verdict; blame
needs the tool's word that the call failed, and nothing that the call could not help.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from clawjax.config import ToolOutcomeConfig
from clawjax.json_schema import schema_problem
from clawjax.log.reaction import is_call_error
from clawjax.records import Message, ToolCall

__all__ = [
    "MAX_CHARS",
    "Evidence",
    "TestCounts",
    "count_tests",
    "ends_of",
    "evidence_of",
    "exit_code",
]

MAX_CHARS = 20_000
"""Of longer results the start and the end are read."""

_CHECK = re.compile(
    r"\A(?:\w+=\S*\s+)*(?:\S*/)?+"
    r"(?:(?:poetry|uv|pipenv|npx|pnpm|yarn|hatch|tox|nice|timeout \S+)\s+"
    r"(?:run\s+|exec\s+)?)*(?:\S*/)?+(?:python[\d.]*\s+(?:-\w+\s+)*-m\s+)?"
    r"(?:pytest|unittest|nosetests|tox|mypy|pyright|ruff\s+check|flake8|tsc|eslint|jest|vitest"
    r"|mocha"
    r"|cargo\s+(?:test|build|check|clippy)|go\s+(?:test|build|vet)|make\b(?!\s+-n)|ctest|ninja"
    r"|gcc|g\+\+"
    r"|npm\s+(?:test|run\s+(?:test|build|lint))|yarn\s+(?:test|build)|mvn\s+(?:test|verify)"
    r"|gradle\w*\s+(?:test|build|check)|dotnet\s+(?:test|build)|rspec|phpunit)\b"
)
_PRINTS = re.compile(r"\A(?:\S*/)?(?:echo|printf|cat|tee|yes|true|exit|:)(?:\s|\Z)")
_MAY_FAIL = re.compile(
    r"\A(?:\S*/)?(?:(?:e?grep|rg|ag|diff|cmp|test|which|command|pgrep)\b|\[\[?\s)|git (?:diff|grep)"
)
_COMMAND_KEYS = ("command", "cmd", "commands", "script")
"""What tools call the argument that they run; others beside it describe it, or say where."""
_SPLIT = re.compile(r"(&&|\|\||\|&|[;|\n]|(?<![<>&])&(?![>&]))")
_PIPEFAIL = re.compile(r"\Aset\s+(?:-\w+\s+)*-\w*o\s+pipefail\b")
_CODE_KEYS = ("exit_code", "exitCode", "exit_status", "returncode", "return_code", "exit")
_CODE_TEXT = re.compile(
    r"(?:exit(?:ed with)?[ _-]?(?:code|status)|return ?code)(?: of)?\W{0,4}(-?\d{1,4})\b", re.I
)
_HELPLESS_CODES = frozenset({124, 130, 137, 143})
"""Time-outs and signals: somebody else ended the command."""
_HELPLESS = re.compile(
    r"timed? ?out|timeout|rate.?limit|too many requests|\b(?:429|50[0-4])\b"
    r"|connection (?:refused|reset"
    r"|error)|network is unreachable|temporarily unavailable|service unavailable|name resolution"
    r"|no space left|out of memory|interrupted by|cancelled by|user rejected|tool use was rejected"
    r"|denied by the user",
    re.I,
)
_OPENS_WITH_ERROR = re.compile(
    r"\s*(?:traceback \(most recent call last\)"
    r"|(?:fatal )?(?:error|fatal)(?:[ \t]*[:!\[({<]|[ \t]+-\s|[ \t]*\.?(?:\n|\Z)|[ \t]+[a-z]*\d+\b"
    r"|[ \t]+in\b[^\n]*:"
    r"|[ \t]+(?:accessing|calling|connecting|creating|deleting|during|executing|fetching|finding"
    r"|getting|invoking|loading|occurred|opening|parsing|performing|processing|reading|running"
    r"|searching|trying|using|while|writing)\b))",
    re.I,
)
"""Words about an error in general, as a page's title has them, are none."""
_ERROR_KEYS = ("isError", "is_error", "error", "errors")
_OK_KEYS = ("success", "ok")
_COUNT = re.compile(r"(\d{1,9}) (passed|failed|errors?|failing|passing)\b")
_RAN = re.compile(r"^Ran (\d{1,9}) tests? in [^\n]*\n\s*^(OK|FAILED)\b", re.M)
_CARGO = re.compile(r"test result: (?:ok|FAILED)\. (\d{1,9}) passed; (\d{1,9}) failed")
_GO = re.compile(r"^(ok|FAIL|--- FAIL:?)\s+\S+", re.M)
_JEST = re.compile(r"^Tests:\s+(.*)$", re.M)


class TestCounts(NamedTuple):
    """What a test run says of itself."""

    __test__ = False  # no test case for pytest to collect

    passed: int
    failed: int


class Evidence(NamedTuple):
    """What one result proves."""

    score: float | None
    """In [-1, 1]; None where nothing is proven."""
    why: str


def evidence_of(
    result: Message, call: ToolCall | None, declared: Mapping[str, Any] | None, c: ToolOutcomeConfig
) -> Evidence:
    """Read one tool message.

    Args:
        result: the message; its role is `tool`.
        call: which it answers; None where the reply has no such call.
        declared: JSON schema of the tool's results; None where it declares none.
        c: what each kind of evidence counts for.
    """
    text = ends_of(result.content, MAX_CHARS)
    if is_call_error([result]):
        return Evidence(-1.0, "the call was malformed")
    arguments = None if call is None else _json(call.arguments)
    parts = list(_parts(_run(arguments)))
    commands = [part.command for part in parts]
    is_check = any(_CHECK.search(command) for command in commands)
    counts = count_tests(text) if is_check else None
    if counts is not None and counts.failed:
        share = counts.passed / (counts.passed + counts.failed)
        return Evidence(share / 2 - 1, f"{counts.failed} tests fail")
    value = _json(text)
    code = exit_code(text, in_words=not isinstance(arguments, dict) or bool(_named(arguments)))
    if problem := _failure(text, code, value, commands):
        is_helpless = code in _HELPLESS_CODES or _HELPLESS.search(text) is not None
        return Evidence(None, f"{problem}: not its doing") if is_helpless else _blame(problem, c)
    if is_check and not _hides_failure(commands):
        if counts is not None and counts.passed:
            return Evidence(1.0, f"all {counts.passed} tests pass")
        if code == 0 and c.check_score and _is_told_of(parts):
            return Evidence(c.check_score, "the check ended with exit code 0")
    if declared is not None:
        problem = "no JSON" if value is None else schema_problem(value, declared, "result")
        if problem is None and c.schema_score:
            return Evidence(c.schema_score, "the result has the declared form")
        return Evidence(None, f"not the declared form: {problem}")
    return Evidence(None, "nothing is proven")


def ends_of(text: str, most: int) -> str:
    """The text; the first and the last half of `most` characters of it where it is longer."""
    return text if len(text) <= most else f"{text[: most // 2]}\n{text[-most // 2 :]}"


def count_tests(text: str) -> TestCounts | None:
    """Tests passed and failed, as pytest, unittest, cargo, go, jest and mocha count them.

    Where a text has the forms of several, one that tells of failures counts: what a program prints
    while it is tested does not make up for them.
    """
    found = [counts for read in _COUNTERS if (counts := read(text)) is not None]
    return next((counts for counts in found if counts.failed), found[0] if found else None)


def _cargo_counts(text: str) -> TestCounts | None:
    found = _CARGO.findall(text)
    if not found:
        return None
    return TestCounts(sum(int(p) for p, _ in found), sum(int(f) for _, f in found))


def _unittest_counts(text: str) -> TestCounts | None:
    runs = list(_RAN.finditer(text))
    if not runs:
        return None
    ran = next((run for run in runs if run[2] == "FAILED"), runs[-1])
    failed = sum(map(int, re.findall(r"(?:failures|errors)=(\d{1,9})", text[ran.end(2) :])))
    return TestCounts(int(ran[1]) - failed, failed if ran[2] == "FAILED" else 0)


def _go_counts(text: str) -> TestCounts | None:
    found = _GO.findall(text)
    return TestCounts(found.count("ok"), sum(word == "FAIL" for word in found)) if found else None


def _jest_counts(text: str) -> TestCounts | None:
    return _summed(_COUNT.findall(" ".join(_JEST.findall(text))))


def _line_counts(text: str) -> TestCounts | None:
    """The last line that counts; where it is of one kind, the line before that as well."""
    lines = [found for line in text.splitlines() if (found := _COUNT.findall(line))]
    last = lines[-1:] if lines and len(lines[-1]) > 1 else lines[-2:]
    return _summed([count for line in last for count in line])


def _summed(counts: list[tuple[str, str]]) -> TestCounts | None:
    if not counts:
        return None
    passed = sum(int(n) for n, kind in counts if kind.startswith("pass"))
    return TestCounts(passed, sum(int(n) for n, kind in counts if not kind.startswith("pass")))


_COUNTERS = (_cargo_counts, _unittest_counts, _go_counts, _jest_counts, _line_counts)


def exit_code(text: str, *, in_words: bool = True) -> int | None:
    """The code that a result tells, as a JSON field or in words; None where it tells none.

    Args:
        text: the result.
        in_words: whether its words can be about a command: those of a page are about others'.
    """
    value = _json(text)
    if isinstance(value, dict):
        inner = value.get("metadata")
        for fields in (value, inner if isinstance(inner, dict) else {}):
            for key in _CODE_KEYS:
                code = fields.get(key)
                if isinstance(code, int) and not isinstance(code, bool):
                    return code
        return None
    if not in_words:
        return None
    found = _CODE_TEXT.findall(text[:200]) or _CODE_TEXT.findall(text[-200:])
    return int(found[-1]) if found else None


def _failure(text: str, code: int | None, value: object, commands: list[str]) -> str | None:
    """How the tool says that the call failed; None where it does not."""
    if code is not None and code != 0:
        # What looks for something and finds nothing has not failed.
        is_answer = code == 1 and bool(commands) and _MAY_FAIL.search(commands[-1]) is not None
        return None if is_answer else f"exit code {code}"
    if isinstance(value, dict):
        for key in _ERROR_KEYS:
            if value.get(key):
                return f"the result says {key}"
        for key in _OK_KEYS:
            if value.get(key) is False:
                return f"the result says {key}=false"
    if _OPENS_WITH_ERROR.match(text):
        return "the result opens with an error"
    return None


def _blame(problem: str, config: ToolOutcomeConfig) -> Evidence:
    return Evidence(config.error_score or None, problem)


def _hides_failure(commands: list[str]) -> bool:
    """Whether the command prints words of its own, or succeeds whatever happens."""
    return any(_PRINTS.search(command) for command in commands)


def _is_told_of(parts: list[_Part]) -> bool:
    """Whether exit code 0 of the whole is that of a check."""
    return any(part.is_told_of and _CHECK.search(part.command) for part in parts)


class _Part(NamedTuple):
    """One command of those in a line."""

    command: str
    is_told_of: bool
    """Whether the line ends with exit code 0 only if this command did."""


def _run(arguments: object) -> list[str]:
    """The texts among a call's arguments that are run: what is called so, else the only one."""
    texts = list(_strings(arguments))
    if not isinstance(arguments, dict):
        return texts
    if named := _named(arguments):
        return [text for value in named for text in _strings(value)]
    return texts if len(texts) == 1 else []


def _named(arguments: Mapping[str, object]) -> list[object]:
    return [arguments[key] for key in _COMMAND_KEYS if key in arguments]


def _parts(texts: Iterable[str]) -> Iterator[_Part]:
    """The parts of shell commands, in order."""
    for text in texts:
        split = _SPLIT.split(text.replace("\\\n", " ").strip().rstrip("; \n"))
        commands, joints = [command.strip() for command in split[::2]], split[1::2]
        passes_on = {"&&"}
        for n, command in enumerate(commands):
            if _PIPEFAIL.search(command):
                passes_on |= {"|", "|&"}
            is_run = n == 0 or joints[n - 1] != "||"
            if command:
                yield _Part(command, is_run and passes_on.issuperset(joints[n:]))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        if value and all(isinstance(each, str) for each in value):
            # An argument vector, or a shell with its script.
            yield value[-1] if len(value) == 3 and value[1].startswith("-") else " ".join(value)
        else:
            for each in value:
                yield from _strings(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
