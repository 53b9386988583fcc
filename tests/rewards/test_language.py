from pathlib import Path

import pytest

from clawjax.rewards.language import detect_language
from clawjax.rewards.reaction_data import TRAIN_PATH

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The cat sat on the mat and it was not happy with that."),
        ("de", "Das ist nicht die Antwort, die ich mir von dir gewünscht habe."),
        ("fr", "Ce n'est pas la réponse que je voulais, mais elle est dans le texte."),
        ("es", "La respuesta no es muy clara, pero el ejemplo está bien para los niños."),
        ("it", "La risposta non è molto chiara, ma il testo è scritto con cura."),
        ("pt", "A resposta não é muito clara, mas o texto está bem para uma criança."),
        ("nl", "Het antwoord is niet duidelijk, maar de tekst is goed voor een kind."),
        ("ru", "Это не тот ответ, который я хотел, но он и так понятен."),
        ("zh", "这不是我想要的答案。"),
        ("ja", "これは私が欲しかった答えではありません。"),
        ("ko", "이것은 내가 원하던 대답이 아닙니다."),
        ("ar", "هذا ليس الجواب الذي أردته."),
    ],
)
def test_a_sentence_is_enough(language, text):
    assert detect_language(text) == language


@pytest.mark.parametrize("text", ["", "12 + 30 = 42", "Paris", "ok", "Zürich Köln", "👍"])
def test_too_little_to_tell_is_none(text):
    assert detect_language(text) is None


@pytest.mark.parametrize(
    "text",
    ["No, do it as a list.", "No. As a poem.", "As I said, no lists.", "As clear as mud."],
)
def test_english_words_that_other_languages_have_too_are_english_also(text):
    assert detect_language(text) in (None, "en")


def test_no_english_reaction_is_taken_for_another_language():
    files = (TRAIN_PATH, DATA / "reactions_validation.tsv", DATA / "reactions_test.tsv")
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(lines) > 8000
    assert [t for t in lines if detect_language(t.split("\t", 1)[1]) not in (None, "en")] == []
