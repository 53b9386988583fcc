"""Sums that an agent writes down, worked out without evaluating code.

Invariant: bounded time and memory. Numbers are floats, so whole numbers beyond 2^53 are rounded;
in all else results are those of tau2's `calculate`, which rounds to two decimals.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable

from clawjax.evals.suites.tau.domain import ToolError

__all__ = ["calculate"]

_ALLOWED = frozenset("0123456789+-*/(). ")
_LONGEST = 400
"""Characters: bounds the depth of the syntax tree."""

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def calculate(expression: str) -> str:
    """The value to two decimals, e.g. `1200.0`.

    Raises:
        ToolError: other characters than digits, `+-*/().` and spaces, over 400 of them, no
            expression, or no finite real value.
    """
    if not _ALLOWED.issuperset(expression):
        raise ToolError("Invalid characters in expression")
    if len(expression) > _LONGEST:
        msg = f"Expression of {len(expression)} characters, at most {_LONGEST} are allowed"
        raise ToolError(msg)
    try:
        value = _value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ArithmeticError) as error:
        msg = f"Cannot evaluate expression: {error}"
        raise ToolError(msg) from error
    if isinstance(value, complex) or not math.isfinite(value):
        raise ToolError("Cannot evaluate expression: it has no finite real value")
    return str(round(value, 2))


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.BinOp(left, op, right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left), _value(right))
        case ast.UnaryOp(op, operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_value(operand))
        case _:
            raise ToolError("Cannot evaluate expression: it is not arithmetic")
