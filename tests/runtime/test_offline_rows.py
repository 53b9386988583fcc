"""Which rows of the files that are named are learnt from, and which are measured on."""

import json
from pathlib import Path

import pytest

from clawjax.config import OfflineConfig, RunConfig
from clawjax.errors import DataError
from clawjax.runtime.offline_rows import load_rows


def written(file: Path, *prompts: str) -> str:
    lines = [{"prompt": prompt, "chosen": "Yes.", "rejected": "No."} for prompt in prompts]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(file)


def configured(files: list[str], held_out_files: list[str]) -> RunConfig:
    return RunConfig(offline=OfflineConfig(files=files, held_out_files=held_out_files))


def asked(rows) -> list[str]:
    return [row.prompt[-1].content for row in rows]


def test_rows_whose_prompt_is_held_out_are_named_and_not_learnt_from(tmp_path, capsys):
    ours = written(tmp_path / "pairs.jsonl", "One?", "Two?", "Three?", "Four?")
    theirs = written(tmp_path / "test.jsonl", "Nine?", "three?", "Two? ")
    rows = load_rows(configured([ours], [theirs]))
    assert asked(rows.train) == ["One?", "Four?"]
    assert asked(rows.held_out) == ["Nine?", "three?", "Two? "], "measured as in other runs"
    assert rows.held_out_too == 2
    told = capsys.readouterr().out
    assert "2 of 4 rows of offline.files have prompts that are in offline.held_out_files" in told
    assert "(pairs.jsonl:2, pairs.jsonl:3): they are not learnt from" in told


def test_files_that_have_nothing_in_common_are_used_whole_without_a_word(tmp_path, capsys):
    ours = written(tmp_path / "pairs.jsonl", "One?", "Two?")
    rows = load_rows(configured([ours], [written(tmp_path / "test.jsonl", "Nine?")]))
    assert (asked(rows.train), rows.held_out_too) == (["One?", "Two?"], 0)
    assert "held_out_files" not in capsys.readouterr().out


def test_what_is_measured_on_its_own_training_rows_is_refused(tmp_path):
    ours = written(tmp_path / "pairs.jsonl", *(f"{number}?" for number in range(9)))
    with pytest.raises(DataError, match=r"9 of 9 rows .*pairs\.jsonl:5, \.\.\.\): measure"):
        load_rows(configured([ours], [ours]))
