"""What tau2's tools do to money, seats and texts, worked out by hand."""

import copy

import pytest

from clawjax.evals.suites.tau import airline, retail
from clawjax.evals.suites.tau.arithmetic import calculate
from clawjax.evals.suites.tau.domain import ToolError


def flight(number, origin, destination, leaves, arrives, **prices):
    seats = dict.fromkeys(prices, 2)
    day = {"status": "available", "available_seats": seats, "prices": prices}
    return {
        "origin": origin,
        "destination": destination,
        "flight_number": number,
        "scheduled_departure_time_est": leaves,
        "scheduled_arrival_time_est": arrives,
        "dates": {
            "2024-05-20": day,
            "2024-05-21": {**day, "available_seats": dict(seats)},
            "2024-05-14": {"status": "landed"},
        },
    }


@pytest.fixture
def skies():
    """One user, whose gift card has 500 and whose certificate 100 dollars; two people booked."""
    leg = {"origin": "SFO", "destination": "JFK", "flight_number": "F1", "date": "2024-05-20"}
    return {
        "flights": {
            "F1": flight("F1", "SFO", "JFK", "08:00:00", "16:00:00", economy=200, business=450),
            "F2": flight("F2", "JFK", "BOS", "17:00:00", "18:00:00", economy=80, business=90),
            "F3": flight("F3", "SFO", "ORD", "20:00:00", "02:00:00+1", economy=70, business=90),
            "F4": flight("F4", "ORD", "BOS", "06:00:00", "08:00:00", economy=60, business=90),
        },
        "users": {
            "u": {
                "payment_methods": {
                    "gift": {"source": "gift_card", "id": "gift", "amount": 500.0},
                    "paper": {"source": "certificate", "id": "paper", "amount": 100.0},
                    "card": {"source": "credit_card", "id": "card"},
                },
                "reservations": ["R"],
            }
        },
        "reservations": {
            "R": {
                "reservation_id": "R",
                "user_id": "u",
                "cabin": "economy",
                "flights": [{**leg, "price": 150}],
                "passengers": [{"first_name": "A"}, {"first_name": "B"}],
                "payment_history": [{"payment_id": "card", "amount": 300}],
                "total_baggages": 1,
                "nonfree_baggages": 1,
            }
        },
    }


def methods(skies):
    return skies["users"]["u"]["payment_methods"]


def booking(*payments, people=2, numbers=("F1", "F2"), date="2024-05-20", **other):
    passenger = {"first_name": "A", "last_name": "B", "dob": "1990-01-01"}
    return {
        "user_id": "u",
        "origin": "SFO",
        "destination": "BOS",
        "flight_type": "one_way",
        "cabin": "economy",
        "flights": [{"flight_number": number, "date": date} for number in numbers],
        "passengers": [passenger] * people,
        "payment_methods": [{"payment_id": name, "amount": amount} for name, amount in payments],
        "total_baggages": 3,
        "nonfree_baggages": 1,
        "insurance": "yes",
        **other,
    }


def test_a_booking_is_paid_by_three_methods(skies):
    # (200 + 80) * 2 people + 50 for a bag + 30 * 2 for insurance = 670 = 100 + 470 + 100.
    paid = booking(("paper", 100), ("gift", 470), ("card", 100))
    made = airline.call(skies, "book_reservation", paid)
    assert (made["reservation_id"], made["status"]) == ("HATHAT", None)
    assert [leg["price"] for leg in made["flights"]] == [200, 80]
    assert methods(skies)["gift"]["amount"] == 30.0
    assert "paper" not in methods(skies)  # used up
    assert skies["flights"]["F1"]["dates"]["2024-05-20"]["available_seats"]["economy"] == 0
    assert skies["flights"]["F1"]["dates"]["2024-05-21"]["available_seats"]["economy"] == 2
    assert skies["users"]["u"]["reservations"] == ["R", "HATHAT"]
    with pytest.raises(ToolError, match="Not enough seats on flight F1"):
        airline.call(skies, "book_reservation", booking(("card", 670)))
    cancelled = airline.call(skies, "cancel_reservation", {"reservation_id": "HATHAT"})
    amounts = [each["amount"] for each in cancelled["payment_history"]]
    assert amounts == [100, 470, 100, -100, -470, -100]
    assert methods(skies)["gift"]["amount"] == 30.0  # as upstream: nothing comes back


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (booking(("card", 669)), "does not add up, total price is 670, but paid 669"),
        (booking(("gift", 501), ("card", 169)), "Not enough balance in payment method gift"),
        (booking(("none", 670)), "Payment method none not found"),
        (booking(("paper", 50), ("paper", 50), ("card", 570)), "Payment method paper not found"),
        (booking(("card", 670), user_id="v"), "User v not found"),
        (booking(("card", 670), numbers=("F9",)), "Flight F9 not found"),
        (booking(("card", 670), date="2024-06-01"), "Flight F1 not found on date 2024-06-01"),
        (booking(("card", 670), date="2024-05-14"), "Flight F1 not available on date 2024-05-14"),
        (booking(("card", 1005), people=3), "Not enough seats on flight F1"),
    ],
)
def test_a_booking_that_is_refused_changes_nothing(skies, arguments, told):
    before = repr(skies)
    with pytest.raises(ToolError, match=told):
        airline.call(skies, "book_reservation", arguments)
    assert repr(skies) == before


