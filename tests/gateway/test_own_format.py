"""A format of tool calls of one's own: docs/usage.md's example, from its file to the client."""

import json
import re
from pathlib import Path

import pytest

from clawjax.config import GatewayConfig
from clawjax.errors import ConfigError
from clawjax.gateway.enforce import grammar_of
from clawjax.gateway.parse import ReplyParser
from clawjax.rendering.formats.hermes import Hermes
from clawjax.rendering.formats.registry import Formats, named_format
from clawjax.rendering.prompts import prompts_of

from .helpers import user

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "usage.md").read_text()
MODULE, COMMANDS = re.findall(
    r"```(?:python|bash)\n(.*?)```", PAGE.partition("### A call format of your own")[2], re.DOTALL
)[:2]
(NAME,) = re.findall(r"gateway\.tool_parser=(\S+)", COMMANDS)
PARAMETERS = {"type": "object", "properties": {"path": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "ls", "parameters": PARAMETERS}}]
CALL = '<<ls>>{"path": "/"}'


@pytest.fixture
def angles(importable):
    (importable / "angles.py").write_text(MODULE)
    return named_format(NAME)


def read(form, *pieces):
    """Content, calls by name and arguments, and what is wrong."""
    parser = ReplyParser(form, None, tools={"ls": PARAMETERS})
    deltas = [delta for piece in pieces for delta in parser.push(piece)] + parser.flush()
    calls = []
    for delta in deltas:
        if delta.call is not None and delta.call.name is not None:
            calls.append([delta.call.name, ""])
        if delta.call is not None:
            calls[-1][1] += delta.call.arguments
    return "".join(delta.content for delta in deltas), calls, parser.malformed


@pytest.mark.parametrize(
    ("text", "content", "arguments"),
    [
        (CALL, "", ['{"path": "/"}']),
        (f"I look.\n{CALL}\n{CALL}", "I look.", ['{"path": "/"}'] * 2),
        ("1 << 2, and <<rm>>{}", "1 << 2, and <<rm>>{}", []),
        (CALL[:-1], "", ['{"path": "/"}']),
    ],
)
def test_a_reply_is_read_however_it_is_cut(angles, text, content, arguments):
    whole = read(angles, text)
    assert whole == (content, [["ls", each] for each in arguments], None)
    for size in (1, 2, 3, 5):
        assert read(angles, *(text[at : at + size] for at in range(0, len(text), size))) == whole


def test_what_it_writes_and_what_it_holds_replies_to_it_reads(angles):
    arguments = json.dumps({"path": 'a "b"\n<<c>>'})
    assert read(angles, angles.written("ls", arguments))[1] == [["ls", arguments]]
    grammar = grammar_of(
        Formats(angles), {"ls": PARAMETERS}, "required", None, opens_reasoning=False
    )
    assert grammar is not None
    (tag,) = json.loads(grammar.text)["format"]["tags"]
    assert (tag["begin"], tag["end"]) == ("<<ls>>", "")


async def test_a_client_gets_calls_and_the_model_is_told_how_they_are_written(
    angles, make_gateway, tokenizer
):
    gateway = make_gateway([f"I look.\n{CALL}"], config={"tool_parser": NAME})
    choice = (await gateway.say(user("ls"), tools=TOOLS))["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "I look."
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "ls", "arguments": '{"path": "/"}'}
    prompts = prompts_of(tokenizer, GatewayConfig(tool_parser=NAME))
    assert type(prompts.formats.calls) is type(angles)


class Untagged(Hermes):
    tags = "<tool_call>"


class Silent:
    name = "silent"
    tags = ("<<",)
    bare = ""


class Needy(Hermes):
    def __init__(self, tag):
        self.tags = (tag,)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Untagged", "has tags='<tool_call>', name='hermes': give a list"),
        (
            "Silent",
            r"has no method read\(tag, cursor, writer\), has no method form\(tools, is_one\)",
        ),
        ("Needy", r"gateway\.tool_parser\.tag is missing"),
        ("PAGE", "is a str that has no attribute name"),
        ("Anglez", "has no attribute 'Anglez'"),
    ],
)
def test_what_is_no_format_is_refused_with_what_it_lacks(name, says):
    GatewayConfig(tool_parser=f"{__name__}:{name}")
    with pytest.raises(ConfigError, match=says):
        named_format(f"{__name__}:{name}")


def test_names_are_known_as_before():
    assert named_format("auto") is None
    assert isinstance(named_format("hermes"), Hermes)
