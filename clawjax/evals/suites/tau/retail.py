"""tau2's shop: orders, what may still be changed about them, returns and exchanges.

Names, arguments, effects and refusals are those of tau2-bench (MIT,
github.com/sierra-research/tau2-bench), whose data this is for. As there, tools check what can be
done and not what the policy allows; an exchange or a return is requested, and no money moves.

Two of its habits decide scores and are kept: where several items of a pending order are changed at
once, all get price and options of the last new one (`_replace`), and the sum paid for it is not
rounded. So the order in which items are named is part of the state that is compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from clawjax.evals.suites.tau.domain import Database, ToolError
from clawjax.evals.suites.tau.toolkit import CALCULATE, Toolkit, array, entry, text, transfer

__all__ = ["KINDS", "TERMINATING", "TOOLS", "call"]

TERMINATING: frozenset[str] = frozenset()
"""None: who is transferred is told so afterwards, which the policy asks for."""

Row = dict[str, Any]

_REASONS = ("no longer needed", "ordered by mistake")
_OPTIONAL = (
    "cancel_reason",
    "exchange_items",
    "exchange_new_items",
    "exchange_payment_method_id",
    "exchange_price_difference",
    "return_items",
    "return_payment_method_id",
)
"""What an order may lack; told as null."""


def _cancel_pending_order(database: Database, order_id: str, reason: str) -> Row:
    order = _order(database, order_id)
    if order["status"] != "pending":
        raise ToolError("Non-pending order cannot be cancelled")
    if reason not in _REASONS:
        raise ToolError("Invalid reason")
    paid = order["payment_history"]
    methods = [_method(database, order, each["payment_method_id"]) for each in paid]
    for method, each in zip(methods, paid, strict=True):
        _credit(method, each["amount"])
    order["payment_history"] = paid + [{**each, "transaction_type": "refund"} for each in paid]
    order |= {"status": "cancelled", "cancel_reason": reason}
    return _shown(order)


def _exchange_delivered_order_items(
    database: Database,
    order_id: str,
    item_ids: Sequence[str],
    new_item_ids: Sequence[str],
    payment_method_id: str,
) -> Row:
    order = _order(database, order_id)
    if order["status"] != "delivered":
        raise ToolError("Non-delivered order cannot be exchanged")
    _check_items(order, item_ids, "Number of {} not found.")
    if len(item_ids) != len(new_item_ids):
        raise ToolError("The number of items to be exchanged should match.")
    variants = _variants(database, order, item_ids, new_item_ids)
    difference = round(_difference(order, item_ids, variants), 2)
    method = _method(database, order, payment_method_id)
    _check_balance(method, difference, "pay for the price difference")
    order |= {
        "status": "exchange requested",
        "exchange_items": sorted(item_ids),
        "exchange_new_items": sorted(new_item_ids),
        "exchange_payment_method_id": payment_method_id,
        "exchange_price_difference": difference,
    }
    return _shown(order)


def _find_user_id_by_name_zip(database: Database, first_name: str, last_name: str, zip: str) -> str:
    wanted = first_name.lower(), last_name.lower(), zip
    for user_id, user in database["users"].items():
        name = user["name"]
        if wanted == (
            name["first_name"].lower(),
            name["last_name"].lower(),
            user["address"]["zip"],
        ):
            return user_id
    raise ToolError("User not found")


def _find_user_id_by_email(database: Database, email: str) -> str:
    for user_id, user in database["users"].items():
        if user["email"].lower() == email.lower():
            return user_id
    raise ToolError("User not found")


def _get_order_details(database: Database, order_id: str) -> Row:
    return _shown(_order(database, order_id))


def _get_item_details(database: Database, item_id: str) -> Row:
    for product in database["products"].values():
        if item_id in product["variants"]:
            return product["variants"][item_id]
    raise ToolError("Item not found")


def _get_product_details(database: Database, product_id: str) -> Row:
    return _product(database, product_id)


def _get_user_details(database: Database, user_id: str) -> Row:
    return _user(database, user_id)


def _list_all_product_types(database: Database) -> str:
    products = database["products"].values()
    return json.dumps({each["name"]: each["product_id"] for each in products}, sort_keys=True)


def _modify_pending_order_address(database: Database, order_id: str, **address: str) -> Row:
    order = _order(database, order_id)
    _check_pending(order)
    order["address"] = address
    return _shown(order)


def _modify_pending_order_items(
    database: Database,
    order_id: str,
    item_ids: Sequence[str],
    new_item_ids: Sequence[str],
    payment_method_id: str,
) -> Row:
    order = _order(database, order_id)
    if order["status"] != "pending":  # not even one whose items were changed before
        raise ToolError("Non-pending order cannot be modified")
    _check_items(order, item_ids, "{} not found")
    if len(item_ids) != len(new_item_ids):
        raise ToolError("The number of items to be exchanged should match")
    if any(old == new for old, new in zip(item_ids, new_item_ids, strict=True)):
        raise ToolError("The new item id should be different from the old item id")
    variants = _variants(database, order, item_ids, new_item_ids)
    difference = _difference(order, item_ids, variants)
    method = _method(database, order, payment_method_id)
    _check_balance(method, difference, "pay for the new item")
    order["payment_history"].append(
        {
            "transaction_type": "payment" if difference > 0 else "refund",
            "amount": abs(difference),
            "payment_method_id": payment_method_id,
        }
    )
    _credit(method, -difference)
    for old, new in zip(item_ids, new_item_ids, strict=True):
        _replace(order, old, new, variants[-1])
    order["status"] = "pending (item modified)"
    return _shown(order)


def _modify_pending_order_payment(database: Database, order_id: str, payment_method_id: str) -> Row:
    order = _order(database, order_id)
    _check_pending(order)
    method = _method(database, order, payment_method_id)
    paid = order["payment_history"]
    if len(paid) != 1 or paid[0]["transaction_type"] != "payment":
        raise ToolError("There should be exactly one payment for a pending order")
    before, amount = paid[0]["payment_method_id"], paid[0]["amount"]
    if before == payment_method_id:
        raise ToolError("The new payment method should be different from the current one")
    _check_balance(method, amount, "pay for the order")
    _credit(_method(database, order, before), amount)
    _credit(method, -amount)
    paid += [
        {"transaction_type": kind, "amount": amount, "payment_method_id": each}
        for kind, each in (("payment", payment_method_id), ("refund", before))
    ]
    return _shown(order)


def _modify_user_address(database: Database, user_id: str, **address: str) -> Row:
    user = _user(database, user_id)
    user["address"] = address
    return user


def _return_delivered_order_items(
    database: Database, order_id: str, item_ids: Sequence[str], payment_method_id: str
) -> Row:
    order = _order(database, order_id)
    if order["status"] != "delivered":
        raise ToolError("Non-delivered order cannot be returned")
    method = _method(database, order, payment_method_id)
    original = order["payment_history"][0]["payment_method_id"]
    if method["source"] != "gift_card" and payment_method_id != original:
        raise ToolError("Payment method should be the original payment method")
    _check_items(order, item_ids, "Some item not found")
    order |= {
        "status": "return requested",
        "return_items": sorted(item_ids),
        "return_payment_method_id": payment_method_id,
    }
    return _shown(order)


def _order(database: Database, order_id: str) -> Row:
    return _found(database["orders"], order_id, "Order not found")


def _user(database: Database, user_id: str) -> Row:
    return _found(database["users"], user_id, "User not found")


def _product(database: Database, product_id: str) -> Row:
    return _found(database["products"], product_id, "Product not found")


def _method(database: Database, order: Row, method_id: str) -> Row:
    methods = _user(database, order["user_id"])["payment_methods"]
    return _found(methods, method_id, "Payment method not found")


def _found(rows: Mapping[str, Row], key: str, missing: str) -> Row:
    if key not in rows:
        raise ToolError(missing)
    return rows[key]


def _item(order: Row, item_id: str) -> Row:
    return next(each for each in order["items"] if each["item_id"] == item_id)


def _check_pending(order: Row) -> None:
    if "pending" not in order["status"]:
        raise ToolError("Non-pending order cannot be modified")


def _check_items(order: Row, item_ids: Sequence[str], missing: str) -> None:
    """An item may be named as often as it was ordered."""
    ordered = [each["item_id"] for each in order["items"]]
    for item_id in item_ids:
        if item_ids.count(item_id) > ordered.count(item_id):
            raise ToolError(missing.format(item_id))


def _check_balance(method: Row, price: float, purpose: str) -> None:
    if method["source"] == "gift_card" and method["balance"] < price:
        msg = f"Insufficient gift card balance to {purpose}"
        raise ToolError(msg)


def _variants(
    database: Database, order: Row, item_ids: Sequence[str], new_item_ids: Sequence[str]
) -> list[Row]:
    """What the new ids stand for: each of the old one's product, and in stock."""
    found: list[Row] = []
    for old, new in zip(item_ids, new_item_ids, strict=True):
        product = _product(database, _item(order, old)["product_id"])
        variant = _found(product["variants"], new, "Variant not found")
        if not variant["available"]:
            msg = f"New item {new} not found or available"
            raise ToolError(msg)
        found.append(variant)
    return found


