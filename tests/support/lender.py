"""A house that is lent: a stand-in for a connected Home Assistant, in one process with the agent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from handlers.agent.house.stage import HouseError, Lent, Performed, Understood
from handlers.agent.stage import Request
from handlers.agent.tools.stage import Tool

LIGHT_ON = "Turn on the kitchen light"
TEMPERATURE = "How warm is it in the attic"
ADD = "Add milk"


class Lender:
    """Understands three sentences, and counts what it is asked."""

    def __init__(self) -> None:
        self.names: Sequence[str] = ["Kitchen", "Quasar Lamp"]
        self.rooms: Mapping[str, str] = {"hall": "Hall"}
        self.people: Mapping[str, str] = {"a1": "Anna"}
        self.understands_sentences = True
        self.tools: Sequence[Tool] = ()
        self.instructions = ""
        self.known = {
            LIGHT_ON: Understood(LIGHT_ON, "en", "HassTurnOn", acts=True),
            TEMPERATURE: Understood(TEMPERATURE, "en", "HassGetState", acts=False),
            ADD: Understood(ADD, "en", "HassListAddItem", acts=True, open_ended=True),
        }
        self.asked: list[str] = []
        self.done: list[Request] = []
        self.announced: list[tuple[str, str]] = []
        self.outcome: Performed | HouseError | None = Performed("Turned it on")
        self.hold: asyncio.Event | None = None
        """Recognizing waits for it."""

    def lend(self, language: str) -> Lent:
        return Lent(self, self.tools, self.instructions)

    async def recognize(self, request: Request) -> Understood | None:
        self.asked.append(request.text)
        if self.hold is not None:
            await self.hold.wait()
        return self.known.get(request.text)

    async def perform(self, understood: Understood, request: Request) -> Performed | None:
        if isinstance(self.outcome, HouseError):
            raise self.outcome
        self.done.append(request)
        return self.outcome

    async def announce(self, satellite: str, text: str, language: str) -> bool:
        if isinstance(self.outcome, HouseError):
            raise self.outcome
        self.announced.append((satellite, text))
        return True
