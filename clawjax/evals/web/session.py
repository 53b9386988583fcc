"""One agent's window: tabs, what is seen in them, and what is done there.

Invariant: only pages of the allowed origins are ever opened, whatever the agent or a page asks for;
`file:`, `javascript:`, `data:` and the browser's own pages are of none.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clawjax.evals.harness.tasks import Action
from clawjax.evals.web.axtree import Node, PageText, boxes_of, page_text
from clawjax.evals.web.grammar import canonical, named_element
from clawjax.evals.web.har import recording

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request, Route

__all__ = ["VIEWPORT", "RefusedError", "Session", "origin_of"]

VIEWPORT = (1280, 720)
"""Width and height, pixels: WebArena's."""

_NAVIGATION_S = 30.0
_DRAG_STEPS = 8
_PRIVATE_NAMES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
_SELECT = """function (wanted) {
    const option = [...(this.options || [])].find(
        each => each.label.trim() === wanted || each.value === wanted);
    if (!option) return false;
    this.value = option.value;
    for (const kind of ["input", "change"]) this.dispatchEvent(new Event(kind, {bubbles: true}));
    return true;
}"""
_SCROLL = (
    "sign => {const e = document.scrollingElement || document.body;"
    " e.scrollTop = e.scrollTop + sign * window.innerHeight}"
)


class RefusedError(Exception):
    """An action that cannot be taken on this page."""


def origin_of(url: str) -> str:
    """`scheme://host:port`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _is_public(host: str) -> bool:
    """By its name alone: one that is looked up and gives a private address is not noticed."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host.rstrip(".") and not host.rstrip(".").endswith(_PRIVATE_NAMES)


