"""The helpers that WebArena's tasks call for what a page alone does not tell (`func:...`).

Re-implements `evaluation_harness/helper_functions.py` (Apache-2.0). Invariant: a call is looked up
in `HELPERS` and its arguments are literals; the published harness evaluates the text as Python.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

__all__ = ["HELPERS", "Context", "call_helper", "read_call"]

_LAST_URL, _PAGE = "__last_url__", "__page__"
_TIMEOUT_S = 30.0


class Evaluates(Protocol):
    """The one thing that helpers do with a page."""

    def evaluate(self, expression: str, arg: Any = None) -> Any:
        """The value of a JavaScript function of `arg`."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What a helper may look at."""

    last_url: str
    sites: Mapping[str, str]
    """Addresses by placeholder."""
    shopping_admin: Mapping[str, str]
    """`username` and `password` of the shop's API."""
    page: Evaluates | None = None
    """The page of a target whose locator calls a helper."""
    is_live: bool = False
    """Whether the sites are somebody else's: where they do not answer, no agent did it."""


def read_call(text: str) -> tuple[str, tuple[Any, ...]]:
    """Name and arguments of `name('literal', __page__)`; `__page__` is left out.

    Raises:
        ValueError: it is no such call, or of no helper.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        msg = f"{text!r} is no call of a helper"
        raise ValueError(msg) from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.keywords:
        msg = f"{text!r} is no call of a helper"
        raise ValueError(msg)
    if call.func.id not in HELPERS:
        msg = f"there is no helper {call.func.id!r}: there are {', '.join(HELPERS)}"
        raise ValueError(msg)
    values = [
        ast.literal_eval(each)
        for each in call.args
        if not (isinstance(each, ast.Name) and each.id == _PAGE)
    ]
    return call.func.id, tuple(values)


def call_helper(text: str, context: Context) -> str:
    """What a helper says.

    Args:
        text: what follows `func:`; `__last_url__` in an argument stands for the last URL.
        context: see there.

    Raises:
        ValueError: no such helper.
        httpx.HTTPError, KeyError: the shop's API does not answer as expected.
    """
    name, arguments = read_call(text)
    arguments = tuple(
        each.replace(_LAST_URL, context.last_url) if isinstance(each, str) else each
        for each in arguments
    )
    return str(HELPERS[name](context, *arguments))


def _api(context: Context) -> httpx.Client:
    """The shop's API, as its administrator."""
    shop = context.sites["__SHOPPING__"].rstrip("/")
    url = f"{shop}/rest/default/V1/integration/admin/token"
    reply = httpx.post(url, json=dict(context.shopping_admin), timeout=_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {reply.raise_for_status().json()}"}
    return httpx.Client(base_url=shop, headers=headers, timeout=_TIMEOUT_S)


def _latest_order_url(context: Context) -> str:
    newest = {
        "searchCriteria[sortOrders][0][field]": "created_at",
        "searchCriteria[sortOrders][0][direction]": "DESC",
        "searchCriteria[pageSize]": "1",
    }
    with _api(context) as client:
        found = client.get("/rest/V1/orders", params=newest).raise_for_status().json()
    if not found["items"]:
        return ""
    number = int(found["items"][0]["increment_id"])
    shop = context.sites["__SHOPPING__"].rstrip("/")
    return f"{shop}/sales/order/view/order_id/{number}/"


def _reviews(context: Context, sku: str) -> list[dict[str, Any]]:
    with _api(context) as client:
        return client.get(f"/rest/V1/products/{sku}/reviews").raise_for_status().json()


def _latest_review_author(context: Context, sku: str) -> str:
    reviews = _reviews(context, sku)
    return reviews[-1]["nickname"] if reviews else ""


def _latest_review_rating(context: Context, sku: str) -> str:
    reviews = _reviews(context, sku)
    return str(reviews[-1]["ratings"][0]["percent"]) if reviews else ""


def _post_url(context: Context, url: str) -> str:
    """Of the post that a page is about, also of one of its comments."""
    parts = urlsplit(url)
    path = parts.path.split("/")
    if len(path) < 4 or path[1] != "f":
        return url
    return f"{parts.scheme}://{parts.netloc}/f/{path[2]}/{path[3]}/"


_MEMBER_ROLE = """account => {
    const accounts = [...document.querySelectorAll(
        "td[data-label='Account'] span.gl-avatar-labeled-sublabel")];
    const index = accounts.findIndex(each => each.outerText === '@' + account);
    const role = document.querySelectorAll("td.col-max-role span")[index];
    return role ? role.outerText : "";
}"""


def _member_role(context: Context, account: str) -> str:
    assert context.page is not None, "only locators ask for a member's role"
    return context.page.evaluate(_MEMBER_ROLE, account)


HELPERS: dict[str, Callable[..., str]] = {
    "shopping_get_latest_order_url": _latest_order_url,
    "shopping_get_sku_latest_review_author": _latest_review_author,
    "shopping_get_sku_latest_review_rating": _latest_review_rating,
    "reddit_get_post_url": _post_url,
    "gitlab_get_project_memeber_role": _member_role,  # the tasks' spelling
}
