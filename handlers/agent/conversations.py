"""What was said before in each conversation, for as long as it lasts."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from handlers.agent.heard import Playback
from handlers.session import Session

if TYPE_CHECKING:  # a skill knows conversations, which know what skills understood
    from handlers.agent.skills.stage import Match

_REPORT_SECONDS = 2.0
"""A satellite that a wake word interrupts says what it has played a network's way later; the next question, which the
conversation is read for, takes longer to be said."""

_MAX_CONVERSATIONS = 1000
"""Many more than a household has at once; a client that makes up ids cannot fill the memory."""


def is_question(answer: str) -> bool:
    """Whether an answer wants one."""
    return answer.rstrip().endswith("?")


@dataclass(frozen=True)
class Turn:
    """One question and what was answered."""

    question: str
    answer: str
    playback: Playback | None = None
    """How the answer sounds, where it was spoken: it may still be interrupted."""
    match: Match | None = None
    """What a skill understood; a follow-up may go on from it."""
    untrusted: bool = False
    """Whether strangers may have written what the answer says: a page that was read, now or some turns before."""

    @property
    def asks(self) -> bool:
        """Whether the answer is a question, which is now answered."""
        return is_question(self.answer)


@dataclass(frozen=True)
class Elsewhere:
    """A question and its answer as a client remembers them."""

    question: str
    answer: str
    ours: bool
    """Whether the answer was the agent's; else the client gave it by itself."""


@dataclass(frozen=True)
class _Interrupted:
    """A turn as it was before its answer was cut down to what was heard."""

    turn: Turn
    kept: bool
    """Whether some of it was heard."""
    at: float
    """On the monotonic clock."""


@dataclass
class _Conversation:
    session: Session
    turns: deque[Turn]
    interrupted: _Interrupted | None = None
    """The last turn of `turns` or, where nothing of its answer was heard, the one behind that."""
    last_used: float = field(default_factory=time.monotonic)


class Conversations:
    """The last turns of every conversation, by its id. Only whoever had them is shown them: when somebody else goes on
    with the conversation, it begins anew."""

    def __init__(self, turns: int, idle_seconds: float) -> None:
        self._turns = max(1, turns)  # "say that again" needs one
        self._idle_seconds = idle_seconds
        self._by_id: OrderedDict[str, _Conversation] = OrderedDict()  # the one used last is last

    def __len__(self) -> int:
        return len(self._by_id)

    def history(self, session: Session) -> list[Turn]:
        """Earlier turns of the session's conversation, oldest first; empty for a new conversation, one that has been
        silent too long, or somebody else's."""
        self._forget()
        conversation = self._by_id.get(session.conversation)
        if conversation is None or not _same(session, conversation.session):
            return []
        return list(conversation.turns)

    def turns(self, conversation_id: str) -> list[Turn]:
        """The turns of a conversation, whoever's it is: not to be shown to anybody."""
        self._forget()
        conversation = self._by_id.get(conversation_id)
        return list(conversation.turns) if conversation is not None else []

    def add(self, session: Session, turn: Turn) -> None:
        """Remember a turn. Without a conversation there is nothing to remember it by."""
        if not session.conversation:
            return
        turns = deque([*self.history(session), turn], maxlen=self._turns)
        self._by_id[session.conversation] = _Conversation(session, turns)
        self._by_id.move_to_end(session.conversation)
        while len(self._by_id) > _MAX_CONVERSATIONS:
            self._by_id.popitem(last=False)

    def restore(self, session: Session, earlier: Sequence[Elsewhere]) -> None:
        """Add what a client remembers of a conversation and we do not, oldest first: what it answered by itself since
        our last answer; or all of it, where the server has started anew. Then nobody knows any more whether strangers
        had written what was answered. What was dropped of a conversation that is known was dropped on purpose."""
        if not session.conversation or not earlier:
            return
        known = self.history(session)
        if session.conversation in self._by_id:
            ours = [number for number, past in enumerate(earlier) if past.ours]
            earlier = earlier[ours[-1] + 1 :] if ours else earlier
        turns = _merged(known, [Turn(past.question, past.answer, untrusted=past.ours) for past in earlier])
        if len(turns) > len(known):
            self._by_id[session.conversation] = _Conversation(session, deque(turns, maxlen=self._turns))
            self._by_id.move_to_end(session.conversation)

    def interrupt(self, conversation_id: str) -> None:
        """Keep of the last answer only what was heard: what the satellite reported, else as much as time allowed.

        An answer that was heard to its end, or was never spoken, stays as it is. Either way it is settled: nothing that
        comes later changes it, but for the report of a satellite that was on its way.
        """
        conversation = self._by_id.get(conversation_id)
        if conversation is None or not conversation.turns:
            return
        if conversation.turns[-1].playback is None:
            return
        turn = conversation.turns.pop()
        kept = _as_heard(turn)
        if kept is not None:
            conversation.turns.append(kept)
        conversation.interrupted = _Interrupted(turn, kept is not None, time.monotonic())

    def forget(self, conversation_id: str) -> None:
        """Drop the words of a conversation."""
        self._by_id.pop(conversation_id, None)

    def report(self, conversation_id: str, playback: Playback, played: float) -> None:
        """The satellite says how many seconds of this answer it has played; infinite is all of it.

        That counts for the last answer, also for a moment after it was interrupted; but only once.
        """
        conversation = self._by_id.get(conversation_id)
        if conversation is None:
            return
        before = conversation.interrupted
        if before is not None and before.turn.playback is playback:
            conversation.interrupted = None
            if time.monotonic() - before.at <= _REPORT_SECONDS:
                if before.kept:
                    conversation.turns.pop()
                conversation.turns.append(before.turn)
        if conversation.turns and conversation.turns[-1].playback is playback:
            playback.reported = played
            self.interrupt(conversation_id)
            conversation.interrupted = None

    def _forget(self) -> None:
        """Drop the words of conversations that are over."""
        over = time.monotonic() - self._idle_seconds
        while self._by_id and next(iter(self._by_id.values())).last_used < over:
            self._by_id.popitem(last=False)


def _as_heard(turn: Turn) -> Turn | None:
    """A turn with so much of its answer as was heard; None where that is nothing."""
    playback = turn.playback
    if playback is None:
        return turn
    seconds = playback.possible_seconds
    if playback.complete and seconds >= playback.seconds:
        return replace(turn, playback=None)
    heard = playback.heard(seconds)
    return replace(turn, answer=heard, playback=None) if heard else None


def _merged(known: Sequence[Turn], told: Sequence[Turn]) -> list[Turn]:
    """Both, each in its order, and what is in both once; what is told behind that is the newest."""
    merged: list[Turn] = []
    rest, fresh = list(known), list[Turn]()
    for turn in told:
        words = (turn.question, turn.answer)
        same = next((number for number, other in enumerate(rest) if (other.question, other.answer) == words), None)
        if same is None:
            fresh.append(turn)
        else:
            merged += [*fresh, *rest[: same + 1]]
            rest, fresh = rest[same + 1 :], []
    return [*merged, *rest, *fresh]


def _same(one: Session, other: Session) -> bool:
    """Whether both may hear the same. A voice that nobody knows may be anybody's, but not with a guest's role."""
    return (one.user, one.role) == (other.user, other.role)
