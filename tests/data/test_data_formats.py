"""Common files become records, and records become files that say the same."""

import json
import resource
from dataclasses import replace

import pytest

from clawjax.cli import main
from clawjax.data.files import read_rows, write_lines
from clawjax.data.formats import form_of, forms_of, rows_of
from clawjax.data.preferences import Preference, Provenance, Rated, RowError, preferences_of
from clawjax.errors import DataError
from clawjax.records import Message, ToolCall

USER = Message("user", "How far is the moon?")
NEAR, FAR = Message("assistant", "384,400 km."), Message("assistant", "Far.")
PAIR = Preference((USER,), NEAR, FAR, Provenance.AI, user="ann", source="t1", margin=0.5)
CALL = Message("assistant", "", (ToolCall("c1", "look_up", '{"what": "moon"}'),))
TOOLS = '[{"type":"function"}]'


def read(form: dict) -> list:
    return rows_of(json.loads(json.dumps(form)), provenance=Provenance.HUMAN, source="f:1")


def chat(*messages: Message) -> list[dict]:
    return [{"role": message.role, "content": message.content} for message in messages]


def test_chosen_and_rejected_are_read_however_their_prompt_is_written():
    plain = Preference((USER,), NEAR, FAR, Provenance.HUMAN, source="f:1")
    for form in (
        {"prompt": USER.content, "chosen": NEAR.content, "rejected": FAR.content},
        {"prompt": chat(USER), "chosen": chat(NEAR), "rejected": chat(FAR)},
        {"chosen": chat(USER, NEAR), "rejected": chat(USER, FAR)},
        {"prompt": USER.content, "chosen": chat(USER, NEAR), "rejected": chat(USER, FAR)},
    ):
        assert read(form) == [plain]
    scored = {"prompt": "Hi", "chosen": "a", "rejected": "b", "score_chosen": 7}
    assert read(scored | {"score_rejected": 4})[0].margin == 3
    for disagrees in (7, 9):
        with pytest.raises(RowError, match="margin is not above 0"):
            read(scored | {"score_rejected": disagrees})


def test_lines_of_a_table_have_null_where_a_key_does_not_apply(tmp_path):
    keys = ("prompt", "chosen", "rejected", "margin", "completion", "label", "score", "messages")
    keys += ("completions", "instruction", "user", "source", "provenance", "tools")
    forms = [
        {"prompt": "Hi", "chosen": "a", "rejected": "b"},
        {"prompt": "Hi", "completion": "a", "label": False},
        {"messages": chat(USER, NEAR), "source": "s"},
        {"instruction": "Hi", "completions": [{"response": "a", "overall_score": 7}]},
    ]
    write_lines(tmp_path / "own.jsonl", forms)
    forms[-1]["completions"][0] |= {"provenance": None, "source": None, "annotations": None}
    write_lines(tmp_path / "table.jsonl", [dict.fromkeys(keys) | form for form in forms])
    marked = b"\xef\xbb\xbf" + (tmp_path / "table.jsonl").read_bytes()  # as Windows saves it
    (tmp_path / "table.jsonl").write_bytes(marked)
    own, table = (read_rows([tmp_path / f"{name}.jsonl"]) for name in ("own", "table"))
    assert len(table.rows) == 4
    assert [replace(row, source="") for row in table.rows] == [
        replace(row, source="") for row in own.rows
    ]


def test_dialogues_of_hh_rlhf_are_read_turn_by_turn():
    begin = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: How far\nis the moon?\n\nAssistant:"
    (row,) = read({"chosen": f"{begin} 384,400 km.", "rejected": f"{begin} Far."})
    assert [m.role for m in row.prompt] == ["user", "assistant", "user"]
    assert row.prompt[2].content == "How far\nis the moon?"
    assert (row.chosen, row.rejected) == (NEAR, FAR)
    assert read(form_of(row, "hh")) == [row]
    code = replace(row, chosen=Message("assistant", "    return 1\n"))
    assert read(form_of(code, "hh")) == [code]
    spaced = replace(row, rejected=replace(row.chosen, content=f"{row.chosen.content} "))
    assert read(form_of(spaced, "hh")) == [spaced]


