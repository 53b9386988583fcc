"""The format is the template's, and what a reply is held to is what its parser reads."""

import json

import numpy as np
import pytest

from clawjax.config import GatewayConfig
from clawjax.config.serving import REASONING_PARSERS, TOOL_PARSERS
from clawjax.engine.constraint import Grammars, masks
from clawjax.errors import ConfigError, WireError
from clawjax.gateway.enforce import grammar_of
from clawjax.gateway.parse import ReplyParser
from clawjax.models.template import CHATML, ChatTemplate
from clawjax.models.tiny import tiny_tokenizer
from clawjax.records import GrammarKind, Message, ToolCall
from clawjax.rendering.formats.mistral import MISTRAL_ARGS
from clawjax.rendering.formats.reasoning import REASONING, reasoning_format
from clawjax.rendering.formats.registry import FORMATS, Formats, call_format, takes_one_call
from clawjax.rendering.untold import as_told, knows_tools

CALLS = "{% for c in m.tool_calls or [] %}"
LOOP = "{% for m in messages %}{{ m.role }}: {{ m.content }}"
TEMPLATES = {
    "hermes": f"{CALLS}\n<tool_call>\n{{{{ c.function | tojson }}}}\n</tool_call>",
    "qwen_xml": f"{CALLS}<tool_call>\n<function={{{{ c.function.name }}}}>\n{{% for k, v in "
    "c.function.arguments|items %}<parameter={{ k }}>\n{{ v }}\n</parameter>{% endfor %}"
    "</function>",
    "llama3_json": f'{CALLS}{{"name": "{{{{ c.function.name }}}}", "parameters": '
    "{{ c.function.arguments | tojson }}}",
    "llama3_pythonic": f"{CALLS}[{{{{ c.function.name }}}}(a=1)]",
    "mistral": "{% if m.tool_calls and m.tool_calls[0].id|length != 9 %}"
    "{{ raise_exception('nine characters') }}{% endif %}"
    f"{CALLS}[TOOL_CALLS] [{{{{ c.function | tojson }}}}]",
    "json": f"{CALLS}{{{{ c.function | tojson }}}}",
}
TOOLS = {
    "ls": {
        "type": "object",
        "properties": {
            "path": {"type": "string", "maxLength": 5},
            "depth": {"type": "integer", "minimum": 0, "maximum": 9},
            "kind": {"enum": ["file", "folder"]},
        },
        "required": ["path", "kind"],
    },
    "now": {},
}
TOKENIZER = tiny_tokenizer()
GRAMMARS = Grammars(TOKENIZER, TOKENIZER.vocab_size)


def renders(source):
    template = ChatTemplate(source)
    return lambda messages, tools_json=None: template.render(messages, tools_json=tools_json)


@pytest.mark.parametrize("name", FORMATS)
def test_a_template_tells_its_format(name):
    render = renders(f"{LOOP}{TEMPLATES[name]}{{% endfor %}}{{% endfor %}}")
    assert call_format("auto", render).name == name
    assert call_format("hermes", render).name == "hermes"


def test_the_configuration_knows_every_format():
    assert set(TOOL_PARSERS) == set(FORMATS)
    assert set(REASONING_PARSERS) == set(REASONING)
    with pytest.raises(ConfigError, match="tool_parser='xml' is unknown: use one of auto, hermes"):
        GatewayConfig(tool_parser="xml")
    with pytest.raises(ConfigError, match="reasoning_parser"):
        GatewayConfig(reasoning_parser="no")


def test_mistral_has_two_forms():
    source = f"{LOOP}{CALLS}[TOOL_CALLS]{{{{ c.function.name }}}}[ARGS]{{}}{{% endfor %}}"
    assert call_format("auto", renders(source + "{% endfor %}")) is MISTRAL_ARGS
    assert call_format("mistral", renders(source + "{% endfor %}")) is MISTRAL_ARGS


def test_a_template_without_calls_gets_hermes():
    assert call_format("auto", renders(CHATML)).name == "hermes"
    assert call_format("auto", renders("{{ raise_exception('no') }}")).name == "hermes"