def _difference(order: Row, item_ids: Sequence[str], variants: Sequence[Row]) -> float:
    """What the new items cost more, one after the other: not rounded."""
    total = 0.0
    for old, variant in zip(item_ids, variants, strict=True):
        total += variant["price"] - _item(order, old)["price"]
    return total


def _credit(method: Row, amount: float) -> None:
    """Only gift cards have a balance that we know."""
    if method["source"] == "gift_card":
        method["balance"] = round(method["balance"] + amount, 2)


def _replace(order: Row, old: str, new: str, variant: Row) -> None:
    item = _item(order, old)
    item |= {"item_id": new, "price": variant["price"], "options": dict(variant["options"])}


def _shown(order: Row) -> Row:
    return {**order, **{key: order.get(key) for key in _OPTIONAL}}


_ORDER = text("#W2611340", "#W0000000", about="Id of an order, with the # before it.")
_USER = text("noah_brown_6181", "sara_doe_496", about="Id of a user.")
_PRODUCT = text("9523456873", about="Id of a product, which is not that of an item.")
_METHOD = text(
    "credit_card_7815826", about="A payment method in the user's profile; pays or is refunded."
)
_ITEMS = array(
    text("6469567736"), ["6469567736"],
    about="Ids of items in the order; one that was ordered twice may be here twice.",
)  # fmt: skip
_NEW_ITEMS = array(
    text("1008292230"), ["1008292230"],
    about="Ids of the new items, each of the same product as the item in its place.",
)  # fmt: skip
_ADDRESS = {
    "address1": text("123 Main St", about="First line."),
    "address2": text("Apt 1", about="Second line; may be empty."),
    "city": text("San Francisco"),
    "state": text("CA"),
    "country": text("USA"),
    "zip": text("12345"),
}
_CONFIRM = "Explain it in detail and have the user confirm (yes/no) before."

