"""How a reply speaks: formally, to the reader, without excuses. Pure predicates of text."""

from __future__ import annotations

import re

from clawjax.envs.style.text import plain_quotes, quotations, sentences

__all__ = [
    "addresses_reader",
    "apologises",
    "has_stiff_words",
    "has_stock_phrases",
    "is_informal",
    "says_it_is_ai",
    "speaks_of_itself",
]

_CONTRACTION = re.compile(
    r"n't\b|\w'(?:re|ve|ll|d|m)\b|\by'all\b|(?<!\w)'(?:em|cause|til)\b"
    r"|\b(?:he|she|it|that|this|there|here|what|who|where|when|how|why|let|one|everyone|everything"
    r"|nothing|something|somebody|someone|nobody|everybody|all)'s\b"
    r"|\b(?:dont|cant|isnt|arent|doesnt|didnt|im|ive|youre|thats|gonna|wanna|gotta|kinda|sorta"
    r"|lemme|gimme|dunno|ain't)\b",
    re.I,
)
_SLANG = re.compile(
    r"\b(?:hey|hi|hiya|yeah|yep|yup|nope|nah|ok|okay|awesome|dude|guys|buddy|pal|folks|stuff|lol"
    r"|omg|btw|thx|pls|asap|fyi|wow|yay|whoa|cheers|totally|super|bummer|yikes|oops|cuz|coz|xoxo"
    r"|chill|bro|sis|tons of|a ton of|a bunch of|loads of|no worries|hang out|heads-up|heads up"
    r"|what's up|can't wait|so cool|cool|thanks|bye|mom|dad|kids)\b|\b(?:u|ur|r u)\b",
    re.I,
)
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b50\u2b55\u2764\ufe0f]|(?<!\\w)[:;=]-?[)(DPp](?!\\w)|<3"
)
_SECOND_PERSON = re.compile(r"\byou(?:r|rs|rself|rselves)?\b", re.I)
_FIRST_PERSON = re.compile(
    r"(?<!\bWar )(?<!\bType )(?<!\bPart )\bI\b(?!\.\w)"
    r"|\b(?:[Mm]e|[Mm]y|[Mm]yself|[Ww]e|us|[Oo]ur|[Oo]urs|[Oo]urselves|[Ll]et's)\b"
)
_ADDRESSED_SHARE = 0.5
_APOLOGY = re.compile(
    r"\b(?:sorry|apolog\w+|forgive (?:me|us)|pardon|excuse me|my bad|my mistake|my fault"
    r"|regrettabl[ey]|(?:I|we) (?:deeply |truly |sincerely )?regret|oops"
    r"|(?:I'm|I am|we're|we are) afraid)\b",
    re.I,
)
_AI_TALK = re.compile(
    r"\b(?-i:AI|A\.I\.|LLM|AIs|LLMs|SmolLM\w*)(?!\w)"
    r"|\b(?:(?:large )?language models?|artificial intelligence|chat ?bots?"
    r"|(?:virtual|digital|automated|ai-powered|computer) assistants?"
    r"|(?:I am|I'm) (?:\w+ ){0,3}(?:program|machine|bot|robot|model|assistant|algorithm|software)"
    r"|my (?:\w+ )?(?:training|programming|developers?|creators?|algorithms?|knowledge cutoff)"
    r"|(?:I was|I am|I've been|I'm|been) (?:trained|programmed|designed|developed) (?:on|by|to|for)"
    r"|training data|hugging face"
    r"|(?:don't|do not|cannot|can't) (?:actually |really )?(?:have|possess|experience|feel) "
    r"(?:\w+ ){0,3}(?:feelings|emotions|consciousness|opinions|experiences|body|senses))\b",
    re.I,
)
_STOCK_OPENING = re.compile(
    r"\W*(?:sure|certainly|of course|absolutely|definitely"
    r"|(?:that's |that is |what )?an? ?(?:great|good|excellent|interesting|fantastic) question"
    r"|(?:great|good|excellent|interesting|fantastic) question"
    r"|(?:I'd|I would|I'll|I will|I am|I'm) (?:be )?(?:happy|glad|delighted) to|happy to help"
    r"|let's (?:dive|break|explore|go through|solve|take a)"
    r"|to (?:solve|answer|find|calculate) (?:this|the)"
    r"|here(?:'s| is| are) (?:a|an|the|some|your|my)\b)",
    re.I,
)
_STOCK_PHRASE = re.compile(
    r"\b(?:in conclusion|in summary|to summari[sz]e|to sum up|to conclude"
    r"|it(?:'s| is) (?:important|worth|essential|crucial|vital) (?:to|noting|that)"
    r"|hopes? this helps|feel free to|let me know if|step[- ]by[- ]step|dive in(?:to)?|final answer"
    r"|follow these steps|as an ai|vital role|key role|crucial role|significant role)\b"
    r"|(?:^|[.!?]\s+)overall,",
    re.I | re.M,
)
_STIFF_WORD = re.compile(
    r"\b(?:furthermore|moreover|additionally|consequently|thus|hence|thereby|wherein|whereby"
    r"|utili[sz]\w+|facilitat\w+|comprehensive\w*|crucial\w*|pivotal|paramount|multifaceted"
    r"|plethora|myriad|tapestry|delv\w+|underscor\w+|leverag\w+|realms?|intrica\w+|testament"
    r"|foster\w*|endeavou?r\w*|commenc\w+|subsequent\w*|whilst|aforementioned|holistic"
    r"|seamless\w*|nuance\w*|encompass\w*|notabl[ey]|profound\w*|significan\w+|fundamental\w*"
    r"|enhanc\w+|optimal\w*|various)\b",
    re.I,
)


def is_informal(text: str) -> bool:
    """Contractions, slang, exclamation marks or emoji."""
    plain = plain_quotes(text)
    patterns = (_CONTRACTION, _SLANG, _EMOJI)
    return "!" in plain or any(pattern.search(plain) for pattern in patterns)


def addresses_reader(text: str) -> bool:
    """At least half of the sentences say "you" or "your"."""
    said = sentences(text)
    addressed = sum(bool(_SECOND_PERSON.search(sentence)) for sentence in said)
    return bool(said) and addressed >= _ADDRESSED_SHARE * len(said)


def speaks_of_itself(text: str) -> bool:
    """Says "I" or "we", quotations aside."""
    plain = plain_quotes(text)
    for quotation in quotations(plain):
        plain = plain.replace(quotation, "")
    return bool(_FIRST_PERSON.search(plain))


def apologises(text: str) -> bool:
    """Says sorry, for whatever reason."""
    return bool(_APOLOGY.search(plain_quotes(text)))


def says_it_is_ai(text: str) -> bool:
    """Speaks of being an AI, a language model or a program, or of lacking feelings as one."""
    return bool(_AI_TALK.search(plain_quotes(text)))


def has_stock_phrases(text: str) -> bool:
    """Opens with "Sure!" or "Great question", sums up "in conclusion", or the like."""
    plain = plain_quotes(text).strip()
    return bool(_STOCK_OPENING.match(plain) or _STOCK_PHRASE.search(plain))


def has_stiff_words(text: str) -> bool:
    """Words that people write in reports and nobody says."""
    return bool(_STIFF_WORD.search(text))
