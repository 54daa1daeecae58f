"""Whom a satellite talks with, Meadowlark's server or Home Assistant, and what can be asked of a satellite."""

from __future__ import annotations

from typing import Protocol

from satellite.turn import TurnRequest, TurnResult


class Exchange(Protocol):
    """A turn from its wake-up to the end of its answer. `hear` gives it audio while `run` is at work."""

    request: TurnRequest
    result: TurnResult
    """What came of it so far."""

    @property
    def has_heard_enough(self) -> bool:
        """No more audio is taken."""

    def hear(self, piece: bytes) -> None:
        """Take the next internal audio. Never waits."""

    def end_of_audio(self) -> None:
        """There is no more audio to hear."""

    async def run(self) -> TurnResult:
        """Have the turn. What goes wrong is in the result; cancelling ends it here and there, and silences it."""


class Partner(Protocol):
    """Whoever understands and answers. One turn at a time."""

    @property
    def is_there(self) -> bool:
        """False where it is known that a turn cannot succeed now; then nobody is woken."""

    @property
    def judges_wake_words(self) -> bool:
        """It listens again to a wake word that was not heard surely, where the request begins with it (`in_audio`)."""

    async def find(self) -> None:
        """Return when it is there, or raise LinkLostError soon."""

    async def wait(self) -> None:
        """Return when it is there. Its absence is told once."""

    def begin(self, request: TurnRequest) -> Exchange:
        """A turn, not yet run."""


class Controls(Protocol):
    """What a key, a button, a command or a socket can ask of a satellite. None of it waits or raises."""

    def talk(self) -> None:
        """Listen to a request now, without a wake word; an answer is interrupted. Not while muted."""

    def done(self) -> None:
        """The request is over: the key is let go. Does nothing where none is being heard."""

    def stop(self) -> None:
        """Be quiet: what is asked, answered or rung ends, and is not done."""

    def mute(self) -> None:
        """Let go of the microphone. A request that is being heard is dropped; an answer goes on."""

    def unmute(self) -> None:
        """Hear again."""

    def set_volume(self, percent: int) -> None:
        """How loud it plays, 0 to 150."""

    @property
    def is_muted(self) -> bool:
        """Nothing is captured."""

    @property
    def status(self) -> dict[str, str | int | bool]:
        """state (waiting, listening, asking, answering), muted, volume, microphone (there or not), name."""
