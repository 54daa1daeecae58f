"""What was said before in each conversation, for as long as it lasts."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from handlers.agent.caller import ANYBODY, Caller
from handlers.agent.heard import Playback

if TYPE_CHECKING:  # a skill knows conversations, which know what skills understood
    from handlers.agent.skills.stage import Match

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


@dataclass
class _Conversation:
    caller: Caller
    turns: deque[Turn]
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

    def history(self, conversation_id: str, caller: Caller | None = None) -> list[Turn]:
        """Earlier turns, oldest first; empty for a new conversation, one that has been silent too long, or somebody
        else's. Without a caller it is whoever's: not to be shown to anybody."""
        self._forget()
        conversation = self._by_id.get(conversation_id)
        if conversation is None or (caller is not None and not _same(caller, conversation.caller)):
            return []
        return list(conversation.turns)

    def add(self, conversation_id: str, turn: Turn, caller: Caller = ANYBODY) -> None:
        """Remember a turn. Without an id there is nothing to remember it by."""
        if not conversation_id:
            return
        history = self.history(conversation_id, caller)
        self._by_id[conversation_id] = _Conversation(caller, deque([*history, turn], maxlen=self._turns))
        self._by_id.move_to_end(conversation_id)
        while len(self._by_id) > _MAX_CONVERSATIONS:
            self._by_id.popitem(last=False)

    def restore(self, conversation_id: str, earlier: Sequence[Elsewhere], caller: Caller = ANYBODY) -> None:
        """Add what a client remembers of a conversation and we do not, oldest first: what it answered by itself since
        our last answer; or all of it, where the server has started anew. Then nobody knows any more whether strangers
        had written what was answered. What was dropped of a conversation that is known was dropped on purpose."""
        if not conversation_id or not earlier:
            return
        known = self.history(conversation_id, caller)
        if conversation_id in self._by_id:
            ours = [number for number, past in enumerate(earlier) if past.ours]
            earlier = earlier[ours[-1] + 1 :] if ours else earlier
        turns = _merged(known, [Turn(past.question, past.answer, untrusted=past.ours) for past in earlier])
        if len(turns) > len(known):
            self._by_id[conversation_id] = _Conversation(caller, deque(turns, maxlen=self._turns))
            self._by_id.move_to_end(conversation_id)

    def interrupt(self, conversation_id: str) -> None:
        """Keep of the last answer only what was heard: what the satellite reported, else as much as time allowed.

        An answer that was heard to its end, or was never spoken, stays as it is. Either way it is settled: nothing that
        comes later changes it.
        """
        conversation = self._by_id.get(conversation_id)
        if conversation is None or not conversation.turns:
            return
        last = conversation.turns[-1]
        if last.playback is None:
            return
        seconds = last.playback.possible_seconds
        if last.playback.complete and seconds >= last.playback.seconds:
            conversation.turns[-1] = replace(last, playback=None)
            return
        heard = last.playback.heard(seconds)
        if heard:
            conversation.turns[-1] = replace(last, answer=heard, playback=None)
        else:
            conversation.turns.pop()

    def forget(self, conversation_id: str) -> None:
        """Drop the words of a conversation."""
        self._by_id.pop(conversation_id, None)

    def report(self, conversation_id: str, played: float) -> None:
        """The satellite says how many seconds of the last answer it has played; infinite is all of it."""
        conversation = self._by_id.get(conversation_id)
        if conversation is not None and conversation.turns:
            playback = conversation.turns[-1].playback
            if playback is not None:
                playback.reported = played
            self.interrupt(conversation_id)

    def _forget(self) -> None:
        """Drop the words of conversations that are over."""
        over = time.monotonic() - self._idle_seconds
        while self._by_id and next(iter(self._by_id.values())).last_used < over:
            self._by_id.popitem(last=False)


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


def _same(one: Caller, other: Caller) -> bool:
    """Whether both may hear the same. A voice that nobody knows may be anybody's, but not with a guest's role."""
    return (one.user, one.role) == (other.user, other.role)
