"""What a simulated user is told (a JSON file) and what it remembers (another).

Invariant: the state file is replaced whole, so a crash leaves either the old or the new one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from clawjax.errors import ConfigError
from clawjax.files import replace_file

__all__ = ["UserSettings", "UserState", "read_settings"]


@dataclass(frozen=True, slots=True)
class UserSettings:
    """Everything a simulated user needs; written by whoever starts it."""

    base_url: str
    """The endpoint, e.g. `http://127.0.0.1:30000/v1`."""
    run_dir: str
    """Where `user.jsonl` and the state file go."""
    persona: str = "brief"
    model: str | None = None
    """None asks the endpoint which model it serves."""
    api_key_env: str = "CLAWJAX_API_KEY"
    seed: int = 0
    updates: int = 8
    """Stop once the served policy version has reached this."""
    max_turns: int = 240
    """Stop after so many turns at the latest."""
    max_seconds: float = 600.0
    """Stop after so long at the latest, all runs together."""
    concurrency: int = 4
    think_s: float = 4.0
    """Mean pause between reading a reply and reacting to it."""
    leave_rate: float = 0.05
    """Share of sessions that end without a reaction: people close the window."""
    temperature: float = 0.8
    max_tokens: int = 160
    poll_s: float = 1.0
    """How often the served version is looked at."""
    request_timeout_s: float = 120.0
    """Longest silence while a reply streams."""
    retry_s: float = 180.0
    """How long an unreachable server is waited for, per request."""
    parent_pid: int | None = None
    """Stop when this process, which started the user, is gone."""
    state_file: str | None = None
    """None is `user_state.json` in the run's folder."""

    def __post_init__(self) -> None:
        """Reject a user who never speaks."""
        smallest = {
            "updates": 1,
            "max_turns": 1,
            "concurrency": 1,
            "max_tokens": 1,
            "think_s": 0,
            "leave_rate": 0,
            "poll_s": 0.01,
            "request_timeout_s": 0.1,
            "retry_s": 0,
        }
        for name, minimum in smallest.items():
            value = getattr(self, name)
            if value < minimum:
                msg = f"simulated user: {name}={value} is too small: the minimum is {minimum}"
                raise ConfigError(msg)

    @property
    def state_path(self) -> Path:
        """The state file."""
        return Path(self.state_file) if self.state_file else Path(self.run_dir) / "user_state.json"

    def write(self, path: Path) -> None:
        """Save as the JSON that `--config` takes."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


@dataclass(slots=True)
class UserState:
    """How far a simulated user has come, over all runs together."""

    next_session: int = 0
    turns: int = 0
    elapsed_s: float = 0.0
    status_errors: dict[str, int] = field(default_factory=dict)
    """Error responses by HTTP status, those that were retried included."""
    connection_errors: int = 0
    """Attempts that found no server, or lost it in the middle of a reply."""

    @classmethod
    def load(cls, settings: UserSettings) -> UserState:
        """Read the state file; a fresh state where there is none.

        Raises:
            ConfigError: the file is not a state, or belongs to another persona or seed.
        """
        path = settings.state_path
        if not path.exists():
            return cls()
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            owner = (content.pop("persona"), content.pop("seed"))
            state = cls(**content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            msg = f"cannot go on from {path}: {error}: delete it to start afresh"
            raise ConfigError(msg) from error
        if owner != (settings.persona, settings.seed):
            msg = (
                f"{path} belongs to persona {owner[0]} with seed {owner[1]}, not "
                f"{settings.persona} with seed {settings.seed}: use a new run_dir"
            )
            raise ConfigError(msg)
        return state

    def add_errors(self, errors: Mapping[str, int]) -> None:
        """Add to the counts, `connection` apart from the statuses."""
        for kind, count in errors.items():
            if kind == "connection":
                self.connection_errors += count
            else:
                self.status_errors[kind] = self.status_errors.get(kind, 0) + count

    def save(self, settings: UserSettings) -> None:
        """Replace the state file."""
        path = settings.state_path
        path.parent.mkdir(parents=True, exist_ok=True)
        content = asdict(self) | {"persona": settings.persona, "seed": settings.seed}
        replace_file(path, json.dumps(content) + "\n")


def read_settings(argv: list[str] | None = None) -> UserSettings:
    """Settings from `--config FILE.json`.

    Raises:
        ConfigError: missing or malformed file, unknown or ill-typed key.
    """
    parser = argparse.ArgumentParser(description="A simulated user for an OpenAI-style endpoint.")
    parser.add_argument("--config", required=True, type=Path, help="JSON of UserSettings")
    path = parser.parse_args(argv).config
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"cannot read the simulated user's settings from {path}: {error}"
        raise ConfigError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} holds a {type(content).__name__}: it has to be a JSON object"
        raise ConfigError(msg)
    known = {field.name for field in fields(UserSettings)}
    unknown = sorted(set(content) - known)
    if unknown:
        msg = f"{path}: unknown key {unknown[0]!r}: use {', '.join(sorted(known))}"
        raise ConfigError(msg)
    try:
        return UserSettings(**content)
    except TypeError as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from error
