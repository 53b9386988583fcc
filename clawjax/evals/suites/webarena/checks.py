"""What `program_html` targets look at, read from the real pages after the last step.

The order of things is the published evaluator's: the target's page, its preparing actions, its
locator. JavaScript and helpers are the task file's; nothing of the agent's is run.
"""

from __future__ import annotations

import contextlib
import html
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx

from clawjax.evals.harness.failures import OutsideFailure
from clawjax.evals.suites.webarena.helpers import Context, call_helper
from clawjax.evals.web.session import Session

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["content_of"]

_LIVE_SETTLE_S = 3.0
"""What a live site still fills in after loading is waited for as `time.sleep(3)` does in WebArena's
`evaluation_harness/evaluators.py` (HTMLContentEvaluator)."""
_FUNCTION = "func:"
_SCRIPTS = ("document.", "[...document.")


def content_of(target: Mapping[str, Any], session: Session, context: Context) -> str:
    """What a target finds; empty where its locator fails on this page, or no page is meant.

    Args:
        target: `url`, `locator` and `prep_actions`, with addresses in place of placeholders.
        session: the agent's window, with its last page in front.
        context: for helpers.

    Raises:
        ValueError: a locator that is neither empty, nor JavaScript, nor a helper.
        OutsideFailure: a live site does not answer.
        playwright.sync_api.Error, httpx.HTTPError: the same of our own sites.
    """
    with _answering(context):
        url: str = target["url"]
        if url.startswith(_FUNCTION):
            url = call_helper(url.removeprefix(_FUNCTION), context)
        if url != "last" and not session.may_open(url):
            return ""  # e.g. of a post, and the agent ended on none
        settle_s = _LIVE_SETTLE_S if context.is_live else 0.0
        page = session.page if url == "last" else session.other_page(url, settle_s)
    try:
        return html.unescape(_located(target, page, context))
    finally:
        if page is not session.page:
            page.close()


@contextlib.contextmanager
def _answering(context: Context) -> Iterator[None]:
    """What keeps a live site from being asked is nobody's doing here."""
    from playwright.sync_api import Error

    try:
        yield
    except (Error, httpx.HTTPError) as error:
        if not context.is_live:
            raise
        raise OutsideFailure(f"a site did not answer while it was checked: {error}") from error


def _located(target: Mapping[str, Any], page: Page, context: Context) -> str:
    from playwright.sync_api import Error

    locator: str = target["locator"]
    if not locator.strip():
        return page.content()
    if locator.startswith(_FUNCTION):
        with _answering(context):
            return call_helper(locator.removeprefix(_FUNCTION), replace(context, page=page))
    if not locator.startswith(_SCRIPTS):
        msg = f"unknown locator {locator!r}"
        raise ValueError(msg)
    with contextlib.suppress(Error):  # as published: the locator is tried all the same
        for action in target["prep_actions"]:
            page.evaluate(f"() => {action}")
    try:
        found = page.evaluate(f"() => {locator}")
    except Error:
        return ""  # as published: the page is another one than the target expects
    return str(found)