class Session:
    """A browser context with one page in front; ends with `close`."""

    def __init__(
        self,
        browser: Browser,
        *,
        origins: Sequence[str] | None,
        storage_state: Any = None,
        settle_s: float = 0.1,
        viewport: tuple[int, int] = VIEWPORT,
        har: Path | None = None,
    ) -> None:
        """Open an empty window.

        Args:
            browser: where.
            origins: pages of these only; None: any page over HTTP but those of this machine and of
                private networks.
            storage_state: cookies of logged-in users, as Playwright takes them: a path or a dict.
            settle_s: waited on the first page and after each action, before what is loading is
                waited for, seconds.
            viewport: width and height, pixels.
            har: file that the window's requests are written to when it is closed; see `web.har`.
        """
        self._origins = None if origins is None else frozenset(map(origin_of, origins))
        self._settle_s, self._viewport = settle_s, viewport
        self._context = browser.new_context(
            viewport={"width": viewport[0], "height": viewport[1]},
            storage_state=storage_state,
            accept_downloads=False,
            service_workers="block",
            **({} if har is None else recording(har)),
        )
        self._context.set_default_timeout(_NAVIGATION_S * 1000)
        self._context.route("**/*", self._guard)
        self._loading: set[Request] = set()
        self._context.on("request", self._began)
        self._context.on("requestfinished", self._ended)
        self._context.on("requestfailed", self._ended)
        self._context.on("page", self._opened)
        self._seen = PageText("", {})
        self.page: Page = self._context.new_page()

    def open(self, urls: Sequence[str]) -> None:
        """Begin a task: one tab per URL, the first in front.

        Raises:
            playwright.sync_api.Error: a site does not answer.
        """
        for index, url in enumerate(urls):
            page = self.page if index == 0 else self._context.new_page()
            page.goto(url)
        self._front(self._context.pages[0])
        self.settle()

    def look(self) -> PageText:
        """Read the page in front; what later actions' numbers refer to."""
        client = self._context.new_cdp_session(self.page)
        try:
            tree = client.send("Accessibility.getFullAXTree")["nodes"]
            options = {"computedStyles": [], "includeDOMRects": True}
            layout = client.send("DOMSnapshot.captureSnapshot", options)
        finally:
            client.detach()
        scroll = self.page.evaluate("[window.pageXOffset, window.pageYOffset]")
        self._seen = page_text(tree, boxes_of(layout, tuple(scroll)), self._viewport)
        return self._seen

    def tabs(self) -> str:
        """All tabs on one line, as WebArena writes them."""
        return " | ".join(
            f"Tab {index}{' (current)' if page is self.page else ''}: {page.title()}"
            for index, page in enumerate(self._context.pages)
        )

    def resolved(self, action: Action) -> Action:
        """The same in the words of references: an element by role and name as it was seen last.

        An element that is not there stays as it was written.
        """
        words = self._seen.words(str(action.arguments.get("element", "")))
        if words is not None:
            action = Action(action.name, {**action.arguments, "element": words})
        return canonical(action)

    def carry_out(self, action: Action) -> None:
        """Do it and wait for what it loads.

        Raises:
            RefusedError: it cannot be done here; the reason is for the agent.
        """
        from playwright.sync_api import Error

        try:
            _ACTIONS[action.name](self, action.arguments)
            self.settle()
        except Error as error:
            raise RefusedError(error.message.partition("\n")[0]) from error

    def settle(self) -> None:
        """Wait until the page has reacted and nothing that it navigates to is under way."""
        from playwright.sync_api import Error

        try:  # tasks that the action left behind run before this one's timer
            self.page.evaluate(
                "ms => new Promise(done => setTimeout(done, ms))", self._settle_s * 1000
            )
        except Error:  # the page was left, or closed itself
            if self.page.is_closed():
                self._front(self._context.pages[-1] if self._context.pages else self._new())
        until = time.monotonic() + _NAVIGATION_S
        self.page.wait_for_timeout(20)
        while self._loading and time.monotonic() < until:
            self.page.wait_for_timeout(20)
        self.page.wait_for_load_state("load")

    def other_page(self, url: str, settle_s: float = 0.0) -> Page:
        """A page beside those of the agent, for checks after the episode, so long after loading."""
        front, page = self.page, self._context.new_page()
        self.page = front
        page.goto(url)
        page.wait_for_load_state("load")
        page.wait_for_timeout(settle_s * 1000)
        return page

    def close(self) -> None:
        """End it."""
        self._context.close()

    def may_open(self, url: str) -> bool:
        """Whether a page is of an allowed origin."""
        try:
            parts = urlsplit(url)
        except ValueError:  # e.g. a bracket that is never closed
            return False
        if parts.scheme not in ("http", "https"):
            return False
        if self._origins is None:
            return _is_public(parts.hostname or "")
        return origin_of(url) in self._origins

    def _guard(self, route: Route) -> None:
        if self.may_open(route.request.url):
            route.continue_()
        else:
            route.abort("blockedbyclient")

    def _began(self, request: Request) -> None:
        if request.is_navigation_request():
            self._loading.add(request)

    def _ended(self, request: Request) -> None:
        self._loading.discard(request)

    def _opened(self, page: Page) -> None:
        self.page = page

    def _front(self, page: Page) -> None:
        self.page = page
        page.bring_to_front()

    def _new(self) -> Page:
        return self._context.new_page()

    def _node(self, element: Any) -> Node:
        text = str(element)
        named = named_element(text)
        node = self._seen.nodes.get(text) if named is None else self._seen.find(*named)
        if node is None:
            msg = f"there is no element {text!r:.100} in view: see the tree, or scroll"
            raise RefusedError(msg)
        return node

    def _click(self, given: Mapping[str, Any]) -> None:
        self.page.mouse.click(*self._node(given["element"]).box.centre)

    def _hover(self, given: Mapping[str, Any]) -> None:
        self.page.mouse.move(*self._node(given["element"]).box.centre)

    def _type(self, given: Mapping[str, Any]) -> None:
        self._click(given)
        self.page.keyboard.type(given["text"] + ("\n" if given.get("enter", True) else ""))

    def _point(self, x: float, y: float) -> tuple[float, float]:
        window = self.page.viewport_size
        if window and not (0 <= x <= window["width"] and 0 <= y <= window["height"]):
            size = f"{window['width']} by {window['height']}"
            msg = f"({x:.6g}, {y:.6g}) is outside of the window, which is {size}, from (0, 0)"
            raise RefusedError(msg)
        return x, y

    def _click_at(self, given: Mapping[str, Any]) -> None:
        self.page.mouse.click(*self._point(given["x"], given["y"]))

    def _drag(self, given: Mapping[str, Any]) -> None:
        start = self._point(given["from_x"], given["from_y"])
        end = self._point(given["to_x"], given["to_y"])
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=_DRAG_STEPS)
        self.page.mouse.up()

    def _select(self, given: Mapping[str, Any]) -> None:
        node = self._node(given["element"])
        client = self._context.new_cdp_session(self.page)
        try:
            found = client.send("DOM.resolveNode", {"backendNodeId": node.backend_id})
            call = {
                "objectId": found["object"]["objectId"],
                "functionDeclaration": _SELECT,
                "arguments": [{"value": given["option"]}],
                "returnByValue": True,
            }
            is_there = client.send("Runtime.callFunctionOn", call)["result"]["value"]
        finally:
            client.detach()
        if not is_there:
            msg = f"{node.role} {node.name!r} has no option {given['option']!r:.100}"
            raise RefusedError(msg)

    def _press(self, given: Mapping[str, Any]) -> None:
        self.page.keyboard.press(given["keys"].replace("Meta", "Control"))

    def _scroll(self, given: Mapping[str, Any]) -> None:
        self.page.evaluate(_SCROLL, -1 if given["direction"] == "up" else 1)

    def _goto(self, given: Mapping[str, Any]) -> None:
        if not self.may_open(given["url"]):
            allowed = "public hosts" if self._origins is None else ", ".join(sorted(self._origins))
            msg = f"{given['url']!r:.100} may not be opened: only pages of {allowed}"
            raise RefusedError(msg)
        self.page.goto(given["url"])

    def _focus(self, given: Mapping[str, Any]) -> None:
        pages = self._context.pages
        if not 0 <= given["index"] < len(pages):
            msg = f"there is no tab {given['index']}: there are {len(pages)}, from 0"
            raise RefusedError(msg)
        self._front(pages[given["index"]])

    def _close_tab(self, given: Mapping[str, Any]) -> None:
        self.page.close()
        pages = self._context.pages
        self._front(pages[-1] if pages else self._new())


_ACTIONS: dict[str, Callable[[Session, Mapping[str, Any]], Any]] = {
    "click": Session._click,
    "hover": Session._hover,
    "type": Session._type,
    "press": Session._press,
    "scroll": Session._scroll,
    "goto": Session._goto,
    "new_tab": lambda session, given: session._new(),
    "tab_focus": Session._focus,
    "close_tab": Session._close_tab,
    "go_back": lambda session, given: session.page.go_back(),
    "click_at": Session._click_at,
    "drag": Session._drag,
    "select": Session._select,
    "go_forward": lambda session, given: session.page.go_forward(),
}
