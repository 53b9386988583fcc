"""Values against schemas, also such as a stranger writes."""

import pytest

from clawjax.json_schema import ANY_TYPE, schema_problem, types_of, with_whole_numbers

PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer"}, "name": {"type": ["string", "null"]}},
    "required": ["age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"age": 3}, None),
        ({"age": 3.0, "name": None}, None),
        ({"age": 3.5}, "arguments.age should be of type integer"),
        ({"age": True}, "arguments.age should be of type integer"),
        ({"name": "x"}, "lacks 'age'"),
        ({"age": 1, "x": 1}, "has no 'x'"),
        ([], "should be of type object"),
    ],
)
def test_what_is_wrong_with_a_value_is_named(value, problem):
    found = schema_problem(value, PERSON)
    assert found is None if problem is None else problem in found


@pytest.mark.parametrize(
    "schema",
    [
        None,
        True,
        {},
        {"$ref": "#/elsewhere"},
        {"properties": {"a": True}},
        {"properties": None, "required": None, "enum": None, "items": None, "type": None},
        {"enum": {"a": 1}, "required": "a", "properties": ["a"], "type": 3},
        {"properties": {"a": {"items": True}}},
    ],
)
def test_odd_schemas_refuse_nothing(schema):
    assert schema_problem({"a": [1]}, schema) is None


def test_a_schema_may_forbid():
    assert "arguments.a may not be there" in schema_problem({"a": 1}, {"properties": {"a": False}})
    assert "[0] may not be there" in schema_problem([1], {"items": False})


def test_a_constant_and_a_choice_within_an_array():
    schema = {"properties": {"a": {"items": {"enum": ["y"]}}, "b": {"const": 1}}}
    assert schema_problem({"a": ["y"], "b": 1.0}, schema) is None
    assert "arguments.a[0]='x' is none of" in schema_problem({"a": ["x"]}, schema)
    assert "arguments.b=2 is not 1" in schema_problem({"b": 2}, schema)


def test_whole_numbers_are_the_same_within_objects_and_arrays():
    said = {"a": [1.0, {"b": -2.0}], "c": 0.5, "d": "3.0", "e": True, "f": None}
    whole = with_whole_numbers(said)
    assert whole == said
    assert repr(whole) == "{'a': [1, {'b': -2}], 'c': 0.5, 'd': '3.0', 'e': True, 'f': None}"


DEFINITIONS = {
    "Text": {"type": "string"},
    "Point": {"type": "object", "properties": {"x": {"type": "integer"}}},
    "Loop": {"anyOf": [{"$ref": "#/$defs/Loop"}] * 9 + [{"type": "boolean"}]},
}


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        ({"type": ["string", "null"]}, {"string", "null"}),
        ({"anyOf": [{"$ref": "#/$defs/Text"}, {"type": "null"}]}, {"string", "null"}),
        ({"allOf": [{"$ref": "#/$defs/Point"}], "default": {}}, {"object"}),
        ({"enum": ["a", None]}, {"string", "null"}),
        ({"const": 1}, {"number", "integer"}),
        ({"properties": {}}, {"object"}),
        ({"$ref": "#/$defs/Loop"}, {"boolean"}),
        ({"$ref": "#/elsewhere/Text"}, set()),
        ({"type": "thing"}, set()),
        ({}, ANY_TYPE),
        (True, ANY_TYPE),
        ({"type": 3, "anyOf": "x", "enum": {}}, ANY_TYPE),
    ],
)
def test_types_are_found_behind_references_and_in_alternatives(schema, types):
    assert types_of(schema, {"$defs": DEFINITIONS}) == types
