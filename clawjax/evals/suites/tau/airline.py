"""tau2's airline: reservations, their flights, bags and passengers, and what is paid for them.

Names, arguments, effects and refusals are those of tau2-bench (MIT,
github.com/sierra-research/tau2-bench), whose data this is for. As there, tools check what can be
done and not what the policy allows, seats are taken by a booking only (neither changes nor
cancellations give any back), and a cancellation is a negative payment that reaches no gift card.

Invariant: amounts are whole dollars, balances of gift cards and certificates floats.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clawjax.evals.suites.tau.domain import Database, ToolError
from clawjax.evals.suites.tau.toolkit import (
    CALCULATE,
    Toolkit,
    array,
    entry,
    integer,
    record,
    text,
    transfer,
)

__all__ = ["KINDS", "TERMINATING", "TOOLS", "call"]

TERMINATING: frozenset[str] = frozenset()
"""None: who is transferred is told so afterwards, which the policy asks for."""

Row = dict[str, Any]

_NOW = "2024-05-15T15:00:00"
_NEW_RESERVATIONS = ("HATHAT", "HATHAU", "HATHAV")
_NEW_CERTIFICATES = ("certificate_3221322", "certificate_3221323", "certificate_3221324")
_BAG, _INSURANCE = 50, 30
"""Dollars, for each bag that is not free and for each passenger."""
_AIRPORTS = {
    "SFO": "San Francisco", "JFK": "New York", "LAX": "Los Angeles", "ORD": "Chicago",
    "DFW": "Dallas", "DEN": "Denver", "SEA": "Seattle", "ATL": "Atlanta", "MIA": "Miami",
    "BOS": "Boston", "PHX": "Phoenix", "IAH": "Houston", "LAS": "Las Vegas", "MCO": "Orlando",
    "EWR": "Newark", "CLT": "Charlotte", "MSP": "Minneapolis", "DTW": "Detroit",
    "PHL": "Philadelphia", "LGA": "LaGuardia",
}  # fmt: skip


def _book_reservation(
    database: Database,
    user_id: str,
    origin: str,
    destination: str,
    flight_type: str,
    cabin: str,
    flights: Sequence[Row],
    passengers: Sequence[Row],
    payment_methods: Sequence[Row],
    total_baggages: int,
    nonfree_baggages: int,
    insurance: str,
) -> Row:
    user = _user(database, user_id)
    reservation_id = _unused(_NEW_RESERVATIONS, database["reservations"], "reservations")
    legs = [_leg(database, each, cabin, len(passengers)) for each in flights]
    price = len(passengers) * sum(each["price"] for each in legs) + _BAG * nonfree_baggages
    if insurance == "yes":
        price += _INSURANCE * len(passengers)
    payments = _only(payment_methods, "payment_id", "amount")
    _check_payments(user, payments, price)
    for payment in payments:
        _take(user["payment_methods"], payment)
    for leg in legs:
        instance = database["flights"][leg["flight_number"]]["dates"][leg["date"]]
        instance["available_seats"][cabin] -= len(passengers)
    reservation = {
        "reservation_id": reservation_id,
        "user_id": user_id,
        "origin": origin,
        "destination": destination,
        "flight_type": flight_type,
        "cabin": cabin,
        "flights": legs,
        "passengers": _only(passengers, "first_name", "last_name", "dob"),
        "payment_history": payments,
        "created_at": _NOW,
        "total_baggages": total_baggages,
        "nonfree_baggages": nonfree_baggages,
        "insurance": insurance,
    }
    database["reservations"][reservation_id] = reservation
    user["reservations"].append(reservation_id)
    return _shown(reservation)


def _cancel_reservation(database: Database, reservation_id: str) -> Row:
    reservation = _reservation(database, reservation_id)
    paid = reservation["payment_history"]
    paid += [{"payment_id": each["payment_id"], "amount": -each["amount"]} for each in paid]
    reservation["status"] = "cancelled"
    return _shown(reservation)


def _get_reservation_details(database: Database, reservation_id: str) -> Row:
    return _shown(_reservation(database, reservation_id))


def _get_user_details(database: Database, user_id: str) -> Row:
    return _user(database, user_id)


def _list_all_airports(database: Database) -> list[Row]:
    return [{"iata": code, "city": city} for code, city in _AIRPORTS.items()]


def _search_direct_flight(
    database: Database, origin: str, destination: str, date: str
) -> list[Row]:
    found = _departures(database, date, origin)
    return [each for each in found if each["destination"] == destination]


def _search_onestop_flight(
    database: Database, origin: str, destination: str, date: str
) -> list[list[Row]]:
    pairs: list[list[Row]] = []
    for first in _departures(database, date, origin):
        arrival = first["scheduled_arrival_time_est"]
        change_on = _day_after(date) if "+1" in arrival else date
        pairs += [
            [{**first, "date": date}, {**second, "date": change_on}]
            for second in _departures(database, change_on, first["destination"])
            if second["destination"] == destination
            and second["scheduled_departure_time_est"] >= arrival
        ]
    return pairs


def _send_certificate(database: Database, user_id: str, amount: int) -> str:
    methods = _user(database, user_id)["payment_methods"]
    certificate = _unused(_NEW_CERTIFICATES, methods, "certificates")
    methods[certificate] = {"source": "certificate", "id": certificate, "amount": float(amount)}
    return f"Certificate {certificate} added to user {user_id} with amount {amount}."


def _update_reservation_baggages(
    database: Database,
    reservation_id: str,
    total_baggages: int,
    nonfree_baggages: int,
    payment_id: str,
) -> Row:
    reservation = _reservation(database, reservation_id)
    more = max(0, nonfree_baggages - reservation["nonfree_baggages"])
    _settle(database, reservation, payment_id, _BAG * more)
    reservation |= {"total_baggages": total_baggages, "nonfree_baggages": nonfree_baggages}
    return _shown(reservation)


def _update_reservation_flights(
    database: Database, reservation_id: str, cabin: str, flights: Sequence[Row], payment_id: str
) -> Row:
    reservation = _reservation(database, reservation_id)
    people = len(reservation["passengers"])
    booked = reservation["flights"] if cabin == reservation["cabin"] else ()
    kept = {(each["flight_number"], each["date"]): each for each in reversed(booked)}
    legs = [
        kept.get((each["flight_number"], each["date"])) or _leg(database, each, cabin, people)
        for each in flights
    ]
    more = sum(each["price"] for each in legs) - sum(e["price"] for e in reservation["flights"])
    _settle(database, reservation, payment_id, people * more)
    reservation |= {"flights": legs, "cabin": cabin}
    return _shown(reservation)


def _update_reservation_passengers(
    database: Database, reservation_id: str, passengers: Sequence[Row]
) -> Row:
    reservation = _reservation(database, reservation_id)
    if len(passengers) != len(reservation["passengers"]):
        raise ToolError("Number of passengers does not match")
    reservation["passengers"] = _only(passengers, "first_name", "last_name", "dob")
    return _shown(reservation)


def _get_flight_status(database: Database, flight_number: str, date: str) -> str:
    return _instance(database, flight_number, date)["status"]


def _user(database: Database, user_id: str) -> Row:
    return _found(database["users"], user_id, f"User {user_id} not found")


def _reservation(database: Database, reservation_id: str) -> Row:
    missing = f"Reservation {reservation_id} not found"
    return _found(database["reservations"], reservation_id, missing)


def _flight(database: Database, number: str) -> Row:
    return _found(database["flights"], number, f"Flight {number} not found")


def _instance(database: Database, number: str, date: str) -> Row:
    missing = f"Flight {number} not found on date {date}"
    return _found(_flight(database, number)["dates"], date, missing)


def _found(rows: Mapping[str, Row], key: str, missing: str) -> Row:
    if key not in rows:
        raise ToolError(missing)
    return rows[key]


def _unused(names: Iterable[str], used: Mapping[str, Any], what: str) -> str:
    """The next of the few names that new things get."""
    for name in names:
        if name not in used:
            return name
    msg = f"Too many {what}"
    raise ToolError(msg)


def _leg(database: Database, wanted: Row, cabin: str, people: int) -> Row:
    """A flight as a reservation has it, at today's price, if it has seats for all."""
    number, date = wanted["flight_number"], wanted["date"]
    flight, instance = _flight(database, number), _instance(database, number, date)
    if instance["status"] != "available":
        msg = f"Flight {number} not available on date {date}"
        raise ToolError(msg)
    if instance["available_seats"][cabin] < people:
        msg = f"Not enough seats on flight {number}"
        raise ToolError(msg)
    return {
        "origin": flight["origin"],
        "destination": flight["destination"],
        "flight_number": number,
        "date": date,
        "price": instance["prices"][cabin],
    }


