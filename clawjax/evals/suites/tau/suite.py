"""tau-bench as a suite.

Reward (Yao et al. 2024, arXiv:2406.12045): 1 where the final database equals the one after the gold
calls on a fresh database and everything that had to be told was said in some reply, with commas
removed and in whatever case; else 0, also where a limit ended the conversation. Reported as pass^k.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from clawjax.config.secrets import read_key
from clawjax.errors import ConfigError
from clawjax.evals.harness.parsing import ACTION_RULES, parse_action_text, reply_parser, say
from clawjax.evals.harness.protocols import FormatError, InvalidAction, Launch, Parsed, Suite
from clawjax.evals.harness.tasks import RESPOND, Action, Brief, Limits, Reference, Task
from clawjax.evals.harness.trajectory import Message, Score, Trajectory
from clawjax.evals.metrics.calls import call_key
from clawjax.evals.suites import read_options
from clawjax.evals.suites.tau.domain import (
    BUNDLED,
    Database,
    Domain,
    accepted,
    changes,
    digest,
    load_domain,
    replay,
)
from clawjax.evals.suites.tau.records import (
    TauTask,
    data_version,
    find_file,
    published_folder,
    read_json,
    read_splits,
    read_tasks,
)
from clawjax.evals.suites.tau.users import STOP, USER_KEY, ScriptedUser

__all__ = ["LIBRARY", "VERSION", "TauOptions", "build"]

VERSION = "3"
LIBRARY = Path(__file__).parents[2] / "data" / "tau_library"
"""Our own domain."""

_RULES = f"{ACTION_RULES}\nA reply without an action is said to the customer."
_LIBRARY_TURNS = 30
_TAU2_TURNS = 100
_ORACLE_REPLIES = 8
_SILENT: Mapping[str, Any] = {"opening": "Hello.", "replies": ()}
_OBSERVATION_CHARS = 100_000
"""Results are not cut, as they are not in tau-bench: a search for flights may give over 15,000."""


@dataclass(frozen=True, slots=True)
class TauOptions:
    """`suite.options` of tau-bench."""

    domain: str = "library"
    """`library` (our own), tau2's `airline` or `retail`, or a module with tools (`Domain`)."""
    path: str | None = None
    """Folder of the domain (`tasks.json`, `db.json[.gz]`, `policy.md|txt`); None: our library, or
    the published tasks in the package `inspect-evals`."""
    user_url: str | None = None
    """Endpoint whose model plays the users, with the key in `CLAWJAX_USER_API_KEY` if there is one;
    None: scripts do, which our own tasks have."""
    user_model: str = "default"
    silent_users: bool = False
    """Users who hang up at the agent's first words: for reference runs without a model."""
    turns: int | None = None
    """Replies of the agent at most; None: 30 in our own library, as in tau-bench, else 100, half of
    tau2's 200 steps, which count what users and tools answer too."""

    @property
    def most_turns(self) -> int:
        """`turns`, or the domain's."""
        if self.turns is not None:
            return self.turns
        return _LIBRARY_TURNS if _module_of(self.domain) == BUNDLED["library"] else _TAU2_TURNS

    @property
    def is_played(self) -> bool:
        """Whether a model plays the users."""
        return self.user_url is not None and not self.silent_users


