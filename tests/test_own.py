"""What users bring is found, or what is wrong with it is said with the setting and the fix."""

import importlib
import re
import sys

import pytest

from clawjax.config.own import OwnConfig, read_own
from clawjax.errors import ConfigError
from clawjax.models.tiny import tiny_tokenizer
from clawjax.own import check_call, find, lacking, made, nothing_imported
from clawjax.protocols import Engine, Monitor, Reward, TurnLog
from clawjax.rendering.formats.base import CallFormat
from clawjax.rendering.formats.registry import FORMATS
from clawjax.testing import FakeEngine, FakeReward, RecordingMonitor, temporary_log

MODULE = """
class Polite:
    class Inner:
        pass

def mine(config, words, *, score=1.0, **more): ...
"""


@pytest.fixture
def folder(importable):
    """Where modules can be imported from."""
    (importable / "own_judges.py").write_text(MODULE)
    importlib.invalidate_caches()
    return importable


def test_names_may_have_dots(folder):
    assert find("own_judges:Polite.Inner", "x").__qualname__ == "Polite.Inner"
    assert find("json.decoder:JSONDecoder", "x").__module__ == "json.decoder"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("judges", "reward.x='judges' is no import path: write package.module:name"),
        (":Polite", "is no import path"),
        ("own_judges:", "is no import path"),
        ("no_such_x:A", "No module named 'no_such_x'; put its folder on PYTHONPATH"),
        ("no_such_x.y:A", "No module named 'no_such_x'; put its folder on PYTHONPATH"),
        ("own_judges:polite", "has no attribute 'polite'; did you mean Polite?"),
        ("own_judges:zzz", "has no attribute 'zzz'; use one of Polite, mine"),
        ("own_judges:Polite.Outer", "has no attribute 'Outer'"),
    ],
)
def test_what_is_not_there_is_named_with_the_setting(folder, path, says):
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        find(path, "reward.x")
    assert "reward.x=" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import no_such_y", "No module named 'no_such_y'"),
        ("1 / 0", "own_broken raised ZeroDivisionError: division by zero"),
        ("def", "own_broken raised SyntaxError"),
    ],
)
def test_a_module_that_does_not_import_says_why_and_not_that_it_is_missing(folder, code, says):
    (folder / "own_broken.py").write_text(code)
    with pytest.raises(ConfigError, match=f"x=own_broken:A cannot be imported: {says}") as caught:
        find("own_broken:A", "x")
    assert "PYTHONPATH" not in str(caught.value)


def plain(config, *, words=(), score=1.0): ...
def needy(config, *, words): ...
def needless(): ...
def anything(*given, **options): ...
def only_config(config): ...


