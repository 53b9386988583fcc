"""The library's desk: a small domain of our own in tau-bench's form.

Tools check what exists, not what the policy allows: keeping to the policy is the agent's task.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from clawjax.evals.suites.tau.domain import Database, ToolError
from clawjax.evals.suites.tau.toolkit import Toolkit, entry, integer, text, transfer

__all__ = ["KINDS", "TERMINATING", "TOOLS", "call"]

TERMINATING = frozenset({"transfer_to_human_agents"})
_RENEWAL = timedelta(days=21)


def _find_member(database: Database, name: str, birth_date: str) -> Any:
    for member_id, member in database["members"].items():
        if (member["name"].lower(), member["birth_date"]) == (name.lower(), birth_date):
            return member_id
    raise ToolError("no member has this name and date of birth")


def _get_member(database: Database, member_id: str) -> Any:
    loans = {
        loan_id: loan
        for loan_id, loan in database["loans"].items()
        if loan["member_id"] == member_id
    }
    return {**_entry(database, "members", member_id), "loans": loans}


def _find_books(database: Database, text: str) -> Any:
    return {
        book_id: book
        for book_id, book in database["books"].items()
        if text.lower() in f"{book['title']} {book['author']}".lower()
    }


def _get_loan(database: Database, loan_id: str) -> Any:
    loan = _entry(database, "loans", loan_id)
    reserved = sum(loan["book_id"] in each["reservations"] for each in database["members"].values())
    return {**loan, "reserved_by": reserved}


def _renew_loan(database: Database, loan_id: str) -> Any:
    loan = _entry(database, "loans", loan_id)
    loan["due"] = (date.fromisoformat(loan["due"]) + _RENEWAL).isoformat()
    loan["renewals"] += 1
    return loan


def _return_loan(database: Database, loan_id: str) -> Any:
    loan = _entry(database, "loans", loan_id)
    database["books"][loan["book_id"]]["available"] += 1
    del database["loans"][loan_id]
    return "returned"


def _reserve_book(database: Database, member_id: str, book_id: str) -> Any:
    member = _entry(database, "members", member_id)
    _entry(database, "books", book_id)
    if book_id in member["reservations"]:
        raise ToolError(f"{member_id} has reserved {book_id} already")
    member["reservations"].append(book_id)
    return member["reservations"]


def _cancel_reservation(database: Database, member_id: str, book_id: str) -> Any:
    member = _entry(database, "members", member_id)
    if book_id not in member["reservations"]:
        raise ToolError(f"{member_id} has not reserved {book_id}")
    member["reservations"].remove(book_id)
    return member["reservations"]


def _pay_fees(database: Database, member_id: str, cents: int) -> Any:
    member = _entry(database, "members", member_id)
    if not 0 < cents <= member["fees_cents"]:
        raise ToolError(f"{cents} cents cannot be paid: {member['fees_cents']} are owed")
    member["fees_cents"] -= cents
    return {"paid_cents": cents, "owed_cents": member["fees_cents"]}


def _entry(database: Database, kind: str, key: str) -> Any:
    if key not in database[kind]:
        raise ToolError(f"there is no {key!r} among the {kind}")
    return database[kind][key]


_MEMBERS, _BOOKS, _LOANS = text("m-101", "m-104"), text("b-2", "b-5"), text("l-2", "l-6")

_KIT = Toolkit(
    entry("read", _find_member, "Member id by name and date of birth.",
          name=text("Anna Keller"), birth_date=text("1984-02-11")),
    entry("read", _get_member, "Fees, reservations and loans of a member.", member_id=_MEMBERS),
    entry("read", _find_books, "Books whose title or author has a text.",
          text=text("salt", "berg")),
    entry("read", _get_loan, "One loan, and how many have reserved its book.", loan_id=_LOANS),
    entry("write", _renew_loan, "Renew a loan by 21 days.", loan_id=_LOANS),
    entry("write", _return_loan, "Take a book back.", loan_id=_LOANS),
    entry("write", _reserve_book, "Reserve a book.", member_id=_MEMBERS, book_id=_BOOKS),
    entry("write", _cancel_reservation, "Cancel a reservation.",
          member_id=_MEMBERS, book_id=_BOOKS),
    entry("write", _pay_fees, "Take a payment.", member_id=_MEMBERS, cents=integer(50, 300)),
    transfer("Hand over to a human; ends it.", "transferred"),
)  # fmt: skip

TOOLS, KINDS, call = _KIT.tools, _KIT.kinds, _KIT.call
