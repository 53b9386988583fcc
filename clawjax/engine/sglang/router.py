"""A router before the servers: it chooses, so it must not choose who is out of rotation.

Owns the router's list of workers (`GET /workers`, `POST /workers`, `DELETE /workers/{id}` of
sglang-router 0.3). It passes replies on, but neither weights nor `/abort_request`: those go to the
servers themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

from clawjax.engine.sglang.http import ServerClient
from clawjax.errors import EngineError

__all__ = ["set_workers"]

logger = logging.getLogger(__name__)


async def set_workers(router: ServerClient, urls: Collection[str], *, timeout_s: float) -> None:
    """Make the router's workers those at `urls`.

    Raises:
        EngineError: it cannot be asked, or does as it likes.
    """
    listed = await _listed(router, timeout_s)
    for url in listed.keys() - set(urls):
        logger.warning("%s leaves the router", url)
        await router.call("DELETE", f"/workers/{listed[url]}", timeout_s=timeout_s)
    for url in set(urls) - listed.keys():
        logger.info("%s joins the router", url)
        await router.call("POST", "/workers", {"url": url}, timeout_s=timeout_s)


async def _listed(router: ServerClient, timeout_s: float) -> Mapping[str, str]:
    """Ids of its workers, by address."""
    answer: Mapping[str, Any] = await router.call("GET", "/workers", timeout_s=timeout_s)
    workers = answer.get("workers")
    if not isinstance(workers, list):
        msg = f"{router.url}/workers does not list workers: is it an sglang-router 0.3 or newer?"
        raise EngineError(msg)
    return {str(worker["url"]).rstrip("/"): str(worker["id"]) for worker in workers}