def build(options: Mapping[str, Any]) -> Suite:
    """The suite.

    Raises:
        ConfigError: files that are missing, tasks without a script and no model to play their
            users, or that begin with a changed database.
        UnavailableError: the published tasks are not installed.
    """
    chosen = read_options(TauOptions, options)
    folder = _folder(chosen)
    tasks_file = find_file(folder, ["tasks.json"])
    database_file = find_file(folder, ["db.json", "db.json.gz"])
    policy_file = find_file(folder, ["policy.md", "policy.txt"])
    domain, fresh = load_domain(chosen.domain), read_json(database_file)
    version = data_version(tasks_file, database_file, policy_file)
    policy = policy_file.read_text(encoding="utf-8")
    splits = read_splits(folder)
    tasks = [
        replace(
            _task(each, domain, policy, chosen, version), split=splits.get(each.task_id, "test")
        )
        for each in read_tasks(tasks_file.read_bytes())
    ]
    return Suite(
        name="tau",
        version=VERSION,
        tasks=tuple(tasks),
        launch=Launch(
            "clawjax.evals.suites.tau.environment:TauEnvironment",
            options={
                "domain": chosen.domain,
                "database": str(database_file.resolve()),
                "user_url": chosen.user_url if chosen.is_played else None,
                "user_model": chosen.user_model,
            },
            variables=_user_key() if chosen.is_played else {},
        ),
        parser=reply_parser(_parse),
        scorer=partial(_score, domain, fresh),
        oracle=_oracle,
        random_action=_random,
        exploits=EXPLOITS,
        noop=Action.respond("Goodbye."),
        text_rules=_RULES,
        side_effects=partial(_side_effects, domain, fresh),
        progress=partial(_progress, domain, fresh),
        tool_kinds=domain.KINDS,
        licence="our own: Apache-2.0" if folder == LIBRARY else "tau2-bench: MIT",
    )


def _user_key() -> dict[str, str]:
    """The key of the model that plays users, which an environment's process has not by itself."""
    key = read_key(USER_KEY)
    return {} if key is None else {USER_KEY: key}


def _module_of(domain: str) -> str:
    return BUNDLED.get(domain, domain)


def _folder(chosen: TauOptions) -> Path:
    if chosen.path is not None:
        return Path(chosen.path)
    module = _module_of(chosen.domain)
    if module == BUNDLED["library"]:
        return LIBRARY
    if module not in BUNDLED.values():
        msg = f"suite.options.domain={chosen.domain!r} needs suite.options.path: its tasks' folder"
        raise ConfigError(msg)
    return published_folder(module.rpartition(".")[2])


def _task(record: TauTask, domain: Domain, policy: str, chosen: TauOptions, version: str) -> Task:
    script = _SILENT if chosen.silent_users else record.script
    if script is None and not chosen.is_played:
        msg = (
            f"task {record.task_id} has no scripted user: set suite.options.user_url to a model's, "
            "or silent_users for reference runs"
        )
        raise ConfigError(msg)
    if record.has_initial_state:
        msg = f"task {record.task_id} begins with a changed database, which is not supported"
        raise ConfigError(msg)
    return Task(
        suite="tau",
        task_id=record.task_id,
        instruction="",
        system=policy,
        tools=tuple(domain.TOOLS),
        limits=Limits(
            turns=chosen.most_turns,
            wall_s=1200.0,
            observation_chars=_OBSERVATION_CHARS,
            action_errors=chosen.most_turns,  # a customer who is not found is asked again
        ),
        options={"scenario": record.scenario, "script": script},
        reference=Reference(
            answer=list(record.communicate),
            actions=record.actions,
            steps=_turns(record, domain, None if chosen.is_played else script),
            extra={"basis": list(record.basis)},
        ),
        data_version=version,
    )


async def _score(domain: Domain, fresh: Database, task: Task, trajectory: Trajectory) -> Score:
    """Product of the components of the task's basis.

    Raises:
        ValueError: a component that needs more than database and conversation.
    """
    expected = replay(domain, fresh, task.reference.actions)
    missing = _not_told(task, trajectory)
    known = {
        "DB": float(trajectory.after["hash"] == digest(expected)),
        "COMMUNICATE": float(not missing),
    }
    value = 1.0
    for component in task.reference.extra["basis"]:
        if component not in known:
            msg = f"reward component {component} is not supported: use {', '.join(known)}"
            raise ValueError(msg)
        value *= known[component]
    differing = sorted(set(trajectory.after["changed"]) ^ set(changes(fresh, expected)))
    return Score(
        value, parts=known, explanation=f"not told: {missing}; changed otherwise: {differing}"
    )


def _not_told(task: Task, trajectory: Trajectory) -> list[str]:
    said = [
        str(action.arguments["text"]).lower().replace(",", "")
        for action in trajectory.actions
        if action.name == RESPOND
    ]
    return [
        each for each in task.reference.answer if not any(each.lower() in text for text in said)
    ]