@pytest.mark.parametrize("shape", ["trl", "kto", "sft"])
def test_calls_are_as_those_who_read_the_shape_want_them(shape):
    pair = replace(PAIR, chosen=CALL, tools_json=TOOLS, margin=None)
    rated = Rated((USER,), CALL, 1.0, Provenance.LIVE, tools_json=TOOLS)
    form = form_of(pair if shape == "trl" else rated, shape)
    said = form[{"trl": "chosen", "kto": "completion", "sft": "messages"}[shape]][-1]
    arguments = said["tool_calls"][0]["function"]["arguments"]
    assert arguments == (CALL.tool_calls[0].arguments if shape == "sft" else {"what": "moon"})


@pytest.mark.parametrize("arguments", ['{"q":"\\ud83d"}', '{"n":1e999}', "[1]", "not json"])
def test_arguments_that_others_could_not_read_stay_text(arguments):
    call = replace(CALL, tool_calls=(replace(CALL.tool_calls[0], arguments=arguments),))
    form = form_of(Rated((USER,), call, 1.0, Provenance.LIVE, tools_json=TOOLS), "kto")
    assert form["completion"][0]["tool_calls"][0]["function"]["arguments"] == arguments


def test_completions_of_ultrafeedback_become_pairs_of_all_that_differ():
    form = {
        "source": "evol_instruct",
        "instruction": USER.content,
        "completions": [
            {"response": "a", "overall_score": 10.0},
            {"response": "b", "fine-grained_score": 3.0},
            {"response": "c", "annotations": {"x": {"Rating": "1"}, "y": {"Rating": "N/A"}}},
        ],
    }
    rated = read(form)
    assert [(row.reply.content, row.score, row.source) for row in rated] == [
        ("a", 1.0, "evol_instruct"),
        ("b", 0.0, "evol_instruct"),
        ("c", -1.0, "evol_instruct"),
    ]
    pairs = {(p.chosen.content, p.rejected.content): p.margin for p in preferences_of(rated)}
    assert pairs == {("a", "b"): 1.0, ("a", "c"): 2.0, ("b", "c"): 1.0}
    assert read(forms_of(rated, "ultrafeedback")[0]) == [
        replace(row, source="evol_instruct") for row in rated
    ]


def test_rated_replies_to_one_question_stand_in_one_line_whoever_judged_them():
    rows = [
        Rated((USER,), NEAR, 0.5, Provenance.LIVE, user="ann", source="t1"),
        Rated((USER,), FAR, -0.5, Provenance.HUMAN, user="ann", source="t2"),
        Rated((USER,), NEAR, 0.25, Provenance.LIVE, user="bob", source="t3"),
        Rated((USER,), FAR, -1.0, Provenance.LIVE, user="bob", source="t4"),
    ]
    forms = forms_of(rows, "ultrafeedback")
    assert [len(form["completions"]) for form in forms] == [2, 2]
    assert ("provenance" in forms[0], forms[1]["provenance"]) == (False, "live")
    assert [row for form in forms for row in read(form)] == rows


def test_thumbs_and_demonstrations_are_rated_replies():
    (down,) = read({"prompt": chat(USER), "completion": chat(FAR), "label": False})
    assert (down.reply, down.score, down.is_liked) == (FAR, -1.0, False)
    (nobody,) = read({"prompt": "Hi", "completion": "a", "label": 1, "user": None, "tools": ""})
    assert (nobody.user, nobody.tools_json, nobody.score) == ("", None, 1.0)
    (shown,) = read({"messages": chat(USER, NEAR)})
    assert (shown.prompt, shown.reply, shown.score) == ((USER,), NEAR, 1.0)


@pytest.mark.parametrize(
    ("row", "shape"),
    [
        (PAIR, "trl"),
        (replace(PAIR, chosen=CALL, tools_json=TOOLS, margin=None), "trl"),
        (Rated((USER,), NEAR, -0.25, Provenance.LIVE, user="ann", source="t1"), "kto"),
        (Rated((USER, CALL), NEAR, 0.5, Provenance.SYNTHETIC, tools_json=TOOLS), "sft"),
    ],
)
def test_what_is_written_is_read_back(row, shape):
    read_back = replace(row, source=row.source or "f:1")
    assert read(form_of(row, shape)) == [read_back]


