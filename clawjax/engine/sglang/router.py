"""A router before the servers: it chooses, so it must not choose who is out of rotation.

Owns the router's list of workers (`GET /workers`, `POST /workers`, `DELETE /workers/{id}` of
sglang-router 0.3). It passes replies on, but neither weights nor `/abort_request`: those go to the
servers themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from clawjax.engine.sglang.http import ServerClient
from clawjax.errors import EngineError

__all__ = ["set_workers"]

logger = logging.getLogger(__name__)


async def set_workers(router: ServerClient, urls: Collection[str], *, timeout_s: float) -> bool:
    """Make the router's workers those at `urls`; whether it has taken up all of them.

    Raises:
        EngineError: it cannot be asked, or does as it likes.
    """
    listed = await _listed(router, timeout_s)
    for url in listed.keys() - set(urls):
        logger.warning("%s leaves the router", url)
        await router.call("DELETE", f"/workers/{listed[url].worker_id}", timeout_s=timeout_s)
    for url in set(urls) - listed.keys():
        logger.info("%s joins the router", url)
        await router.call("POST", "/workers", {"url": url}, timeout_s=timeout_s)
    return all(url in listed and listed[url].is_healthy for url in urls)


class _Worker(NamedTuple):
    worker_id: str
    is_healthy: bool


async def _listed(router: ServerClient, timeout_s: float) -> Mapping[str, _Worker]:
    """Its workers, by address."""
    answer: Mapping[str, Any] = await router.call("GET", "/workers", timeout_s=timeout_s)
    workers = answer.get("workers")
    if not isinstance(workers, list):
        msg = f"{router.url}/workers does not list workers: is it an sglang-router 0.3 or newer?"
        raise EngineError(msg)
    return {
        str(worker["url"]).rstrip("/"): _Worker(str(worker["id"]), bool(worker.get("is_healthy")))
        for worker in workers
    }
