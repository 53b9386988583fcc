"""Whether an `rm` takes more than what a task made: the system, a home, or all there is.

Pure. A build's folder is removed every day, wherever it lies; by its path alone, so what is mounted
or linked there is not known.
"""

from __future__ import annotations

import posixpath
import re

__all__ = ["removes_too_much"]

_REMOVAL = re.compile(r"""(?<![\w-])rm((?:[ \t]+(?:"[^"\n]*"|'[^'\n]*'|[^\s;&|<>"'()`])+)+)""")
_WORD = re.compile(r"""(?:"[^"\n]*"|'[^'\n]*'|[^\s"'])+""")
_OPTION = re.compile(r"-[A-Za-z]*[rRf]|--(?:recursive|force)\Z")
_HOME = re.compile(r"~\w*|\$HOME\b|\$\{HOME\}")
_ALL_OF = re.compile(r"(?:/\.?\*+|/)+\Z")
_SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "sbin", "sys")
"""Nothing below these is a task's own."""
_HOMES = ("home", "Users")
_SHARED = (*_HOMES, "media", "mnt", "opt", "run", "srv", "usr", "var")
"""What lies directly below these is somebody's home, or a part of the system."""
_OWN_OF_USR = ("local", "src")


def removes_too_much(command: str) -> bool:
    """Whether a text has an `rm`, by force or of whole folders, of what no task has made."""
    plain = command.replace("\\\n", " ").replace('\\"', '"')
    return any(_is_too_much(found[1]) for found in _REMOVAL.finditer(plain))


def _is_too_much(arguments: str) -> bool:
    words = [re.sub(r"[\"']", "", word) for word in _WORD.findall(arguments)]
    is_thorough = any(_OPTION.match(word) for word in words)
    return is_thorough and any(_is_shared(word) for word in words if not word.startswith("-"))


def _is_shared(path: str) -> bool:
    whole = _HOME.sub("/home/me", path, count=1) if _HOME.match(path) else path
    if not whole.startswith("/"):
        return False
    parts = posixpath.normpath(_ALL_OF.sub("", whole) or "/").strip("/").split("/")
    if len(parts) == 1 or parts[0] in _SYSTEM:
        return True
    if parts[0] == "usr" and parts[1] not in _OWN_OF_USR:
        return True
    in_home = parts[2:] if parts[0] in _HOMES else parts[1:] if parts[0] == "root" else []
    if len(in_home) == 1 and in_home[0].startswith("."):
        return in_home[0] != ".cache"
    return len(parts) == 2 and parts[0] in _SHARED