def change(skies, numbers, cabin, payment):
    flights = [{"flight_number": number, "date": "2024-05-20"} for number in numbers]
    arguments = {"reservation_id": "R", "cabin": cabin, "flights": flights, "payment_id": payment}
    return airline.call(skies, "update_reservation_flights", arguments)


def test_a_flight_that_stays_keeps_its_price_and_a_new_cabin_does_not(skies):
    # F1 stays at 150, F2 is 80 more: 2 * 80.
    changed = change(skies, ["F1", "F2"], "economy", "gift")
    assert [leg["price"] for leg in changed["flights"]] == [150, 80]
    assert changed["payment_history"][-1] == {"payment_id": "gift", "amount": 160}
    assert methods(skies)["gift"]["amount"] == 340.0
    # Back to F1 alone: 2 * -80, and the gift card has it again.
    assert change(skies, ["F1"], "economy", "gift")["payment_history"][-1]["amount"] == -160
    assert methods(skies)["gift"]["amount"] == 500.0
    # Business at today's price: 2 * (450 - 150) = 600, more than the gift card has.
    with pytest.raises(ToolError, match="Gift card balance is not enough"):
        change(skies, ["F1"], "business", "gift")
    with pytest.raises(ToolError, match="Certificate cannot be used to update reservation"):
        change(skies, ["F1"], "business", "paper")
    with pytest.raises(ToolError, match="Payment method not found"):
        change(skies, ["F1"], "business", "none")
    upgraded = change(skies, ["F1"], "business", "card")
    assert (upgraded["cabin"], upgraded["payment_history"][-1]["amount"]) == ("business", 600)
    assert skies["flights"]["F1"]["dates"]["2024-05-20"]["available_seats"]["business"] == 2


def test_only_further_bags_are_paid_for(skies):
    def bags(total, nonfree):
        arguments = {"total_baggages": total, "nonfree_baggages": nonfree}
        where = {"reservation_id": "R", "payment_id": "gift"}
        return airline.call(skies, "update_reservation_baggages", {**where, **arguments})

    assert bags(4, 3)["payment_history"][-1] == {"payment_id": "gift", "amount": 100}
    assert methods(skies)["gift"]["amount"] == 400.0
    fewer = bags(2, 0)  # nothing back
    assert len(fewer["payment_history"]) == 2
    assert (fewer["total_baggages"], fewer["nonfree_baggages"]) == (2, 0)
    assert methods(skies)["gift"]["amount"] == 400.0


def test_certificates_have_three_names_and_passengers_their_number(skies):
    told = airline.call(skies, "send_certificate", {"user_id": "u", "amount": 50})
    assert told == "Certificate certificate_3221322 added to user u with amount 50."
    for _ in range(2):
        airline.call(skies, "send_certificate", {"user_id": "u", "amount": 50})
    assert methods(skies)["certificate_3221324"]["amount"] == 50.0
    with pytest.raises(ToolError, match="Too many certificates"):
        airline.call(skies, "send_certificate", {"user_id": "u", "amount": 50})
    with pytest.raises(ToolError, match="Number of passengers does not match"):
        airline.call(
            skies, "update_reservation_passengers", {"reservation_id": "R", "passengers": []}
        )


