"""The forum: posts, comments, votes, subscriptions and biographies, with Postmill's URLs."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clawjax.evals.suites.webarena.local.pages import Site, form_of, see
from clawjax.evals.suites.webarena.local.store import Row, World

__all__ = ["forum"]

_LINKS = (("Crumbs", "/"), ("Sign in", "/login"))


class _Forum:
    def __init__(self, world: World) -> None:
        self.world = world
        self.site = Site("forum", world, _LINKS)

    async def home(self, request: Request) -> Response:
        forums = self.world.rows("SELECT * FROM forums ORDER BY name")
        return self.site.page(request, "forums.html", "Crumbs", forums=forums)

    async def forum(self, request: Request) -> Response:
        forum, user = self._forum(request), self.site.user(request)
        order = "id DESC" if request.query_params.get("sort") == "new" else "votes DESC, id"
        return self.site.page(
            request,
            "forum.html",
            forum["name"],
            forum=forum,
            posts=self.world.rows(
                f"SELECT * FROM posts WHERE forum = ? ORDER BY {order}", forum["name"]
            ),
            subscribed=self._subscription(user, forum),
        )

    async def subscribe(self, request: Request) -> Response:
        forum, user = self._forum(request), self.site.signed_in(request)
        known = self._subscription(user, forum)
        if known:
            self.world.change("DELETE FROM subscriptions WHERE id = ?", known["id"])
        else:
            self.world.change(
                "INSERT INTO subscriptions (member, forum) VALUES (?, ?)", user, forum["name"]
            )
        return see(f"/f/{forum['name']}")

    async def form(self, request: Request) -> Response:
        self.site.signed_in(request)
        forum = self._forum(request)
        return self.site.page(request, "submit.html", f"Post in {forum['name']}", forum=forum)

    async def submit(self, request: Request) -> Response:
        forum, user = self._forum(request), self.site.signed_in(request)
        given = await form_of(request)
        title, text = given.get("title", ""), given.get("text", "")
        if not title:
            return see(f"/submit/{forum['name']}", "A post needs a title.")
        number = self.world.change(
            "INSERT INTO posts (forum, author, title, text, votes) VALUES (?, ?, ?, ?, 1)",
            forum["name"],
            user,
            title,
            text,
        )
        return see(f"/f/{forum['name']}/{number}/new")

    async def post(self, request: Request) -> Response:
        post, user = self._post(request), self.site.user(request)
        return self.site.page(
            request,
            "post.html",
            post["title"],
            post=post,
            comments=self.world.rows("SELECT * FROM comments WHERE post = ?", post["id"]),
            voted=self._vote(user, post),
        )

    async def comment(self, request: Request) -> Response:
        post, user = self._post(request), self.site.signed_in(request)
        text = (await form_of(request)).get("text", "")
        back = f"/f/{post['forum']}/{post['id']}/comments"
        if not text:
            return see(back, "A comment needs a text.")
        self.world.change(
            "INSERT INTO comments (post, author, text) VALUES (?, ?, ?)", post["id"], user, text
        )
        return see(back)

    async def vote(self, request: Request) -> Response:
        post, user = self._post(request), self.site.signed_in(request)
        known = self._vote(user, post)
        if known:
            self.world.change("DELETE FROM votes WHERE id = ?", known["id"])
        else:
            self.world.change("INSERT INTO votes (post, member) VALUES (?, ?)", post["id"], user)
        change = -1 if known else 1
        self.world.change("UPDATE posts SET votes = votes + ? WHERE id = ?", change, post["id"])
        return see(f"/f/{post['forum']}/{post['id']}/voted")

    async def member(self, request: Request) -> Response:
        member = _found(
            self.world.row("SELECT * FROM members WHERE name = ?", request.path_params["name"])
        )
        return self.site.page(
            request,
            "member.html",
            member["name"],
            member=member,
            posts=self.world.rows("SELECT * FROM posts WHERE author = ?", member["name"]),
            comments=self.world.rows("SELECT * FROM comments WHERE author = ?", member["name"]),
        )

    async def biography(self, request: Request) -> Response:
        user = self.site.signed_in(request)
        if user != request.path_params["name"]:
            raise HTTPException(403)
        about = (await form_of(request)).get("about", "")
        self.world.change("UPDATE members SET about = ? WHERE name = ?", about, user)
        return see(f"/user/{user}", "The biography was saved.")

    def _forum(self, request: Request) -> Row:
        name = request.path_params["forum"]
        return _found(self.world.row("SELECT * FROM forums WHERE name = ?", name))

    def _post(self, request: Request) -> Row:
        where = request.path_params
        query = "SELECT * FROM posts WHERE id = ? AND forum = ?"
        return _found(self.world.row(query, where["number"], where["forum"]))

    def _subscription(self, user: str | None, forum: Row) -> Row | None:
        query = "SELECT * FROM subscriptions WHERE member = ? AND forum = ?"
        return self.world.row(query, user, forum["name"])

    def _vote(self, user: str | None, post: Row) -> Row | None:
        query = "SELECT * FROM votes WHERE member = ? AND post = ?"
        return self.world.row(query, user, post["id"])


def forum(world: World) -> Starlette:
    """The forum over a world; the shop's customers have the same passwords here."""
    pages = _Forum(world)

    def is_member(name: str, password: str) -> bool:
        query = (
            "SELECT members.id FROM members JOIN customers ON customers.name = members.name"
            " WHERE members.name = ? AND password = ?"
        )
        return world.row(query, name, password) is not None

    post = "/f/{forum}/{number:int}"
    return Starlette(
        routes=[
            *pages.site.login_routes(is_member),
            Route("/", pages.home),
            Route("/f/{forum}", pages.forum),
            Route("/f/{forum}/subscribe", pages.subscribe, methods=["POST"]),
            Route("/submit/{forum}", pages.form, methods=["GET"]),
            Route("/submit/{forum}", pages.submit, methods=["POST"]),
            Route(f"{post}/vote", pages.vote, methods=["POST"]),
            Route(f"{post}/comment", pages.comment, methods=["POST"]),
            Route(f"{post}/", pages.post),
            Route(f"{post}/{{slug}}", pages.post),
            Route("/user/{name}", pages.member),
            Route("/user/{name}/biography", pages.biography, methods=["POST"]),
        ]
    )


def _found(row: Row | None) -> Row:
    if row is None:
        raise HTTPException(404)
    return row