def _check_payments(user: Row, payments: Sequence[Row], price: int) -> None:
    methods = user["payment_methods"]
    for payment in payments:
        name = payment["payment_id"]
        method = _found(methods, name, f"Payment method {name} not found")
        if "amount" in method and method["amount"] < payment["amount"]:
            msg = f"Not enough balance in payment method {name}"
            raise ToolError(msg)
    paid = sum(each["amount"] for each in payments)
    if paid != price:
        msg = f"Payment amount does not add up, total price is {price}, but paid {paid}"
        raise ToolError(msg)
    names = [each["payment_id"] for each in payments]
    for name in names:
        if methods[name]["source"] == "certificate" and names.count(name) > 1:
            msg = f"Payment method {name} not found"  # it is gone once used
            raise ToolError(msg)


def _take(methods: Row, payment: Row) -> None:
    """Gift cards keep what is left; certificates are used up."""
    method = methods[payment["payment_id"]]
    if method["source"] == "gift_card":
        method["amount"] -= payment["amount"]
    elif method["source"] == "certificate":
        del methods[payment["payment_id"]]


def _settle(database: Database, reservation: Row, payment_id: str, price: int) -> None:
    """Pay for a change; a negative price goes back to a gift card."""
    methods = _user(database, reservation["user_id"])["payment_methods"]
    method = _found(methods, payment_id, "Payment method not found")
    if method["source"] == "certificate":
        raise ToolError("Certificate cannot be used to update reservation")
    if method["source"] == "gift_card":
        if method["amount"] < price:
            raise ToolError("Gift card balance is not enough")
        method["amount"] -= price
    if price != 0:
        reservation["payment_history"].append({"payment_id": payment_id, "amount": price})


