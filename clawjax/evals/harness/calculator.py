"""Arithmetic from text, by walking its syntax tree: nothing is evaluated but numbers."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

__all__ = ["calculate"]

_LONGEST = 500
_LARGEST_POWER = 10_000.0
"""Of the bits of a power."""

_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "exp": math.exp,
    "floor": math.floor,
    "gcd": math.gcd,
    "log": math.log,
    "log10": math.log10,
    "max": max,
    "min": min,
    "round": round,
    "sqrt": math.sqrt,
}
_CONSTANTS = {"pi": math.pi, "e": math.e}


def calculate(expression: str) -> int | float:
    """The value of an arithmetic expression.

    Raises:
        ValueError: it is none, is too large, or has no value.
    """
    if len(expression) > _LONGEST:
        msg = f"{len(expression)} characters are too many: use at most {_LONGEST}"
        raise ValueError(msg)
    try:
        tree = ast.parse(expression.strip().replace("^", "**"), mode="eval")
        value = _value(tree.body)
    except (SyntaxError, ArithmeticError, TypeError, RecursionError) as error:
        msg = f"{expression!r} has no value: {error}"
        raise ValueError(msg) from error
    return value


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(operand))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*map(_value, arguments))
    msg = f"{ast.unparse(node)} is not arithmetic: use numbers, + - * / // % ** and "
    raise ValueError(msg + ", ".join(sorted(_FUNCTIONS)))


def _power(base: float, exponent: float) -> float:
    bits = abs(exponent) * math.log2(max(abs(base), 2))
    if bits > _LARGEST_POWER:
        msg = f"{base} ** {exponent} is too large"
        raise ValueError(msg)
    return base**exponent