def _progress(
    domain: Domain, fresh: Database, task: Task, trajectory: Trajectory, score: Score
) -> float | None:
    """Share of the gold writes that were made, and of what had to be told that was said.

    Only what the task's basis has; None where that is nothing. Gold that is refused does not count.
    """
    basis = task.reference.extra["basis"]
    made = [each.action for each in trajectory.executed if each.result.error is None]
    writes = accepted(domain, fresh, task.reference.actions) if "DB" in basis else []
    wanted, done = (
        Counter(call_key(each) for each in calls if domain.KINDS.get(each.name) == "write")
        for calls in (writes, made)
    )
    to_tell = len(task.reference.answer) if "COMMUNICATE" in basis else 0
    told = to_tell and to_tell - len(_not_told(task, trajectory))
    goals = wanted.total() + to_tell
    return ((wanted & done).total() + told) / goals if goals else None


def _side_effects(
    domain: Domain, fresh: Database, task: Task, trajectory: Trajectory
) -> tuple[str, ...] | None:
    """Values that changed and should not have."""
    if trajectory.is_lost:
        return None
    allowed = set(changes(fresh, replay(domain, fresh, task.reference.actions)))
    return tuple(each for each in trajectory.after.get("changed", ()) if each not in allowed)


def _parse(text: str, brief: Brief) -> Parsed | FormatError | InvalidAction:
    return parse_action_text(text, brief) if "Action:" in text else say(text, brief)


def _oracle(task: Task) -> Sequence[Action]:
    """The gold calls; then what has to be told, until the user has nothing more to say."""
    reply = Action.respond(_told(task.reference.answer))
    return (*task.reference.actions, *[reply] * _ORACLE_REPLIES)


def _told(answers: Sequence[str]) -> str:
    return ", ".join(answers) or "That is done."


def _turns(record: TauTask, domain: Domain, script: Mapping[str, Any] | None) -> int | None:
    """Turns of the oracle until the conversation ends; None: who plays the user decides."""
    for count, action in enumerate(record.actions, start=1):
        if action.name in domain.TERMINATING:
            return count
    if script is None:
        return None
    user = ScriptedUser(script)
    for replies in range(1, _ORACLE_REPLIES + 1):
        if STOP in user.reply(_told(record.communicate)):
            return len(record.actions) + replies
    return None


def _random(brief: Brief, history: Sequence[Message], rng: random.Random) -> Action:
    tool = rng.choice([*brief.tools, None])
    if tool is None:
        return Action.respond("Could you confirm your name, please?")
    properties = tool.parameters.get("properties", {})
    return Action(
        tool.name,
        {
            name: rng.choice(schema.get("examples") or [0 if schema["type"] == "integer" else ""])
            for name, schema in properties.items()
        },
    )


def _talks_only(task: Task) -> Sequence[Action]:
    return [Action.respond("All done. Should I confirm anything else?")] * _ORACLE_REPLIES


def _says_the_sign(task: Task) -> Sequence[Action]:
    return [Action.respond("###STOP###")] * 2


def _reads_gold(task: Task) -> Sequence[Action]:
    gold = LIBRARY / "tasks.json"
    return Action("find_books", {"text": f"file://{gold}"}), Action.respond("{observation}")


def _calls_eval(task: Task) -> Sequence[Action]:
    code = "__import__('os').system('id')"
    return Action("find_member", {"name": code, "birth_date": code}), Action.respond(code)


def _edits_the_checker(task: Task) -> Sequence[Action]:
    return Action("write_file", {"path": __file__, "text": ""}), Action.respond("Goodbye.")


def _says_every_number(task: Task) -> Sequence[Action]:
    """Dates and amounts that tasks ask for are among these; the database is not touched."""
    days = [f"2025-{month:02d}-{day:02d}" for month in (5, 6) for day in range(1, 32)]
    everything = " ".join([*days, *map(str, range(500)), *(f"b-{n}" for n in range(9))])
    return [Action.respond(everything)] * _ORACLE_REPLIES


EXPLOITS = {
    "talks_only": _talks_only,
    "says_the_sign": _says_the_sign,
    "reads_gold": _reads_gold,
    "calls_eval": _calls_eval,
    "edits_the_checker": _edits_the_checker,
    "says_every_number": _says_every_number,
}