def _departures(database: Database, date: str, origin: str) -> list[Row]:
    """Flights from an airport that can be booked for a day."""
    return [
        {
            "flight_number": flight["flight_number"],
            "origin": origin,
            "destination": flight["destination"],
            "status": "available",
            "scheduled_departure_time_est": flight["scheduled_departure_time_est"],
            "scheduled_arrival_time_est": flight["scheduled_arrival_time_est"],
            "date": None,
            "available_seats": instance["available_seats"],
            "prices": instance["prices"],
        }
        for flight in database["flights"].values()
        if flight["origin"] == origin
        and (instance := flight["dates"].get(date, {})).get("status") == "available"
    ]


def _day_after(date: str) -> str:
    return (datetime.date.fromisoformat(date) + datetime.timedelta(days=1)).isoformat()


def _only(rows: Iterable[Row], *keys: str) -> list[Row]:
    return [{key: row[key] for key in keys} for row in rows]


def _shown(reservation: Row) -> Row:
    return {**reservation, "status": reservation.get("status")}


_USER = text("mia_li_3668", "sara_doe_496", about="Id of a user.")
_RESERVATION = text("4WQ150", "ZFA04Y", about="Id of a reservation.")
_ORIGIN = text("SFO", "PHL", about="Airport, as three letters.")
_DESTINATION = text("JFK", "LGA", about="Airport, as three letters.")
_DATE = text("2024-05-20", about="YYYY-MM-DD.")
_NUMBER = text("HAT001", about="Number of a flight.")
_CABIN = text(choices=("business", "economy", "basic_economy"), about="Class of all flights.")
_TOTAL = integer(0, 2, about="Bags in all, free ones included.")
_NONFREE = integer(0, 1, about="Bags that are paid for.")
_PAYMENT = text("credit_card_4421486", about="A payment method in the user's profile.")
_FLIGHTS = array(
    record(flight_number=_NUMBER, date=_DATE),
    [{"flight_number": "HAT001", "date": "2024-05-20"}],
    about="Every flight of the whole reservation, those that stay as they are included.",
)
_PASSENGERS = array(
    record(first_name=text("Mia"), last_name=text("Li"), dob=text("1990-04-05")),
    [{"first_name": "Mia", "last_name": "Li", "dob": "1990-04-05"}],
    about="All passengers; dob is the date of birth.",
)
_PAYMENTS = array(
    record(payment_id=_PAYMENT, amount=integer(100)),
    [{"payment_id": "credit_card_4421486", "amount": 100}],
    about="What is paid by which method, in dollars; together the whole price.",
)

