"""Which language a text is in, by script and stop words: enough to notice the wrong one.

Pure functions over small tables; unsure is None, never a guess.
"""

from __future__ import annotations

import unicodedata
from collections import Counter

from clawjax.prose import WORD

__all__ = ["LANGUAGES", "detect_language"]

_STOP_WORDS: dict[str, frozenset[str]] = {
    code: frozenset(words.split())
    for code, words in {
        "en": "the and is are was were of to in that it for you with this not have be on your "
        "what how do does can could would please i a an my me but or too so if there just we "
        "they will about from no as",
        "de": "der die das und ist sind war nicht ein eine einen zu den dem mit auf für von ich "
        "sie es wie was bitte aber auch wird kann noch zum zur im des wir oder sehr mir",
        "fr": "le la les et est sont un une des du de que qui dans pour pas je vous il elle ce "
        "cette avec sur au aux mais ne plus se en comme trop très c'est",
        "es": "el la los las y es son un una de que en por para no con se lo su al del como más "
        "pero muy este esta qué yo usted está",
        "it": "il lo la gli le e è sono un una di che in per non con si al della del come più ma "
        "questo questa molto anche troppo ho",
        "pt": "o a os as e é são um uma de que em por para não com se ao da do como mais mas "
        "muito este esta isso você está na no",
        "nl": "de het een en is zijn was niet van te in dat die op voor met ik je u maar ook wordt "
        "kan nog naar aan er hoe wat dit",
        "pl": "i w na z że się nie jest to do jak co ale dla po przez był są czy tak",
        "sv": "och är att det som en ett på för med inte av till den jag du men om var har kan",
        "tr": "ve bir bu için ile de da ne çok ama gibi daha var değil mi olarak",
        "ru": "и в не на что я он с как это по но они мы вы за то так же от для",  # noqa: RUF001
        "uk": "і в не на що я він з як це по але вони ми ви за то так та від для є",  # noqa: RUF001
    }.items()
}
_SCRIPTS = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CJK": "zh",
    "ARABIC": "ar",
    "HEBREW": "he",
    "GREEK": "el",
    "DEVANAGARI": "hi",
    "THAI": "th",
}
_BY_STOP_WORDS: dict[str, tuple[str, ...]] = {
    "LATIN": ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "tr"),
    "CYRILLIC": ("ru", "uk"),
}
LANGUAGES = frozenset(_STOP_WORDS) | frozenset(_SCRIPTS.values())
"""ISO 639-1 codes that can be told apart."""

_MAX_CHARS = 4000


def detect_language(text: str) -> str | None:
    """The language most of the text is in, or None where there is too little to tell.

    Scripts decide where one script means one language; Latin and Cyrillic text is told apart by
    stop words, the winner needing at least two and clearly more than the runner-up.
    """
    text = text[:_MAX_CHARS]
    scripts = Counter(_script(char) for char in text if char.isalpha())
    if not scripts:
        return None
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > 0.1 * scripts.total():
        return "ja"
    script, _ = scripts.most_common(1)[0]
    if script in _BY_STOP_WORDS:
        return _by_stop_words(text, _BY_STOP_WORDS[script])
    return _SCRIPTS.get(script)


def _script(char: str) -> str:
    """The first word of the character's Unicode name, e.g. `LATIN`."""
    return unicodedata.name(char, "UNKNOWN").split(" ", 1)[0].split("-", 1)[0]


def _by_stop_words(text: str, candidates: tuple[str, ...]) -> str | None:
    words = WORD.findall(text.lower())
    hits = sorted(
        ((sum(word in _STOP_WORDS[code] for word in words), code) for code in candidates),
        reverse=True,
    )
    (best, code), (second, _) = hits[0], hits[1]
    return code if best >= 2 and best >= 1.3 * second else None
