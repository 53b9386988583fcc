"""Conversations of several keys at one endpoint: they talk, repeat, rate, review, join and forget.

Owns the model of what the log must hold of it. Invariants: a turn for each reply that was given
and not forgotten, and none that goes on from another key's. Hypothesis reduces whatever breaks a
rule to the shortest such conversation.
"""

from __future__ import annotations

from typing import Any

import httpx
from _fuzz import Target
from _fuzz_cases import CHAT, KEYS, encoded
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

__all__ = ["conversations"]

_REVIEWERS = ("owner", "other", "guest")
_PICK = st.integers(0, 50)
_WHO = st.sampled_from(KEYS)


class _Said:
    """A reply that somebody got."""

    def __init__(self, who: str, history: list[dict[str, Any]], answer: httpx.Response) -> None:
        body = answer.json()
        self.who = who
        self.session_id = answer.headers["x-session-id"]
        self.response_id = body["id"]
        self.history = [*history, body["choices"][0]["message"]]


class _Keys(RuleBasedStateMachine):
    """What they do, and how much the log must hold."""

    target: Target

    def __init__(self) -> None:
        super().__init__()
        self.said: list[_Said] = []
        self.logged = self.target.rows()["turns"]

    def post(self, who: str, path: str, body: dict[str, Any]) -> httpx.Response:
        headers = self.target.headers(who)
        return self.target.send("POST", path, headers=headers, content=encoded(body))

    def ask(self, who: str, history: list[dict[str, Any]], **more: Any) -> httpx.Response:
        answer = self.post(who, CHAT, {"messages": history, "max_tokens": 8} | more)
        if answer.status_code == 200:
            is_kept = who != "guest" and not more.get("no_training")
            self.logged += more.get("n", 1) if is_kept else 0
            if not more.get("stream"):
                self.said.append(_Said(who, history, answer))
        return answer

    def one(self, pick: int) -> _Said:
        return self.said[pick % len(self.said)]

    def forget(self, who: str, session_id: str) -> None:
        """A key forgets what it has of a session's name, and nothing of anybody else's."""
        scope = self.target.keys[who].key.key_id
        own = self.target.turns_of(session_id, scope)
        everybodys = self.target.turns_of(session_id)
        headers = self.target.headers(who)
        answer = self.target.send("DELETE", f"/v1/sessions/{session_id}", headers=headers)
        assert answer.status_code == (200 if own else 404), answer.text
        assert not own or answer.json()["forgotten"] == own
        assert self.target.turns_of(session_id, scope) == 0, "what was forgotten is in the log"
        assert self.target.turns_of(session_id) == everybodys - own, "another key's turns are gone"
        self.logged -= own


class _Talking(_Keys):
    @rule(who=_WHO, text=st.text(max_size=20), n=st.integers(1, 2))
    def begins(self, who: str, text: str, n: int) -> None:
        self.ask(who, [{"role": "user", "content": text}], n=n)

    @rule(pick=_PICK, text=st.text(max_size=20), streams=st.booleans())
    def goes_on(self, pick: int, text: str, streams: bool) -> None:
        if self.said:
            said = self.one(pick)
            self.ask(said.who, [*said.history, {"role": "user", "content": text}], stream=streams)

    @rule(pick=_PICK, who=_WHO)
    def repeats(self, pick: int, who: str) -> None:
        if self.said:
            self.ask(who, self.one(pick).history[:-1])

    @rule(pick=_PICK, done=st.booleans(), private=st.booleans())
    def says_more(self, pick: int, done: bool, private: bool) -> None:
        if self.said:
            said = self.one(pick)
            more = [*said.history, {"role": "user", "content": "and?"}]
            self.ask(said.who, more, session_done=done, no_training=private)

    @rule(pick=_PICK, who=_WHO)
    def joins_by_name(self, pick: int, who: str) -> None:
        """Naming a session takes one there, and no key into another's."""
        if not self.said:
            return
        said = self.one(pick)
        known = self.target.reactions_to(said.response_id)
        more = [*said.history, {"role": "user", "content": "me too"}]
        answer = self.ask(who, more, session_id=said.session_id)
        if answer.status_code == 200 and who != "guest":
            assert answer.headers["x-session-id"] == said.session_id
        if who != said.who:
            assert self.target.reactions_to(said.response_id) == known, "another key was heard"

    @invariant()
    def every_reply_that_was_given_is_in_the_log(self) -> None:
        assert self.target.rows()["turns"] == self.logged

    @invariant()
    def nobody_goes_on_from_anothers_turn(self) -> None:
        assert self.target.crossings() == 0


class _Conversations(_Talking):
    @rule(pick=_PICK, who=_WHO, score=st.floats(-2, 2))
    def rates(self, pick: int, who: str, score: float) -> None:
        if not self.said:
            return
        said = self.one(pick)
        answer = self.post(who, "/v1/feedback", {"response_id": said.response_id, "score": score})
        if who != said.who:
            assert answer.status_code in (400, 403, 404), "another key's reply was rated"

    @rule(pick=_PICK, who=_WHO, score=st.none() | st.floats(-1, 1), note=st.text(max_size=9))
    def reviews(self, pick: int, who: str, score: float | None, note: str) -> None:
        """A label counts once, and only of who has claimed the turn."""
        turn_id = self.target.turn_of(self.one(pick).response_id) if self.said else None
        if turn_id is None:  # nobody has said anything, or it is not in the log
            return
        self.target.review.ask(turn_id)
        claim = self.post(who, "/v1/review/claim", {})
        assert claim.status_code == (200 if who in _REVIEWERS else 403)
        item = claim.json().get("item")
        claimed = turn_id if item is None else item["turn_id"]
        labels = self.target.rows()["review_labels"]
        path = f"/v1/review/{claimed}/label"
        told = [self.post(who, path, {"score": score, "note": note}) for _ in range(2)]
        took = [answer.status_code == 200 for answer in told]
        assert took == [item is not None, False], [answer.text for answer in told]
        assert self.target.rows()["review_labels"] == labels + sum(took)

    @rule(who=_WHO, action=st.sampled_from(["skip", "undo"]))
    def thinks_again(self, who: str, action: str) -> None:
        """About what is offered next, or the newest label."""
        item = self.post(who, "/v1/review/claim", {}).json().get("item")
        if action == "undo":
            assert self.post(who, "/v1/review/undo", {}).status_code in (200, 403, 404, 409)
        elif item is not None:
            assert self.post(who, f"/v1/review/{item['turn_id']}/skip", {}).status_code == 200

    @rule(pick=_PICK)
    def forgets_own(self, pick: int) -> None:
        if self.said:
            said = self.one(pick)
            self.forget(said.who, said.session_id)
            assert self.target.turn_of(said.response_id) is None
            feedback = {"response_id": said.response_id, "score": 1}
            assert self.post(said.who, "/v1/feedback", feedback).status_code >= 400

    @rule(pick=_PICK, who=_WHO)
    def forgets_anothers(self, pick: int, who: str) -> None:
        if self.said:
            self.forget(who, self.one(pick).session_id)

    @rule(who=_WHO)
    def forgets_what_is_not_there(self, who: str) -> None:
        self.forget(who, "no-such-session")


def conversations(target: Target) -> type[RuleBasedStateMachine]:
    """A state machine over one endpoint."""
    return type("Conversations", (_Conversations,), {"target": target})
