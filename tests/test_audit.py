"""What is tracked holds no secrets and no pickles, and every dependency is pinned by its hash."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit", ROOT / "scripts" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("audit", None)


def test_the_repository_passes(audit):
    paths = audit.tracked()
    assert len(paths) > 500
    assert list(audit.secrets_in(paths)) == []
    assert list(audit.pickles_in(paths)) == []


def test_every_locked_dependency_has_a_version_and_a_hash(audit):
    assert len(audit.locks()) >= 3
    assert sum(len(audit.requirements(path)) for path in audit.locks()) > 100
    assert list(audit.loose_ends(audit.locks())) == []


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("-----BEGIN RSA PRIVATE " + "KEY-----", "private key"),
        ("key = 'ck-" + "a1B2" * 10 + "xyz'", "clawjax key"),
        ("AWS=AKIA" + "ABCDEFGH12345678", "AWS key"),
        ("hf_" + "abcdefghij" * 4, "Hugging Face token"),
        ("postgresql://me:" + "hunter2@db/x", "password in a URL"),
    ],
)
def test_secrets_are_found_and_not_repeated(audit, tmp_path, line, kind):
    path = tmp_path / "notes.txt"
    path.write_text(f"first\n{line}\n")
    (found,) = audit.secrets_in([path])
    assert f":2: looks like a secret ({kind})" in found
    assert line not in found
    path.write_text(f"{line}  # made-up-secret\n")
    assert list(audit.secrets_in([path])) == []


def fake_pip_audit(folder: Path, code: str) -> list[str]:
    program = folder / "pip_audit_stand_in.py"
    program.write_text(f"import sys, time\n{code}\n")
    return [sys.executable, str(program)]


@pytest.mark.parametrize(
    ("code", "answer", "why"),
    [
        ("print('No known vulnerabilities found', file=sys.stderr)", "", None),
        ("print('jax 0.1 CVE-1 fixed in 0.2'); sys.exit(1)", "jax 0.1 CVE-1 fixed in 0.2", None),
        ("sys.exit('ConnectionError: no route')", None, "does not reach its database"),
        ("time.sleep(60)", None, "no answer within 1 s"),
    ],
)
def test_what_the_database_says_and_that_it_says_nothing_are_told_apart(
    audit, tmp_path, code, answer, why
):
    lock = tmp_path / "x.lock"
    seconds = 1 if "sleep" in code else 60
    found = audit.weaknesses([lock], command=fake_pip_audit(tmp_path, code), seconds=seconds)
    assert found.answers == ({} if answer is None else {lock: answer})
    assert (why is None) == (found.silent == {})
    assert why is None or why in found.silent[lock]


def test_the_audit_says_what_it_did_not_check(audit, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["audit.py", "--online"])
    monkeypatch.setattr(audit, "pip_audit", list)
    assert audit.main() == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "nothing found"
    assert said[1].startswith("checked: secrets and pickles in ")
    assert "known weaknesses" not in said[1]
    assert len(said) - 2 == len(audit.locks())
    assert all(line.startswith("NOT checked: known weaknesses in ") for line in said[2:])
    assert "pipx install pip-audit" in said[2]


def test_pickles_and_loose_requirements_are_found(audit, tmp_path):
    code = tmp_path / "code.py"
    code.write_text("import json\nfrom dill import load\nnp.load(x, allow_pickle=True)\n")
    assert len(list(audit.pickles_in([code]))) == 2
    lock = tmp_path / "x.lock"
    lock.write_text(
        "# a comment\na==1 \\\n    --hash=sha256:00\nb>=1 \\\n    --hash=sha256:00\nc==1\n"
    )
    found = list(audit.loose_ends([lock]))
    assert [line.split(": ")[1].split()[0] for line in found] == ["b>=1", "c==1"]