_KIT = Toolkit(
    CALCULATE,
    entry("write", _cancel_pending_order,
          "Cancel a pending order. What a gift card paid is on it again at once, other refunds "
          f"take 5 to 7 business days. {_CONFIRM}",
          order_id=_ORDER, reason=text(*_REASONS, about=f"One of: {', '.join(_REASONS)}.")),
    entry("write", _exchange_delivered_order_items,
          f"Exchange items of a delivered order; once an order. {_CONFIRM}",
          order_id=_ORDER, item_ids=_ITEMS, new_item_ids=_NEW_ITEMS, payment_method_id=_METHOD),
    entry("read", _find_user_id_by_name_zip,
          "User id by name and zip code: only where it cannot be found by email.",
          first_name=text("Noah"), last_name=text("Brown"), zip=text("80279")),
    entry("read", _find_user_id_by_email, "User id by email.",
          email=text("noah.brown7922@example.com")),
    entry("read", _get_order_details, "An order in detail, with its status.", order_id=_ORDER),
    entry("read", _get_item_details, "One item: its options, stock and price.",
          item_id=text("9612497925", about="Id of an item, which is not that of a product.")),
    entry("read", _get_product_details, "A product's items: options, stock, prices.",
          product_id=_PRODUCT),
    entry("read", _get_user_details, "A user in detail, with their orders.", user_id=_USER),
    entry("read", _list_all_product_types, "Names and ids of all 50 products."),
    entry("write", _modify_pending_order_address,
          f"Change where a pending order is sent. {_CONFIRM}", order_id=_ORDER, **_ADDRESS),
    entry("write", _modify_pending_order_items,
          f"Change items of a pending order; once an order. {_CONFIRM}",
          order_id=_ORDER, item_ids=_ITEMS, new_item_ids=_NEW_ITEMS, payment_method_id=_METHOD),
    entry("write", _modify_pending_order_payment,
          f"Change how a pending order is paid. {_CONFIRM}",
          order_id=_ORDER, payment_method_id=_METHOD),
    entry("write", _modify_user_address, f"Change a user's own address. {_CONFIRM}",
          user_id=_USER, **_ADDRESS),
    entry("write", _return_delivered_order_items,
          "Return items of a delivered order; the user is told by email how. "
          f"{_CONFIRM}", order_id=_ORDER, item_ids=_ITEMS, payment_method_id=_METHOD),
    transfer(
        "Hand the user over to a human agent: only if they ask for one, or if policy and tools "
        "leave no way to solve what they want.", "Transfer successful",
    ),
)  # fmt: skip

TOOLS, KINDS, call = _KIT.tools, _KIT.kinds, _KIT.call