def test_flights_are_found_with_one_stop_and_over_midnight(skies):
    def found(tool, destination):
        where = {"origin": "SFO", "destination": destination, "date": "2024-05-20"}
        return airline.call(skies, tool, where)

    [direct] = found("search_direct_flight", "JFK")
    assert (direct["flight_number"], direct["date"]) == ("F1", None)
    pairs = found("search_onestop_flight", "BOS")
    assert [[(leg["flight_number"], leg["date"]) for leg in pair] for pair in pairs] == [
        [("F1", "2024-05-20"), ("F2", "2024-05-20")],
        [("F3", "2024-05-20"), ("F4", "2024-05-21")],
    ]
    status = {"flight_number": "F1", "date": "2024-05-14"}
    assert airline.call(skies, "get_flight_status", status) == "landed"
    assert {"iata": "LGA", "city": "LaGuardia"} in airline.call(skies, "list_all_airports", {})


def variant(price, available=True, **options):
    return {"price": price, "available": available, "options": options}


@pytest.fixture
def shop():
    """One user with 20 dollars on a gift card, and an order that it paid."""
    item = {"product_id": "p", "options": {}}
    items = [{**item, "item_id": "a", "price": 10.1}, {**item, "item_id": "b", "price": 20.2}]
    paid = [{"transaction_type": "payment", "amount": 30.3, "payment_method_id": "gift"}]
    order = {"user_id": "u", "items": items, "payment_history": paid}
    return {
        "products": {
            "p": {
                "name": "Lamp",
                "product_id": "p",
                "variants": {
                    "c": variant(15.3, color="red"),
                    "d": variant(22.4, color="blue"),
                    "e": variant(99.0, color="gold"),
                    "f": variant(1.0, available=False),
                },
            }
        },
        "users": {
            "u": {
                "name": {"first_name": "Ann", "last_name": "Lee"},
                "email": "ann@example.com",
                "address": {"zip": "12345"},
                "payment_methods": {
                    "gift": {"source": "gift_card", "id": "gift", "balance": 20.0},
                    "card": {"source": "credit_card", "id": "card"},
                },
            }
        },
        "orders": {
            "#1": {**order, "order_id": "#1", "status": "pending"},
            "#2": {**copy.deepcopy(order), "order_id": "#2", "status": "delivered"},
        },
    }


def balance(shop):
    return shop["users"]["u"]["payment_methods"]["gift"]["balance"]


def swap(shop, tool, order_id, old, new, method="gift"):
    items = {"item_ids": list(old), "new_item_ids": list(new)}
    where = {"order_id": order_id, "payment_method_id": method}
    return retail.call(shop, tool, {**where, **items})


def test_several_items_get_the_last_ones_price_as_upstream(shop):
    # 15.3 - 10.1 + 22.4 - 20.2 = 7.4 by sums of floats that are not rounded.
    changed = swap(shop, "modify_pending_order_items", "#1", "ab", "cd")
    assert changed["payment_history"][-1] == {
        "transaction_type": "payment",
        "amount": (15.3 - 10.1) + (22.4 - 20.2),
        "payment_method_id": "gift",
    }
    assert balance(shop) == 12.6
    assert [(item["item_id"], item["price"]) for item in changed["items"]] == [
        ("c", 22.4),
        ("d", 22.4),
    ]
    assert {item["options"]["color"] for item in changed["items"]} == {"blue"}
    assert changed["status"] == "pending (item modified)"
    with pytest.raises(ToolError, match="Non-pending order cannot be modified"):
        swap(shop, "modify_pending_order_items", "#1", "c", "d")
    with pytest.raises(ToolError, match="Non-pending order cannot be cancelled"):
        retail.call(shop, "cancel_pending_order", {"order_id": "#1", "reason": "no longer needed"})


def test_a_cheaper_item_is_refunded(shop):
    shop["products"]["p"]["variants"]["d"]["price"] = 18.0
    changed = swap(shop, "modify_pending_order_items", "#1", "b", "d", "card")
    assert changed["payment_history"][-1]["transaction_type"] == "refund"
    assert changed["payment_history"][-1]["amount"] == pytest.approx(2.2)
    assert balance(shop) == 20.0


def test_an_exchange_is_requested_at_a_rounded_difference(shop):
    asked = swap(shop, "exchange_delivered_order_items", "#2", "ba", "dc")
    assert asked["status"] == "exchange requested"
    assert asked["exchange_price_difference"] == 7.4
    assert (asked["exchange_items"], asked["exchange_new_items"]) == (["a", "b"], ["c", "d"])
    assert (balance(shop), asked["return_items"]) == (20.0, None)
    with pytest.raises(ToolError, match="Non-delivered order cannot be returned"):
        retail.call(
            shop,
            "return_delivered_order_items",
            {"order_id": "#2", "item_ids": ["a"], "payment_method_id": "gift"},
        )


