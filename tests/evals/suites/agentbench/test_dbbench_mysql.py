"""MySQL's manners on sqlite, and the published hashes of the development set."""

import hashlib
import json
from pathlib import Path

import pytest

from clawjax.evals.suites.agentbench.dbbench.dataset import read_entries, tables_of
from clawjax.evals.suites.agentbench.dbbench.mysql import MySQL, table_hash
from clawjax.evals.suites.agentbench.dbbench.rules import CHANGES, is_right, same_hash

DEV = Path(__file__).parents[3] / "data" / "agentbench" / "dbbench_dev.jsonl"
ENTRIES = read_entries(DEV)[0]


@pytest.fixture
def database():
    made = MySQL(
        [
            {
                "table_name": "5k results",
                "table_info": {
                    "columns": [{"name": "Name"}, {"name": "No"}],
                    "rows": [["Zoë", "10"], ["zoe", "9"], [None, "1,000"]],
                },
            }
        ]
    )
    yield made
    made.close()


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELECT `Name` FROM `5k results` WHERE No > 9", "[('Zoë',)]"),
        ("SELECT No FROM `5k results` WHERE No = 9.0", "[('9',)]"),
        ("SELECT No FROM `5k results` WHERE No IN (9, 10)", "[('10',), ('9',)]"),
        ("SELECT No FROM `5k results` WHERE No BETWEEN 8 AND 9", "[('9',)]"),
        ("SELECT COUNT(*) FROM `5k results` WHERE Name = 'ZOE'", "[(2,)]"),
        ("SELECT COUNT(*) FROM `5k results`.`5k results` WHERE `Name` LIKE 'ZO_'", "[(2,)]"),
        ("SELECT DISTINCT Name FROM `5k results`", "[('Zoë',), (None,)]"),
        ("SELECT 'it\\'s', \"x\"", '[("it\'s", \'x\')]'),
        ("SELECT CONCAT(Name, '-', No) FROM `5k results` WHERE Name IS NULL", "[(None,)]"),
        ("SHOW TABLES", "[('5k results',)]"),
        ("USE `5k results`", "[]"),
        ("INSERT INTO `5k results` VALUES ('a', 5)", "[]"),
        ("UPDATE `5k results` SET No = 2 WHERE Name = 'zoe'", "[]"),
    ],
)  # fmt: skip
def test_statements_give_what_mysql_gives(database, statement, told):
    assert database.execute(statement) == told


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELEC 1", "1064 (42000)"),
        ("SELECT 1; SELECT 2", "1064 (42000)"),
        ("SELECT nope FROM `5k results`", "1054 (42S22)"),
        ("SELECT * FROM nope", "1146 (42S02): Table '5k results.nope' doesn't exist"),
        ("INSERT INTO `5k results` VALUES (1)", "1136 (21S01)"),
        ("USE other", "1049 (42000)"),
        ("ATTACH DATABASE '/tmp/x' AS y", "1064 (42000)"),
        ("VACUUM INTO '/tmp/clawjax-vacuum'", "1064 (42000)"),
        ("PRAGMA table_info(x)", "1064 (42000)"),
        ("SELECT load_extension('x')", "1105 (HY000)"),
        ("", "1065 (42000)"),
    ],
)
def test_what_mysql_refuses_is_told_in_its_words(database, statement, code):
    assert database.execute(statement).startswith(code)
    assert not Path("/tmp/clawjax-vacuum").exists()


def test_double_quotes_never_name_a_column(database):
    assert database.execute('SELECT "Name" FROM `5k results` LIMIT 1') == "[('Name',)]"


def test_long_results_are_cut_at_800_characters(database):
    told = database.execute(f"SELECT '{'x' * 900}'")
    assert len(told) == 811
    assert told.endswith("x[TRUNCATED]")


def test_a_hash_ignores_the_order_of_rows_and_stops_at_1024_bytes():
    rows = [[str(n), None, "x"] for n in range(300)]
    assert table_hash(rows) == table_hash(rows[::-1])
    hashes = sorted(hashlib.md5(f"{n},x".encode()).hexdigest()[:5] for n in range(300))
    assert table_hash(rows) == hashlib.md5(",".join(hashes)[:1024].encode()).hexdigest()
    assert table_hash([["a", None]]) == table_hash([["a"]])
    assert table_hash([["a", ""]]) != table_hash([["a"]])


@pytest.mark.parametrize("number", range(len(ENTRIES)))
def test_the_development_set_is_reproduced(number):
    entry = ENTRIES[number]
    kind, label = entry["type"][0], entry["label"]
    if kind not in CHANGES:
        assert is_right(json.dumps(label), label, "paper")
        assert is_right(json.dumps(label), label, "fc")
        return
    database = MySQL(tables_of(entry))
    assert not same_hash(database.fingerprint(), entry["answer_md5"])
    database.execute(label[0])
    assert same_hash(database.fingerprint(), entry["answer_md5"])
    database.close()