def test_a_shape_refuses_what_it_cannot_hold():
    with pytest.raises(DataError, match="use the shape trl"):
        form_of(replace(PAIR, chosen=CALL), "hh")
    with pytest.raises(DataError, match=r"a pair .* is no line of the shape 'kto'"):
        form_of(PAIR, "kto")


def test_a_line_of_no_use_is_counted_and_one_that_is_broken_is_named(tmp_path):
    file = tmp_path / "pairs.jsonl"
    same = {"prompt": "Hi", "chosen": "a", "rejected": "a"}
    parted = {"chosen": chat(USER, NEAR), "rejected": chat(FAR)}
    good = {"prompt": "Hi", "chosen": "a", "rejected": "b"}
    file.write_text("\n".join(map(json.dumps, (same, parted, good, same))))
    found = read_rows([file])
    assert [row.source for row in found.rows] == ["pairs.jsonl:3"]
    assert found.skipped == {
        "both replies are the same": 2,
        "its conversations part before their last reply": 1,
    }
    for line, fault in (
        ("{", "line 1 is no JSON"),
        ('{"chosen": "a"}', "keys chosen are of no known shape"),
        ('{"prompt": "Hi", "chosen": 1, "rejected": "b"}', "a list or a text: 1"),
        ('{"instruction": "Hi", "completions": [{}]}', "lacks or misspells something: .*response"),
        (json.dumps({"prompt": "Hi", "completion": "a", "label": "false"}), "'false' is no thumb"),
        (json.dumps(good | {"tools": "none"}), "lacks or misspells something"),
        (json.dumps(good | {"chosen": "\ud83d"}), "line 1 has half of a surrogate pair"),
        (json.dumps(good | {"provenance": "cat"}), "provenance 'cat' is unknown: use human, ai"),
    ):
        file.write_text(line)
        with pytest.raises(DataError, match=fault):
            read_rows([file])


def test_a_completion_of_no_use_takes_no_other_with_it(tmp_path):
    file = tmp_path / "rated.jsonl"
    replies = [("a", 9), ("", 1), ("b", None), ("c", 1)]
    completions = [{"response": text, "overall_score": score} for text, score in replies]
    hollow = {"instruction": "Ho", "completions": completions[1:2]}
    lines = [{"instruction": "Hi", "completions": completions}, hollow]
    file.write_text("\n".join(map(json.dumps, lines)))
    found = read_rows([file])
    assert [row.reply.content for row in found.rows] == ["a", "c"]
    assert [row.source for row in found.rows] == ["rated.jsonl:1"] * 2
    assert found.skipped == {"a reply is empty": 2, "a completion has no score": 1}


def test_what_is_broken_off_leaves_no_file_that_passes_for_the_whole(tmp_path):
    file = tmp_path / "sft.jsonl"

    def interrupted():
        yield {"n": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lines(file, interrupted())
    assert not file.exists()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DataError, match="cannot be written"):
            write_lines(file, ({"n": n} for n in range(100_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not file.exists()
    write_lines(file, [{"n": 1}])
    with pytest.raises(DataError, match="name a new file"):
        write_lines(file, [{"n": 2}])
    assert file.read_text() == '{"n": 1}\n'


def test_files_become_a_clean_data_set(tmp_path, capsys):
    file, out = tmp_path / "mixed.jsonl", tmp_path / "set"
    lines = [
        {"prompt": f"Question {n}?", "chosen": "Yes.", "rejected": "No.", "user": f"u{n % 20}"}
        for n in range(40)
    ]
    lines += [lines[0] | {"chosen": "YES. "}, {"prompt": "Hi", "completion": "Ho", "label": True}]
    file.write_text("\n".join(map(json.dumps, lines)))
    command = ["import", str(file), "--provenance", "ai", "--held-out", "0.3", "--out", str(out)]
    assert main(command) == 0
    assert "42 rows: 1 repeated, 0 nearly so" in capsys.readouterr().out
    sides = {side: read_rows(sorted(out.glob(f"{side}_*"))).rows for side in ("train", "held_out")}
    assert sum(map(len, sides.values())) == 41
    users = [{row.user for row in rows} for rows in sides.values()]
    assert users[0] & users[1] == set()
    assert {row.provenance for rows in sides.values() for row in rows} == {Provenance.AI}
    assert main(command) == 2
    assert "name a new folder" in capsys.readouterr().err
