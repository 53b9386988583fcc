"""What both sites have in common: templates, forms, signing in."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import jinja2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from clawjax.evals.suites.webarena.local.store import World

__all__ = ["Site", "form_of", "see"]

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parents[3] / "data" / "web_pages"),
    autoescape=True,
    undefined=jinja2.ChainableUndefined,
)
_TEMPLATES.filters["money"] = lambda cents: f"${cents / 100:.2f}"
_TEMPLATES.filters["slug"] = lambda text: re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")

_FORM_BYTES = 2**16


class Site:
    """Name, users and look of one site."""

    def __init__(self, name: str, world: World, links: Sequence[tuple[str, str]]) -> None:
        """A site without pages.

        Args:
            name: as its cookie is called after it.
            world: the database.
            links: on every page, text and path.
        """
        self.name, self.world, self.links = name, world, links
        self.cookie = f"{name}_session"

    def user(self, request: Request) -> str | None:
        """Who is signed in."""
        return self.world.user(self.name, request.cookies.get(self.cookie))

    def signed_in(self, request: Request) -> str:
        """The same.

        Raises:
            HTTPException: nobody is; the browser is sent to the form.
        """
        user = self.user(request)
        if user is None:
            raise HTTPException(303, headers={"Location": "/login"})
        return user

    def page(self, request: Request, template: str, title: str, **values: Any) -> Response:
        """A rendered page."""
        text = _TEMPLATES.get_template(template).render(
            title=title,
            links=self.links,
            user=self.user(request),
            notice=request.query_params.get("notice"),
            **values,
        )
        return HTMLResponse(text)

    def login_routes(self, check: Callable[[str, str], bool]) -> list[Route]:
        """The form for signing in.

        Args:
            check: whether name and password belong together.
        """

        async def form(request: Request) -> Response:
            return self.page(request, "login.html", "Sign in")

        async def sign_in(request: Request) -> Response:
            given = await form_of(request)
            name = given.get("name", "")
            if not check(name, given.get("password", "")):
                return see("/login", "Name or password are wrong.")
            response = see("/", f"Welcome, {name}.")
            response.set_cookie(
                self.cookie, self.world.sign_in(self.name, name), httponly=True, samesite="lax"
            )
            return response

        return [
            Route("/login", form, methods=["GET"]),
            Route("/login", sign_in, methods=["POST"]),
        ]


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a submitted form, without the space around them.

    Raises:
        HTTPException: it is too long.
    """
    body = await request.body()
    if len(body) > _FORM_BYTES:
        raise HTTPException(413)
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1].strip() for name, values in fields.items()}


def see(path: str, notice: str = "") -> RedirectResponse:
    """Send the browser to a page, after a form."""
    query = f"?{urlencode({'notice': notice})}" if notice else ""
    return RedirectResponse(path + query, 303)
