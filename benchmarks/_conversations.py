"""Made-up conversations as many clients would send them, interleaved, with what truly follows what.

Each speaker keeps its own history, in the spelling of a client with habits of its own: stripped,
re-serialised, renamed, reordered, decorated. It goes on, asks for tools, is cut off and asks again,
edits, regenerates, compacts, begins anew and does business of its own; and it knows which turn each
of its requests goes on from, which the linker has to find out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from clawjax.config import LinkingConfig
from clawjax.linking.linker import LinkDecision, Linker, note
from clawjax.linking.reading import Asked
from clawjax.linking.tree import SessionRef, Tree
from clawjax.records import FinishReason, Message, Origin, SamplingParams, ToolCall, Turn, TurnKind

__all__ = ["Truth", "interleaved", "play", "speakers"]

_WORDS = (
    *("paris", "river", "seven", "blue", "why", "count", "list", "fix", "test", "please"),
    *("and", "then", "the", "a", "of", "in", "it"),
)
_CONTEXT = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\n{}\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"
_SUMMARY = "The conversation history before this point was compacted into the following summary:\n"
_FLUSH = "Pre-compaction memory flush. Store durable memories only in memory/x.md"
_STAMP = "[Sun 2026-11-22 21:{:02} UTC] "
_MAIN_TOOLS = ("exec", "read", "write")


@dataclass(frozen=True, slots=True)
class Habits:
    """How a client writes."""

    strips: bool
    compacts_json: bool
    renames_calls: bool
    drops_twin_calls: bool
    shuffles_results: bool
    stamps: bool
    adds_context: bool
    reminds: bool
    changes_instructions: bool
    has_key: bool


@dataclass(frozen=True, slots=True)
class Truth:
    """A request, and what is true of it."""

    speaker: int
    asked: Asked
    reply: Message
    is_cut: bool
    serial: str
    """Names its turn: speaker and number."""
    parent: str | None
    kind: TurnKind
    words: tuple[str, ...] | None
    """What people and tools have said since the parent's reply; None where it is no next state."""
    of: str | None = None


@dataclass(slots=True)
class Speaker:
    """One conversation's client. Everything it does follows from its own random numbers."""

    number: int
    rng: random.Random
    scope: str
    client: str
    habits: Habits = field(init=False)
    sent: int = 0
    history: list[Message] = field(default_factory=list)
    """As the client has it, without decorations."""
    tail: list[Message] = field(default_factory=list)
    """Since the last reply of ours."""
    last: str | None = None
    """The turn whose reply came last."""
    last_kind: TurnKind = TurnKind.MAIN
    is_answered: bool = False
    cut: Truth | None = None
    is_open_call: bool = False

    def __post_init__(self) -> None:
        """Choose habits."""
        self.habits = Habits(*(self.rng.random() < 0.5 for _ in range(10)))

    def requests(self, count: int) -> Iterator[Truth]:
        """Its requests in their order."""
        for _ in range(count):
            truth = self._next()
            self.sent += 1
            yield truth

    def _next(self) -> Truth:
        if self.cut is not None:
            return self._retry(self.cut)
        if self.is_open_call:
            return self._ask(self._results())
        chance = self.rng.random()
        if self.last is not None and chance < 0.1:
            return self._side()
        if self.last is not None and chance < 0.2 and len(self.history) >= 4:
            self._compact()
        elif chance < 0.25:
            self._begin_anew()
        return self._ask([Message("user", self._text())])

    def _ask(self, said: list[Message]) -> Truth:
        self.tail = said
        is_cut = self.rng.random() < 0.08 and self.last is not None
        reply = self._reply()
        if is_cut:
            reply = Message("assistant", f"{self._text()} and th")
        truth = self._truth(reply, is_cut=is_cut)
        self.is_answered = True
        if is_cut:
            self.cut = truth
        else:
            self._receive(truth)
        return truth

    def _retry(self, cut: Truth) -> Truth:
        self.cut = None
        truth = replace(self._truth(self._reply(), is_cut=False), of=cut.serial, words=None)
        self._receive(truth)
        return truth

    def _receive(self, truth: Truth) -> None:
        self.history += [*self.tail, self._kept(truth.reply)]
        self.tail = []
        self.last, self.last_kind, self.is_answered = truth.serial, truth.kind, False
        self.is_open_call = bool(truth.reply.tool_calls)

    def _side(self) -> Truth:
        """The client's own business, on top of the conversation; gone from it afterwards."""
        kept = self.tail
        self.tail = [Message("user", f"{_FLUSH} {self._text()}")]
        truth = self._truth(Message("assistant", self._text()), is_cut=False)
        self.tail = kept
        return replace(truth, kind=TurnKind.SIDE, words=None)

    def _compact(self) -> None:
        """A summary for everything but the last exchange, or but the last reply."""
        keeps = 2 if not self.habits.has_key or self.rng.random() < 0.5 else 1
        tail = self.history[-keeps:]
        if tail[0].role == "tool":  # the message before our reply is a result
            tail = self.history[-2:]
        self.history = [Message("user", _SUMMARY + self._text()), *tail]

    def _begin_anew(self) -> None:
        self.history, self.tail, self.last, self.is_answered = [], [], None, False
        if self.rng.random() < 0.3:  # examples, which are nobody's replies
            self.history = [Message("user", self._text()), Message("assistant", self._text())]

    # --- what is sent ------------------------------------------------------------------------

    def _truth(self, reply: Message, *, is_cut: bool) -> Truth:
        is_next_state = self.last is not None and self.last_kind is TurnKind.MAIN
        words = tuple(message.content for message in self.tail)
        return Truth(
            speaker=self.number,
            asked=self._asked(),
            reply=reply,
            is_cut=is_cut,
            serial=f"{self.number}.{self.sent}",
            parent=self.last,
            kind=TurnKind.MAIN,
            words=words if is_next_state and not self.is_answered else None,
        )

    def _asked(self) -> Asked:
        habits = self.habits
        date = self.rng.randrange(100) if habits.changes_instructions else 0
        messages = [Message("system", f"You are a personal assistant. Day {date}")]
        messages += [self._respelled(message) for message in self.history]
        newest = [self._respelled(message) for message in self.tail]
        if habits.shuffles_results and newest[0].role == "tool":
            self.rng.shuffle(newest)
        if habits.reminds and newest[-1].role == "user":
            reminder = f"<system-reminder>day {self.rng.random()}</system-reminder>\n"
            newest[-1] = replace(newest[-1], content=reminder + newest[-1].content)
        if habits.adds_context:
            newest.append(Message("user", _CONTEXT.format(self.rng.random())))
        tools = [{"type": "function", "function": {"name": name}} for name in _MAIN_TOOLS]
        return Asked(
            self.scope,
            Origin(
                client=self.client,
                key=f"key{self.number}" if habits.has_key else None,
                key_source="prompt_cache_key" if habits.has_key else None,
                is_stream=True,
            ),
            (*messages, *newest),
            json.dumps(tools),
            0.0,
        )

    def _respelled(self, message: Message) -> Message:
        """Anew for every request: a client need not do the same to a message each time."""
        if message.role == "user" and self.habits.stamps:
            return replace(message, content=_STAMP.format(self.rng.randrange(60)) + message.content)
        if not message.tool_calls:
            return message
        calls = [
            replace(
                call,
                call_id=f"{call.call_id}x{self.rng.randrange(99)}"
                if self.habits.renames_calls
                else call.call_id,
                arguments=json.dumps(
                    json.loads(call.arguments),
                    separators=(",", ":") if self.habits.compacts_json else None,
                ),
            )
            for call in message.tool_calls
        ]
        return replace(message, tool_calls=tuple(calls))

    def _kept(self, reply: Message) -> Message:
        """Our reply in the client's history."""
        calls = reply.tool_calls
        if self.habits.drops_twin_calls:
            calls = tuple({(call.name, call.arguments): call for call in calls}.values())
        content = reply.content.strip() if self.habits.strips else reply.content
        return Message("assistant", content, calls)

    # --- what is said ------------------------------------------------------------------------

    def _text(self) -> str:
        words = self.rng.choices(_WORDS, k=self.rng.randint(3, 12))
        return f"{' '.join(words)} {self.rng.getrandbits(40)}"

    def _reply(self) -> Message:
        if self.rng.random() < 0.7:
            return Message("assistant", f"{self._text()}{self.rng.choice(['', ' ', chr(10)])}")
        arguments = json.dumps({"z": self.rng.random(), "a": self._text()})
        call = ToolCall(f"call_{self.rng.getrandbits(32)}", "exec", arguments)
        twins = (call, replace(call, call_id="call_twin")) if self.rng.random() < 0.3 else (call,)
        return Message("assistant", self.rng.choice(["", "I look. "]), twins)

    def _results(self) -> list[Message]:
        self.is_open_call = False
        calls = self.history[-1].tool_calls
        return [Message("tool", self._text(), tool_call_id=call.call_id) for call in calls]


