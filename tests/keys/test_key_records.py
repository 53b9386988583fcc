"""Keys: made, kept, found, revoked; nothing that could open anything is kept or shown."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from clawjax.cli import main
from clawjax.errors import ConfigError
from clawjax.keys import ALL_ROLES, KEY_FILE, KeyFile, KeyRing, Role, digest_of, new_key

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path) -> KeyFile:
    return KeyFile(tmp_path / KEY_FILE)


def test_a_key_is_found_by_its_secret_and_no_other(file):
    made = new_key("phone", [Role.CHAT], now=1.0)
    file.add(made.key)
    ring = KeyRing(file, secret="of the environment")
    assert ring.find(made.secret.encode()) == made.key
    assert ring.find(b"of the environment").roles == ALL_ROLES
    wrong = [made.key.digest, made.key.key_id, made.secret[:-1], made.secret + "x", ""]
    assert [ring.find(text.encode()) for text in wrong] == [None] * len(wrong)


def test_secrets_are_256_random_bits_and_only_their_digests_are_kept(file):
    made = [new_key(f"key {n}", [Role.CHAT], now=1.0) for n in range(3)]
    for one in made:
        file.add(one.key)
        assert len(one.secret) == len("ck-") + 43
        assert one.key.digest == digest_of(one.secret.encode())
    content = file.path.read_text()
    assert len({one.secret for one in made}) == 3
    assert not any(one.secret in content or one.secret[3:] in content for one in made)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_a_ring_sees_keys_come_and_go(file):
    ring = KeyRing(file)
    assert not ring.is_required
    made = new_key("phone", [Role.CHAT], now=1.0)
    file.add(made.key)
    assert ring.is_required
    assert ring.find(made.secret.encode()) is not None
    file.revoke("phone", now=2.0)
    assert ring.find(made.secret.encode()) is None
    assert (ring.is_required, ring.is_empty) == (True, True)


@pytest.mark.parametrize("content", [None, "", "{", '{"format": 9, "keys": []}', "[]"])
def test_a_file_that_vanishes_or_is_damaged_opens_nothing(file, content, caplog):
    made = new_key("phone", [Role.CHAT], now=1.0)
    file.add(made.key)
    ring = KeyRing(file, secret="of the environment")
    kept = file.path.read_bytes()
    if content is None:
        file.path.unlink()
    else:
        file.path.write_text(content)
    for _ in range(2):
        assert ring.find(made.secret.encode()) is None
        assert ring.find(b"anything") is None
        assert ring.find(b"of the environment") is not None
    assert ring.is_required
    if content is not None:
        assert caplog.text.count("no key of the file is good until it can be read") == 1
        with pytest.raises(ConfigError, match="not readable as a file of keys"):
            KeyRing(file)
    file.path.write_bytes(kept)
    assert ring.find(made.secret.encode()) == made.key


class Stumbles(KeyFile):
    """A file that cannot be read, or not even looked at, some times."""

    reads = looks = 0

    def stamp(self):
        self.looks -= 1
        if self.looks >= 0:
            raise PermissionError(13, "permission denied")
        return super().stamp()

    def read(self):
        self.reads -= 1
        if self.reads >= 0:
            msg = "too many open files"
            raise ConfigError(msg)
        return super().read()


def test_a_key_that_is_revoked_while_the_file_cannot_be_read_is_refused(file):
    file = Stumbles(file.path)
    lost, phone = (new_key(name, [Role.CHAT], now=1.0) for name in ("lost", "phone"))
    file.add(lost.key)
    file.add(phone.key)
    ring = KeyRing(file)
    KeyFile(file.path).revoke("lost", now=2.0)
    file.reads = 1
    assert ring.find(lost.secret.encode()) is None, "while nobody can tell"
    assert ring.find(lost.secret.encode()) is None, "and for good"
    assert ring.find(phone.secret.encode()) == phone.key
    file.looks = 1
    assert ring.find(phone.secret.encode()) is None
    assert ring.find(phone.secret.encode()) == phone.key


def test_keys_nobody_can_read_are_required(file):
    file = Stumbles(file.path)
    ring = KeyRing(file)
    file.looks = 1
    assert ring.is_required
    assert not ring.is_required, "there is no file after all"
    file.path.write_text("{")
    assert ring.is_required


def test_neither_secret_nor_digest_is_in_what_is_printed(file):
    made = new_key("phone", [Role.CHAT], now=1.0)
    file.add(made.key)
    ring = KeyRing(file, secret="of the environment")
    shown = repr(ring) + repr(made.key) + str(file.read())
    for secret in (made.secret, made.key.digest, "of the environment"):
        assert secret not in shown


@pytest.mark.parametrize(
    ("name", "roles", "said"),
    [("phone", [], "has no role"), ("", [Role.CHAT], "1 to 80"), ("a\nb", [Role.CHAT], "1 to 80")],
)
def test_what_makes_no_key(name, roles, said):
    with pytest.raises(ConfigError, match=said):
        new_key(name, roles, now=1.0)


def test_processes_that_make_keys_at_once_lose_none(file):
    command = [sys.executable, "-m", "clawjax", "keys", "create", str(file.path.parent), "--name"]
    workers = [
        subprocess.Popen([*command, f"key {n}"], stdout=subprocess.DEVNULL, cwd=ROOT)
        for n in range(3)
    ]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0]
    assert {key.name for key in file.read()} == {f"key {n}" for n in range(3)}


def test_the_command_makes_lists_and_revokes(tmp_path, capsys):
    run = str(tmp_path / "run")
    words = ["keys", "create", run, "--name", "phone", "--role", "chat", "--no-log"]
    assert main(words) == 0
    made = capsys.readouterr()
    secret = made.out.strip()
    assert secret not in made.err
    assert main(["keys", "list", run]) == 0
    listed = capsys.readouterr().out
    assert "phone" in listed
    assert "not logged" in listed
    assert secret not in listed
    assert main(["keys", "create", run, "--name", "phone"]) == 2
    assert "revoke it first" in capsys.readouterr().err
    assert main(["keys", "revoke", run, "phone"]) == 0
    assert main(["keys", "revoke", run, "phone"]) == 2
    assert "no live key" in capsys.readouterr().err
    assert main(["keys", "create", run, "--name", "phone"]) == 0
    content = json.loads((tmp_path / "run" / KEY_FILE).read_text())
    assert [key["revoked_at"] is None for key in content["keys"]] == [False, True]
    assert content["keys"][1]["roles"] == ["chat", "feedback"]