_KIT = Toolkit(
    entry(
        "write", _book_reservation, "Book a reservation.",
        user_id=_USER, origin=_ORIGIN, destination=_DESTINATION,
        flight_type=text(choices=("round_trip", "one_way")), cabin=_CABIN, flights=_FLIGHTS,
        passengers=_PASSENGERS, payment_methods=_PAYMENTS, total_baggages=_TOTAL,
        nonfree_baggages=_NONFREE, insurance=text(choices=("yes", "no")),
    ),
    CALCULATE,
    entry("write", _cancel_reservation, "Cancel all of a reservation.",
          reservation_id=_RESERVATION),
    entry("read", _get_reservation_details, "A reservation in detail.",
          reservation_id=_RESERVATION),
    entry("read", _get_user_details, "A user in detail, with their reservations.", user_id=_USER),
    entry("read", _list_all_airports, "All airports and their cities."),
    entry("read", _search_direct_flight, "Flights without a stop on a day.",
          origin=_ORIGIN, destination=_DESTINATION, date=_DATE),
    entry("read", _search_onestop_flight, "Pairs of flights with one stop on a day.",
          origin=_ORIGIN, destination=_DESTINATION, date=_DATE),
    entry("write", _send_certificate, "Give a certificate to a user. Be careful!",
          user_id=_USER, amount=integer(100, about="Dollars.")),
    transfer(
        "Hand the user over to a human agent: only if they ask for one, or if policy and tools "
        "leave no way to solve what they want.", "Transfer successful",
    ),
    entry("write", _update_reservation_baggages, "Change how many bags a reservation has.",
          reservation_id=_RESERVATION, total_baggages=_TOTAL, nonfree_baggages=_NONFREE,
          payment_id=_PAYMENT),
    entry("write", _update_reservation_flights, "Change flights or cabin of a reservation.",
          reservation_id=_RESERVATION, cabin=_CABIN, flights=_FLIGHTS, payment_id=_PAYMENT),
    entry("write", _update_reservation_passengers, "Change who travels, not how many.",
          reservation_id=_RESERVATION, passengers=_PASSENGERS),
    entry("read", _get_flight_status, "Whether a flight is on time, delayed, available ...",
          flight_number=_NUMBER, date=_DATE),
)  # fmt: skip

TOOLS, KINDS, call = _KIT.tools, _KIT.kinds, _KIT.call
