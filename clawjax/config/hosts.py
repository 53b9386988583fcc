"""Names and addresses of hosts, as HTTP's `Host` and `Origin` write them."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import MutableMapping

__all__ = [
    "host_of",
    "host_of_origin",
    "is_loopback",
    "port_to_listen_at",
    "spare_loopback",
    "url_of",
]

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to ask it, not to bind
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(.+)")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether only this machine is reached by it: `localhost`, 127.0.0.0/8 or ::1."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def url_of(host: str, port: int) -> str:
    """Where this machine reaches who listens on `host`, without a path: `http://[::1]:30000`."""
    host = _EVERYWHERE.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def spare_loopback(environment: MutableMapping[str, str]) -> None:
    """Where a proxy is named, have none asked for this machine: it would look on its own.

    Args:
        environment: of this process and those that it starts; of `no_proxy`, some programs read
            the one in capitals only.
    """
    if not any(environment.get(name) or environment.get(name.upper()) for name in _PROXIES):
        return
    spared = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    names = [name.strip() for name in spared.split(",") if name.strip()]
    if "*" not in names:
        every = ",".join(dict.fromkeys([*names, *_LOOPBACK]))
        environment["no_proxy"] = environment["NO_PROXY"] = every


def port_to_listen_at(host: str, port: int) -> int:
    """The port, or a free one for 0, at which somebody can begin to listen just now.

    Raises:
        OSError: nobody can: it is taken, or the host is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return probe.getsockname()[1]


def host_of(authority: str) -> str | None:
    """The host in `HOST[:PORT]`, in lower case and without brackets; None where it is malformed."""
    found = _AUTHORITY.fullmatch(authority.lower())
    return None if found is None else found[1].strip("[]")


def host_of_origin(origin: str) -> str | None:
    """The host in `SCHEME://HOST[:PORT]`; None where it is malformed or opaque (`null`)."""
    found = _ORIGIN.fullmatch(origin.lower())
    return None if found is None else host_of(found[1])