def speakers(seed: int, count: int) -> list[Speaker]:
    """Some of one credential and client, where only what they say can tell them apart."""
    rng = random.Random(seed)
    return [
        Speaker(number, random.Random(rng.random()), rng.choice("ab"), rng.choice("xy"))
        for number in range(count)
    ]


def interleaved(seed: int, count: int, each: int) -> list[Truth]:
    """The requests of `count` speakers, `each` of each, in a random order that keeps theirs."""
    queues = [list(speaker.requests(each)) for speaker in speakers(seed, count)]
    order = [number for number, queue in enumerate(queues) for _ in queue]
    random.Random(seed).shuffle(order)
    waiting = [iter(queue) for queue in queues]
    return [next(waiting[number]) for number in order]


def play(truths: Sequence[Truth]) -> Iterator[tuple[Truth, LinkDecision]]:
    """Place requests one after the other and remember what was replied, as a gateway does."""
    linker = Linker(Tree(), LinkingConfig())
    for time, truth in enumerate(truths):
        asked = replace(truth.asked, arrived_at=float(time))
        placement = linker.place(asked)
        yield truth, placement
        note(placement)
        session = placement.session or SessionRef(asked.scope, f"s{truth.serial}")
        turn = _turn(truth, asked, session, placement.judged.kind)
        linker.add(turn, placement.link(turn.turn_id), placement.reading)


def _turn(truth: Truth, asked: Asked, session: SessionRef, kind: TurnKind) -> Turn:
    return Turn(
        turn_id=truth.serial,
        session_id=session.session_id,
        parent_turn_id=None,
        response_id=truth.serial,
        choice=0,
        kind=kind,
        scope=asked.scope,
        model="policy",
        messages=asked.messages,
        tools_json=asked.tools_json,
        reply=truth.reply,
        prompt_ids=(1, 2),
        response_ids=(3,),
        sampler_logprobs=(-0.5,),
        sampler_logprobs_t1=(-0.5,),
        token_versions=(),
        sampling=SamplingParams(8),
        finish_reason=FinishReason.CANCELLED if truth.is_cut else FinishReason.STOP,
        arrived_at=asked.arrived_at,
        finished_at=asked.arrived_at,
        seed=0,
    )