@pytest.mark.parametrize("name", REASONING)
def test_a_template_tells_how_thoughts_are_written(name):
    begin, end = REASONING[name]
    removing = f"{{% for m in messages %}}{{{{ m.content.split('{end}')[-1] }}}}{{% endfor %}}"
    telling = f"{LOOP}{begin}{{{{ m.reasoning_content }}}}{end}{{% endfor %}}"
    beginning = f"{LOOP}{{% endfor %}}{begin}\n"
    for source in (removing, telling, beginning):
        assert reasoning_format("auto", renders(source)) == REASONING[name]
    assert reasoning_format(name, renders(CHATML)) == REASONING[name]
    assert reasoning_format("auto", renders(CHATML)) is None
    assert reasoning_format("none", renders(removing)) is None
    assert reasoning_format("auto", renders("no message is shown")) is None


def drawn(grammar, seed, *, limit=900):
    """The text of an undecided policy that ends as soon as it may."""
    constraint = GRAMMARS.constraint(grammar)
    rng = np.random.default_rng(seed)
    ids = []
    while len(ids) < limit:
        mask = masks([constraint], TOKENIZER.vocab_size)
        bits = np.unpackbits(mask.view(np.uint8), bitorder="little")[: TOKENIZER.vocab_size]
        allowed = np.flatnonzero(bits)
        assert constraint.trouble is None
        if any(int(token) in TOKENIZER.eos_ids for token in allowed):
            return TOKENIZER.decode(ids)
        ids.append(int(rng.choice(allowed)))
        constraint.take(ids[-1])
    return None


def read(text, form, reasoning=None, *, opens_reasoning=False):
    parser = ReplyParser(form, reasoning, tools=TOOLS, opens_reasoning=opens_reasoning)
    deltas = parser.push(text) + parser.flush()
    calls = [d.call for d in deltas if d.call]
    return "".join(d.content for d in deltas), calls, parser.malformed


def fits(call):
    arguments = json.loads(call.arguments)
    if call.name == "now":
        return isinstance(arguments, dict)
    known = {"path", "kind"} <= set(arguments) <= {"path", "kind", "depth"}
    return known and arguments["kind"] in ("file", "folder") and len(arguments["path"]) <= 5


@pytest.mark.parametrize("form", [*FORMATS.values(), MISTRAL_ARGS], ids=lambda f: f.name)
@pytest.mark.parametrize("choice", ["required", ("function", "ls")])
def test_what_a_required_call_may_look_like_is_read_as_one(form, choice):
    tools = TOOLS if choice == "required" else {"ls": TOOLS["ls"]}
    if form.name == "qwen_xml":  # free text does not come to an end without a policy
        values = {**TOOLS["ls"]["properties"], "path": {"enum": ["a", "b c"]}}
        tools = {**tools, "ls": {**TOOLS["ls"], "properties": values}}
    if choice == "required" and form.name != "qwen_xml":
        tools = {"now": {"type": "object", "properties": {}}, "ls": tools["ls"]}
    grammar = grammar_of(Formats(form), tools, choice, None, opens_reasoning=False)
    assert grammar.kind is GrammarKind.STRUCTURAL_TAG
    for seed in range(6):
        text = drawn(grammar, seed)
        content, calls, malformed = read(text, form)
        assert (content, malformed) == ("", None), text
        assert len(calls) == 1 if choice != "required" else calls
        assert all(fits(call) for call in calls), text


def test_a_template_that_takes_one_call_at_a_time_holds_replies_to_one():
    one = "{% if m.tool_calls and m.tool_calls|length > 1 %}{{ raise_exception('one') }}{% endif %}"
    whole = f"{TEMPLATES['llama3_json']}{{% endfor %}}{{% endfor %}}"
    assert takes_one_call(renders(LOOP + one + whole))
    assert not takes_one_call(renders(LOOP + whole))
    assert not takes_one_call(renders(CHATML))
    formats = Formats(FORMATS["llama3_json"], has_one_call=True)
    grammar = grammar_of(formats, TOOLS, "required", None, opens_reasoning=False)
    assert json.loads(grammar.text)["format"]["stop_after_first"]


