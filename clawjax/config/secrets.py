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
_SECRET_NAME = re.compile(
    r"(?:.*_)?(?:api_?key|(?:access|private|secret)_key|(?:access|api|auth|bearer)_token"
    r"|secret|password|passwd)|key|token",
    re.IGNORECASE,
)


def find_secret(value: object, key: str = "") -> str | None:
    """The key, with dots, of the first URL with a user or password in it; None where there is none.

    Args:
        value: a configuration, or a part of one, as plain mappings, lists and texts.
        key: of that part.
    """
    return next((name for name, text in _texts(value, key) if _SECRET.search(text)), None)


def find_secret_option(value: object, key: str = "") -> str | None:
    """The key, with dots, of the first option with a text that is called like a secret.

    What one's own modules and suites take as options is theirs to say: only names can tell.

    Args:
        value: a configuration, or a part of one, as plain mappings, lists and texts.
        key: of that part.
    """
    for name, text in _texts(value, key):
        *parents, last = name.split(".")
        if text and "options" in parents and _SECRET_NAME.fullmatch(last):
            return name
    return None


def _texts(value: object, key: str) -> Iterator[tuple[str, str]]:
    """Every text below `key`, with its own key."""
    if isinstance(value, str):
        yield key, value
        return
    parts: Iterable[tuple[object, object]] = ()
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, Sequence):
        parts = enumerate(value)
    for name, part in parts:
        yield from _texts(part, f"{key}.{name}".lstrip("."))


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
