"""The shop: catalogue, cart, wish list, orders, reviews; and the API that helpers ask."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clawjax.evals.suites.webarena.local.pages import Site, form_of, see
from clawjax.evals.suites.webarena.local.store import Row, World

__all__ = ["shop"]

_LINKS = (
    ("Hearth & Handle", "/"),
    ("Cart", "/cart"),
    ("Wish list", "/wishlist"),
    ("My account", "/account"),
    ("Sign in", "/login"),
)
_SORTS = {"price": "cents", "name": "name"}
_TODAY = "2025-06-01"
_ORDERS = (
    "SELECT orders.*, (SELECT SUM(quantity * cents) FROM order_items WHERE order_id = orders.id)"
    " AS total FROM orders"
)
_ITEMS = "SELECT {0}.*, name, {1}.cents FROM {0} JOIN products ON products.id = product WHERE "


class _Shop:
    def __init__(self, world: World) -> None:
        self.world = world
        self.site = Site("shop", world, _LINKS)

    def customer(self, request: Request) -> Row:
        name = self.site.signed_in(request)
        return _found(self.world.row("SELECT * FROM customers WHERE name = ?", name))

    def products(
        self, request: Request, title: str, where: str, *values: Any, category: str = ""
    ) -> Response:
        order = _SORTS.get(request.query_params.get("sort", ""), "id")
        return self.site.page(
            request,
            "products.html",
            title,
            category=category,
            categories=("kettles", "teapots", "knives", "pans"),
            products=self.world.rows(
                f"SELECT * FROM products WHERE {where} ORDER BY {order}", *values
            ),
        )

    async def home(self, request: Request) -> Response:
        return self.products(request, "Hearth & Handle", "id % 4 = 1")

    async def category(self, request: Request) -> Response:
        name = request.path_params["name"]
        return self.products(request, name.capitalize(), "category = ?", name, category=name)

    async def search(self, request: Request) -> Response:
        text = request.query_params.get("q", "").strip()
        title = f"Results for {text}"
        return self.products(request, title, "instr(lower(name), lower(?)) > 0", text)

    async def product(self, request: Request) -> Response:
        product = self._product(request)
        reviews = self.world.rows("SELECT * FROM reviews WHERE product = ?", product["id"])
        return self.site.page(
            request, "product.html", product["name"], product=product, reviews=reviews
        )

    async def review(self, request: Request) -> Response:
        product, given = self._product(request), await form_of(request)
        stars = given.get("stars", "")
        fields = [given.get(name, "") for name in ("nickname", "title", "text")]
        back = f"/product/{product['id']}"
        if stars not in ("1", "2", "3", "4", "5") or not all(fields):
            return see(back, "A review needs a nickname, a title, a text and stars.")
        self.world.change(
            "INSERT INTO reviews (product, nickname, title, text, stars) VALUES (?, ?, ?, ?, ?)",
            product["id"],
            *fields,
            int(stars),
        )
        return see(back, "Thank you for your review.")

    async def add_to_cart(self, request: Request) -> Response:
        product, customer = self._product(request), self.customer(request)
        quantity = (await form_of(request)).get("quantity") or "1"
        if not quantity.isascii() or not quantity.isdigit() or not 1 <= int(quantity) <= 99:
            return see(f"/product/{product['id']}", "The quantity has to be from 1 to 99.")
        if int(quantity) > product["stock"]:
            return see(f"/product/{product['id']}", "There are not so many in stock.")
        self.world.change(
            "INSERT INTO carts (customer, product, quantity) VALUES (?, ?, ?)",
            customer["id"],
            product["id"],
            int(quantity),
        )
        return see("/cart", f"{product['name']} is in your cart.")

    async def add_to_wishes(self, request: Request) -> Response:
        product, customer = self._product(request), self.customer(request)
        self.world.change(
            "INSERT INTO wishes (customer, product) VALUES (?, ?)", customer["id"], product["id"]
        )
        return see("/wishlist", f"{product['name']} is on your wish list.")

    async def cart(self, request: Request) -> Response:
        customer = self.customer(request)
        items = self._items("carts", customer)
        total = sum(each["quantity"] * each["cents"] for each in items)
        return self.site.page(
            request,
            "cart.html",
            "Cart",
            kind="cart",
            items=items,
            total=total,
            customer=customer,
        )

    async def wishes(self, request: Request) -> Response:
        items = [{**each, "quantity": 1} for each in self._items("wishes", self.customer(request))]
        return self.site.page(request, "cart.html", "Wish list", kind="wishlist", items=items)

    async def remove(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        table = {"cart": "carts", "wishlist": "wishes"}.get(kind)
        if table is None:
            raise HTTPException(404)
        self.world.change(
            f"DELETE FROM {table} WHERE id = ? AND customer = ?",
            request.path_params["number"],
            self.customer(request)["id"],
        )
        return see(f"/{kind}", "It was removed.")

    async def check_out(self, request: Request) -> Response:
        customer, given = self.customer(request), await form_of(request)
        items = self._items("carts", customer)
        if not items:
            return see("/cart", "The cart is empty.")
        newest = _found(self.world.row("SELECT MAX(id) AS id FROM orders"))["id"]
        number = self.world.change(
            "INSERT INTO orders (number, customer, placed, status, shipping)"
            " VALUES (?, ?, ?, 'Processing', ?)",
            f"{newest + 1:09d}",
            customer["id"],
            _TODAY,
            "Express" if given.get("shipping") == "Express" else "Standard",
        )
        for each in items:
            self.world.change(
                "INSERT INTO order_items (order_id, product, quantity, cents) VALUES (?, ?, ?, ?)",
                number,
                each["product"],
                each["quantity"],
                each["cents"],
            )
        self.world.change("DELETE FROM carts WHERE customer = ?", customer["id"])
        return see(f"/sales/order/view/order_id/{number}/", "Thank you for your order.")

    async def account(self, request: Request) -> Response:
        customer = self.customer(request)
        orders = self.world.rows(f"{_ORDERS} WHERE customer = ? ORDER BY id DESC", customer["id"])
        return self.site.page(
            request, "orders.html", "My account", customer=customer, orders=orders
        )

    async def address(self, request: Request) -> Response:
        customer, given = self.customer(request), await form_of(request)
        fields = [given.get(name, "") for name in ("street", "city", "postcode")]
        if not all(fields):
            return see("/account", "An address needs a street, a city and a postcode.")
        self.world.change(
            "UPDATE customers SET street = ?, city = ?, postcode = ? WHERE id = ?",
            *fields,
            customer["id"],
        )
        return see("/account", "The address was saved.")

    async def order(self, request: Request) -> Response:
        number, customer = request.path_params["number"], self.customer(request)
        order = _found(
            self.world.row(f"{_ORDERS} WHERE id = ? AND customer = ?", number, customer["id"])
        )
        items = self.world.rows(
            _ITEMS.format("order_items", "order_items") + "order_id = ?", number
        )
        return self.site.page(
            request, "order.html", f"Order {order['number']}", order=order, items=items
        )

    async def token(self, request: Request) -> Response:
        try:
            given = await request.json()
            token = self.world.admin_token(str(given["password"]))
        except (ValueError, KeyError, TypeError) as error:
            raise HTTPException(400) from error
        if token is None:
            raise HTTPException(401)
        return JSONResponse(token)

    async def api_orders(self, request: Request) -> Response:
        self._admin(request)
        order = self.world.row("SELECT * FROM orders ORDER BY placed DESC, id DESC")
        return JSONResponse({"items": [{"increment_id": _found(order)["number"]}]})

    async def api_reviews(self, request: Request) -> Response:
        self._admin(request)
        reviews = self.world.rows(
            "SELECT reviews.* FROM reviews JOIN products ON products.id = product"
            " WHERE sku = ? ORDER BY reviews.id",
            request.path_params["sku"],
        )
        return JSONResponse(
            [
                {
                    "nickname": each["nickname"],
                    "ratings": [{"rating_name": "Rating", "percent": each["stars"] * 20}],
                }
                for each in reviews
            ]
        )

    def _product(self, request: Request) -> Row:
        number = request.path_params["number"]
        return _found(self.world.row("SELECT * FROM products WHERE id = ?", number))

    def _items(self, table: str, customer: Row) -> list[Row]:
        return self.world.rows(_ITEMS.format(table, "products") + "customer = ?", customer["id"])

    def _admin(self, request: Request) -> None:
        if not self.world.is_admin(request.headers.get("Authorization", "")):
            raise HTTPException(401)


def shop(world: World) -> Starlette:
    """The shop over a world."""
    pages = _Shop(world)

    def is_customer(name: str, password: str) -> bool:
        query = "SELECT id FROM customers WHERE name = ? AND password = ?"
        return world.row(query, name, password) is not None

    return Starlette(
        routes=[
            *pages.site.login_routes(is_customer),
            Route("/", pages.home),
            Route("/category/{name}", pages.category),
            Route("/search", pages.search),
            Route("/product/{number:int}", pages.product),
            Route("/product/{number:int}/review", pages.review, methods=["POST"]),
            Route("/product/{number:int}/cart", pages.add_to_cart, methods=["POST"]),
            Route("/product/{number:int}/wish", pages.add_to_wishes, methods=["POST"]),
            Route("/cart", pages.cart),
            Route("/wishlist", pages.wishes),
            Route("/{kind}/{number:int}/remove", pages.remove, methods=["POST"]),
            Route("/checkout", pages.check_out, methods=["POST"]),
            Route("/account", pages.account),
            Route("/account/address", pages.address, methods=["POST"]),
            Route("/sales/order/view/order_id/{number:int}/", pages.order),
            Route("/rest/default/V1/integration/admin/token", pages.token, methods=["POST"]),
            Route("/rest/V1/orders", pages.api_orders),
            Route("/rest/V1/products/{sku}/reviews", pages.api_reviews),
        ]
    )


def _found(row: Row | None) -> Row:
    if row is None:
        raise HTTPException(404)
    return row
