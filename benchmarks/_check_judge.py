"""A judge that knows the principles: an endpoint that answers critiques by program.

Stands for a capable LLM, so that what a policy learns from a constitution can be told from how bad
a small judge is. Invariant: it sees what any judge sees, the fenced material of the request.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from clawjax.evals.redteam import principle_of, violates
from clawjax.rewards.principles import Principle, read_principles
from clawjax.runtime.loopback import serving

__all__ = ["answer", "check_judge"]

_BLOCK = re.compile(r"<<(\w+) (REPLY|REQUEST user)>>\n(.*?)\n<</\1>>", re.DOTALL)
_LISTED = re.compile(r"^(\d+)\. (.+)$", re.MULTILINE)


def answer(system: str, user: str, principles: Mapping[str, Principle]) -> str:
    r"""What a critique of the material says, e.g. `\boxed{1,2}`.

    Args:
        system: the critique's system message, which lists principles.
        user: the fenced material.
        principles: by text.
    """
    blocks = {name: text for _, name, text in _BLOCK.findall(user)}
    request, reply = blocks["REQUEST user"], blocks["REPLY"]
    # The checks are for replies to prompts that tempt to break their own principle.
    tempted = principle_of(request)
    broken = [
        number
        for number, text in _LISTED.findall(system)
        if tempted is not None
        and text in principles
        and principles[text].name == tempted
        and violates(tempted, request, reply)
    ]
    return rf"\boxed{{{','.join(broken) or 'none'}}}"


@asynccontextmanager
async def check_judge() -> AsyncIterator[str]:
    """Its base URL."""
    principles = {each.text: each for each in read_principles()}

    async def complete(request: Request) -> JSONResponse:
        system, user = (message["content"] for message in (await request.json())["messages"])
        message = {"role": "assistant", "content": answer(system, user, principles)}
        return JSONResponse({"choices": [{"message": message, "finish_reason": "stop"}]})

    app = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])
    async with serving(app) as url:
        yield url