@pytest.mark.parametrize(
    ("old", "new", "method", "told"),
    [
        ("a", "e", "gift", "Insufficient gift card balance to pay for the"),
        ("a", "f", "gift", "New item f not found or available"),
        ("a", "x", "gift", "Variant not found"),
        ("aa", "cd", "gift", "a not found"),
        ("a", "cd", "gift", "The number of items to be exchanged should match"),
        ("a", "c", "none", "Payment method not found"),
    ],
)
@pytest.mark.parametrize(
    ("tool", "order_id"),
    [("modify_pending_order_items", "#1"), ("exchange_delivered_order_items", "#2")],
)
def test_a_swap_that_is_refused_changes_nothing(shop, tool, order_id, old, new, method, told):
    before = repr(shop)
    with pytest.raises(ToolError, match=told):
        swap(shop, tool, order_id, old, new, method)
    assert repr(shop) == before


def test_a_cancelled_order_is_on_the_gift_card_again(shop):
    where = {"order_id": "#1"}
    with pytest.raises(ToolError, match="Invalid reason"):
        retail.call(shop, "cancel_pending_order", {**where, "reason": "changed my mind"})
    gone = retail.call(shop, "cancel_pending_order", {**where, "reason": "ordered by mistake"})
    assert (gone["status"], gone["cancel_reason"]) == ("cancelled", "ordered by mistake")
    assert [each["transaction_type"] for each in gone["payment_history"]] == ["payment", "refund"]
    assert balance(shop) == 50.3


def test_another_payment_pays_all_and_the_first_is_refunded(shop):
    def pay(method):
        where = {"order_id": "#1", "payment_method_id": method}
        return retail.call(shop, "modify_pending_order_payment", where)

    with pytest.raises(ToolError, match="should be different from the current one"):
        pay("gift")
    history = pay("card")["payment_history"]
    assert [(each["transaction_type"], each["payment_method_id"]) for each in history] == [
        ("payment", "gift"),
        ("payment", "card"),
        ("refund", "gift"),
    ]
    assert balance(shop) == 50.3
    with pytest.raises(ToolError, match="There should be exactly one payment"):
        pay("gift")


def test_returns_go_to_the_first_payment_or_a_gift_card(shop):
    where = {"order_id": "#2", "item_ids": ["b"]}
    with pytest.raises(ToolError, match="should be the original payment method"):
        retail.call(shop, "return_delivered_order_items", {**where, "payment_method_id": "card"})
    back = retail.call(shop, "return_delivered_order_items", {**where, "payment_method_id": "gift"})
    assert (back["status"], back["return_items"]) == ("return requested", ["b"])
    assert balance(shop) == 20.0


def test_people_and_items_are_found(shop):
    assert retail.call(shop, "find_user_id_by_email", {"email": "ANN@example.com"}) == "u"
    name = {"first_name": "ann", "last_name": "LEE"}
    assert retail.call(shop, "find_user_id_by_name_zip", {**name, "zip": "12345"}) == "u"
    with pytest.raises(ToolError, match="User not found"):
        retail.call(shop, "find_user_id_by_name_zip", {**name, "zip": "1"})
    assert retail.call(shop, "get_item_details", {"item_id": "c"})["price"] == 15.3
    with pytest.raises(ToolError, match="Item not found"):
        retail.call(shop, "get_item_details", {"item_id": "p"})
    assert retail.call(shop, "list_all_product_types", {}) == '{"Lamp": "p"}'


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 * ((350 - 122) + (499 - 127))", "1200.0"),  # airline's task 12
        ("155.33 - 147.05 + 268.77 - 235.13", "41.92"),  # retail's task 21
        ("-7 // 2", "-4.0"),
        ("2 ** 10 / 3", "341.33"),
        (" 164.28", "164.28"),
    ],
)
def test_sums(expression, value):
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        *("abs(1)", "1 +", "1 / 0", "9 ** 9 ** 9", "(-8) ** 0.5", "(1)(2)", "", "1" * 401),
        *("9" * 400, "(" * 200 + "1" + ")" * 199, "10.0 ** 300 * 10 ** 300"),
    ],
)
def test_what_is_no_sum_is_refused(expression):
    with pytest.raises(ToolError):
        calculate(expression)


def test_a_deep_sum_is_worked_out():
    assert calculate("-" * 399 + "1") == "-1.0"