@pytest.mark.parametrize(
    ("function", "options", "says"),
    [
        (
            plain,
            {"wrds": 1},
            "own.options.wrds is unknown: m:f has no such option; did you mean",
        ),
        (plain, {"zzz": 1}, "own.options.zzz is unknown: m:f has no such option; use one of words"),
        (plain, {"config": 1}, "own.options.config is unknown"),
        (only_config, {"a": 1}, "own.options.a is unknown: m:f has no such option; leave it out"),
        (needy, {}, "own.options.words is missing: m:f needs it; set it"),
        (needless, {}, "own.path=m:f takes 0 positional arguments, but is called as f(config)"),
        (3, {}, "own.path=m:f is a int: name a function or class f(config)"),
    ],
)
def test_a_call_that_cannot_be_made_says_which_option(function, options, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        check_call(function, "m:f", ["config"], options, setting="own.path", key="own.options")


@pytest.mark.parametrize(
    ("function", "options"), [(plain, {"words": [1]}), (needy, {"words": 1}), (anything, {"a": 1})]
)
def test_a_call_that_can_be_made_is_let_through(function, options):
    check_call(function, "m:f", ["config"], options, setting="own.path", key="own.options")


def test_what_a_maker_raises_is_told_with_the_options(folder):
    (folder / "own_maker.py").write_text("def build(config, *, n): raise ValueError('n is odd')")
    says = r"own\.path=own_maker:build: the call with own\.o=\{'n': 3\} raised ValueError: n is odd"
    with pytest.raises(ConfigError, match=says):
        made("own_maker:build", {"config": 1}, {"n": 3}, setting="own.path", key="own.o")


def test_whoever_has_all_of_a_protocol_lacks_nothing(tmp_path):
    log = temporary_log(tmp_path)
    reward = FakeReward(lambda _: 1.0)
    assert lacking(reward, Reward) == []
    assert lacking(FakeEngine(tiny_tokenizer(), ["hi"]), Engine) == []
    assert lacking(RecordingMonitor(), Monitor) == []
    assert lacking(log, TurnLog) == []
    log.close()
    assert [lacking(form, CallFormat) for form in FORMATS.values()] == [[]] * len(FORMATS)


def test_what_is_lacking_is_told_with_its_arguments():
    assert lacking(None, Reward) == [
        "has no attribute name",
        "has no method applies(turn, next_state)",
        "has no async method judge(turn, next_state)",
        "has no async method aclose()",
    ]
    assert lacking(FakeReward, Reward) == lacking(None, Reward), "a class is no instance"


def test_what_is_written_of_ones_own_has_a_path_and_known_keys():
    own = read_own({"path": "m:f", "options": {"a": 1, "b": "x"}}, "k")
    assert own == OwnConfig("m:f", {"a": 1, "b": "x"}) == read_own(own, "k")
    assert str(own) == "m:f(a=1, b='x')"
    assert str(OwnConfig("m:f")) == "m:f"
    for written, says in (
        ({"pth": "m:f"}, "k.pth is unknown: did you mean path?"),
        ({}, "k.path='' is no import path"),
        ({"path": None}, "k.path=None is no import path"),
        (3, "k is 3: give keys and values"),
        (
            {"path": "m:f", "options": {"a": {"api_key": "s3"}}},
            "k.options.a.api_key would",
        ),
    ):
        with pytest.raises(ConfigError, match=re.escape(says)) as caught:
            read_own(written, "k")
        assert "s3" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"password": 12345},
        {"hf_token": "s3"},
        {"api_keys": ["s3"]},
        {"accessToken": "s3"},
        {"credentials": {"user": "s3"}},
        {"headers": {"Authorization": "Bearer s3"}},
        {"judges": [{"key": "s3"}]},
    ],
)
def test_options_that_are_called_like_secrets_are_refused(options):
    with pytest.raises(ConfigError, match="would be saved with the run") as caught:
        read_own({"path": "m:f", "options": options}, "k")
    assert "s3" not in str(caught.value)
    assert "12345" not in str(caught.value)


def test_options_that_are_no_secrets_are_taken():
    options = {
        "api_key_env": "MY_KEY",
        "pad_token": "<pad>",
        "max_tokens": 5,
        "key": 3,
        "token": None,
        "password": "",
        "secret": False,
        "keys": ["a"],
    }
    assert read_own({"path": "m:f", "options": options}, "k").options == options


def test_what_is_somebody_elses_is_not_imported(folder):
    with nothing_imported("say so by --suite x"), pytest.raises(ConfigError) as caught:
        find("own_judges:Polite", "style.own.polite")
    assert str(caught.value) == (
        "style.own.polite='own_judges:Polite' is not imported: say so by --suite x"
    )
    assert "own_judges" not in sys.modules
    find("own_judges:Polite", "style.own.polite")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({1: "a"}, "x.options has an option 1: its name has to be a text"),
        ({"words": [], "config": 2}, "x.options.config is unknown"),
    ],
)
def test_a_name_that_no_option_can_have_is_refused_at_once(folder, options, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        made("own_judges:mine", {"config": 0}, options, setting="x.path", key="x.options")


def test_a_program_that_ends_when_it_is_imported_is_no_silent_success(folder):
    (folder / "own_program.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(ConfigError, match="own_program raised SystemExit: 0"):
        find("own_program:main", "reward.x")
