"""MySQL statements as sqlite ones (by sqlglot), with MySQL's comparison of texts and numbers."""

from __future__ import annotations

from typing import NamedTuple

import sqlglot
from sqlglot import exp
from sqlglot.dialects.sqlite import SQLite
from sqlglot.errors import SqlglotError

__all__ = ["Meta", "SqlError", "translate"]

_SYNTAX = (
    "1064 (42000): You have an error in your SQL syntax; check the manual that corresponds to your "
    "MySQL server version for the right syntax to use near '{near}' at line 1"
)
_NUMERIC = (
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg, exp.Sum, exp.Avg, exp.Count,
    exp.Round, exp.Abs, exp.Length, exp.Floor, exp.Ceil, exp.Year,
)  # fmt: skip
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)


class SqlError(Exception):
    """A statement that MySQL would refuse; the message is MySQL's."""


class Meta(NamedTuple):
    """A question about the schema rather than the rows."""

    what: str
    """`databases`, `tables`, `columns`, `use`, or something unsupported."""
    table: str = ""


class _Backquoted(SQLite):
    """sqlite takes an unknown name in double quotes for a text, one in backquotes for an error."""

    class Tokenizer(SQLite.Tokenizer):
        IDENTIFIERS = ["`"]  # noqa: RUF012 - as sqlglot declares it


def translate(statement: str, database: str) -> str | Meta:
    """The same for sqlite.

    Args:
        statement: one statement in MySQL's dialect.
        database: name of the only one; as a qualifier it is dropped.

    Raises:
        SqlError: it cannot be read, or there are several.
    """
    try:
        found = [each for each in sqlglot.parse(statement, read="mysql") if each is not None]
    except SqlglotError as error:
        raise SqlError(_SYNTAX.format(near=statement[:60])) from error
    if not found:
        raise SqlError("1065 (42000): Query was empty")
    if len(found) > 1:
        raise SqlError(_SYNTAX.format(near=found[1].sql("mysql")[:60]))
    tree = found[0]
    meta = _as_meta(tree)
    if meta is not None:
        return meta
    if isinstance(tree, exp.Command | exp.Pragma):
        raise SqlError(_SYNTAX.format(near=statement[:60]))
    tree = tree.transform(_without_database, database).transform(_as_numbers)
    return tree.sql(dialect=_Backquoted, comments=False)


def _as_meta(tree: exp.Expr) -> Meta | None:
    if isinstance(tree, exp.Use):
        return Meta("use", tree.this.name)
    if isinstance(tree, exp.Describe) and isinstance(tree.this, exp.Table):
        return Meta("columns", tree.this.name)
    if isinstance(tree, exp.Show):
        target = tree.args.get("target")
        return Meta(str(tree.name).lower(), target.name if target is not None else "")
    return None


def _without_database(node: exp.Expr, database: str) -> exp.Expr:
    if isinstance(node, exp.Table | exp.Column) and _names(node.args.get("db"), database):
        node.set("db", None)
    return node


def _names(qualifier: exp.Expr | None, database: str) -> bool:
    return qualifier is not None and qualifier.name.lower() == database.lower()


def _as_numbers(node: exp.Expr) -> exp.Expr:
    """Where one side is a number, MySQL compares as numbers; sqlite would compare as texts."""
    if isinstance(node.parent, exp.Update) and node.arg_key == "expressions":
        return node  # an assignment
    if isinstance(node, _COMPARISONS):
        left, right = node.this, node.expression
        if _is_numeric(left) != _is_numeric(right):
            text = "expression" if _is_numeric(left) else "this"
            node.set(text, _number(node.args[text]))
    elif isinstance(node, exp.Between):
        if _is_numeric(node.args["low"]) and not _is_numeric(node.this):
            node.set("this", _number(node.this))
    elif isinstance(node, exp.In):
        values = node.args.get("expressions") or []
        if values and all(_is_numeric(each) for each in values) and not _is_numeric(node.this):
            node.set("this", _number(node.this))
    return node


def _is_numeric(node: exp.Expr) -> bool:
    if isinstance(node, exp.Paren):
        return _is_numeric(node.this)
    if isinstance(node, exp.Literal):
        return not node.is_string
    if isinstance(node, exp.Cast):
        return not node.to.is_type(*exp.DataType.TEXT_TYPES)
    return isinstance(node, _NUMERIC) or _is_number_call(node)


def _is_number_call(node: exp.Expr) -> bool:
    return isinstance(node, exp.Anonymous) and node.name.lower() == "mysql_number"


def _number(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Subquery | exp.Select | exp.Null):
        return node
    return exp.Anonymous(this="mysql_number", expressions=[node.copy()])
