"""Passwords and keys in URLs, where they do not belong: what is configured is saved and shown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from clawjax.config.checks import require

__all__ = ["bearer", "find_secret", "find_secret_option", "read_key", "service_url"]

# Of HTTP no user either, as a key stands there too; databases have users, and passwords with a `/`.
_SECRET = re.compile(
    r"https?://[^/?#\s]*@"
    r"|(?<![a-z0-9+.-])(?!https?:)[a-z][a-z0-9+.-]*://[^:/@\s]*:[^@\s]+@"
    r"|[a-z][a-z0-9+.-]*://\S*[?&]\w*password=",
    re.IGNORECASE,
)
_SERVICE = "anthropic|github|gitlab|hf|openai|slack|wandb"
_SECRET_NAME = re.compile(
    rf"(?:.*_)?(?:api_?key|(?:access|private|secret|{_SERVICE})_?key"
    rf"|(?:access|api|auth|bearer|refresh|session|{_SERVICE})_?token"
    r"|secret|password|passwd|passphrase|credential|authorization)s?",
    re.IGNORECASE,
)
_MAYBE_SECRET_NAME = re.compile("key|token", re.IGNORECASE)
"""Those of secrets where they name a text, and of much else where they name a number or a list."""


def find_secret(value: object, key: str = "") -> str | None:
    """The key, with dots, of the first URL with a user or password in it; None where there is none.

    Args:
        value: a configuration, or a part of one, as plain mappings, lists and texts.
        key: of that part.
    """
    texts = ((name, each) for name, each in _leaves(value, key) if isinstance(each, str))
    return next((name for name, text in texts if _SECRET.search(text)), None)


def find_secret_option(value: object, key: str = "") -> str | None:
    """The key, with dots, of the first text or number that is called like a secret, or is in one.

    What one's own modules and suites take as options is theirs to say: only names can tell.

    Args:
        value: a configuration, or a part of one, as plain mappings, lists and texts.
        key: of that part.
    """
    for name, leaf in _leaves(value, key):
        path = name.split(".")
        below = path[path.index("options") + 1 :] if "options" in path else []
        is_number = isinstance(leaf, int | float) and not isinstance(leaf, bool)
        is_maybe = bool(below) and isinstance(leaf, str) and _MAYBE_SECRET_NAME.fullmatch(below[-1])
        if (leaf if isinstance(leaf, str) else is_number) and (
            is_maybe or any(map(_SECRET_NAME.fullmatch, below))
        ):
            return name
    return None


def _leaves(value: object, key: str) -> Iterator[tuple[str, object]]:
    """Every value below `key` that is no container, with its own key."""
    if isinstance(value, Mapping):
        parts: Iterable[tuple[object, object]] = value.items()
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        parts = enumerate(value)
    else:
        yield key, value
        return
    for name, part in parts:
        yield from _leaves(part, f"{key}.{name}".lstrip("."))


def read_key(variable: str, env: Mapping[str, str] | None = None) -> str | None:
    """The key in an environment variable, without white space around it; None: there is none.

    Args:
        variable: its name.
        env: where it is looked for; None: this process's environment.

    Raises:
        ConfigError: no header can carry the key. The message says where it is, not what.
    """
    key = (os.environ if env is None else env).get(variable, "").strip()
    require(
        key.isascii() and key.isprintable() and " " not in key,
        f"{variable} holds a space or a character that no HTTP header can carry: set it again",
    )
    return key or None


def bearer(key: str | None) -> dict[str, str]:
    """The header of a request that brings a key; none without one."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def service_url(name: str, url: str, form: str, key_variable: str) -> None:
    """Check the address of a service.

    Args:
        name: of the setting.
        url: its value, which is not shown where it may hold a secret.
        form: what it looks like.
        key_variable: environment variable that the service's key is read from.

    Raises:
        ConfigError: no HTTP URL, or one with a user or password.
    """
    authority = re.split(r"[/?#]", url.partition("://")[2] or url, maxsplit=1)[0]
    require(
        "@" not in authority,
        f"{name} has a user or a password before its host, which would be saved with the run: "
        f"write {form}, and put the key into the environment as {key_variable}",
    )
    require(url.startswith(("http://", "https://")), f"{name}={url!r} is no URL: write {form}")