@pytest.mark.parametrize("form", [*FORMATS.values(), MISTRAL_ARGS], ids=lambda f: f.name)
def test_one_call_is_enough_where_they_may_not_be_parallel(form):
    tools = {"now": {"type": "object", "properties": {}}}
    many, one = (
        grammar_of(Formats(form), tools, "required", None, opens_reasoning=False, is_parallel=p)
        for p in (True, False)
    )
    assert len(read(drawn(one, 0), form)[1]) == 1
    assert many != one


def test_nothing_is_enforced_where_nothing_is_asked():
    for choice in ("auto", "none"):
        formats = Formats(FORMATS["hermes"])
        assert grammar_of(formats, TOOLS, choice, None, opens_reasoning=False) is None
    assert grammar_of(formats, {}, "required", None, opens_reasoning=False) is None


def test_a_format_of_the_clients_is_a_schema():
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    grammar = grammar_of(Formats(FORMATS["hermes"]), {}, "auto", schema, opens_reasoning=False)
    assert (grammar.kind, json.loads(grammar.text)) == (GrammarKind.JSON_SCHEMA, schema)


def test_with_tools_a_reply_may_be_a_call_instead():
    form = FORMATS["hermes"]
    schema = {"type": "boolean"}
    tools = {"now": {"type": "object", "properties": {}}}
    grammar = grammar_of(Formats(form), tools, "auto", schema, opens_reasoning=False)
    texts = {drawn(grammar, seed) for seed in range(30)}
    assert {"true", "false"} & texts
    assert any(read(text, form)[1] for text in texts)


def test_a_thought_may_come_before():
    think = REASONING["think"]
    formats = Formats(FORMATS["hermes"], think)
    tools = {"ls": TOOLS["ls"]}
    for is_open in (True, False):
        grammar = grammar_of(formats, tools, "required", None, opens_reasoning=is_open)
        constraint = GRAMMARS.constraint(grammar)
        begin = "" if is_open else "<think>"
        call = FORMATS["hermes"].written("ls", '{"path": "/", "kind": "file"}')
        text = f"{begin}\nlist this, <tool_call>?\n</think>\n\n{call}"
        for token in TOKENIZER.encode(text):
            constraint.take(token)
        assert constraint.trouble is None
        content, calls, _ = read(text, formats.calls, think, opens_reasoning=is_open)
        assert (content, len(calls)) == ("", 1)


def test_a_template_that_knows_no_tools_is_told_in_words():
    render = renders(CHATML)
    assert not knows_tools(render)
    assert knows_tools(renders("{{ tools | tojson }}"))
    assert knows_tools(renders("{{ raise_exception('no') }}"))
    tools_json = json.dumps([{"type": "function", "function": {"name": "ls", "parameters": {}}}])
    messages = (
        Message("user", "look"),
        Message("assistant", "Yes.", (ToolCall("c", "ls", '{"path": "/"}'),)),
        Message("tool", "a.txt", tool_call_id="c"),
    )
    text = render(as_told(messages, tools_json, FORMATS["hermes"]))
    assert '"name": "ls"' in text.split("<|im_start|>user")[0]
    assert 'Yes.\n<tool_call>\n{"name": "ls", "arguments": {"path": "/"}}\n</tool_call>' in text
    assert "<|im_start|>user\n<tool_response>\na.txt\n</tool_response><|im_end|>" in text
    system = Message("system", "Be brief.")
    first = as_told((system, *messages), tools_json, FORMATS["hermes"])[0].content
    assert first.startswith("Be brief.\n\nYou can call")
    silent = as_told((Message("system", ""), *messages), tools_json, FORMATS["hermes"])
    assert silent == as_told(messages, tools_json, FORMATS["hermes"]), "one system message"


def test_a_schema_that_cannot_be_used_is_refused():
    formats = Formats(FORMATS["hermes"])
    grammar = grammar_of(formats, {}, "auto", {"type": "nothing"}, opens_reasoning=False)
    with pytest.raises(WireError, match="grammar"):
        GRAMMARS.constraint(grammar)
