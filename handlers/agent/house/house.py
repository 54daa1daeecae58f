"""The house that is lent now: asks it what it understands, and remembers the answer until it is needed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from handlers.agent.house.stage import HouseError, Lender, Lent, Performed, Understood
from handlers.agent.stage import Request

_LOGGER = logging.getLogger(__name__)

ASK_SECONDS = 0.25
"""A sentence that takes longer to look up goes to the language model: Home Assistant needs a few milliseconds, on a
Raspberry Pi some ten, and for the first of a language, which it must load, a second or two."""

_KNOWN_SECONDS = 30.0
"""An utterance is 15 s at most; what was understood then is asked again, as the house may have changed."""

_MOST_KNOWN = 64
"""A guess or two for every turn that may run at the same time."""

_MOST_NAMES = 500
"""As many as the settings may have; a house with more has most of them in groups."""

_Key = tuple[str, str, str]


class House:
    """The house of the newest Home Assistant that is connected, or nobody's."""

    def __init__(self) -> None:
        self.people: dict[str, str] = {}
        """What each person is called, by their id. Always this object: others look into it."""
        self._lenders: list[Lender] = []
        self._known: OrderedDict[_Key, tuple[float, Lender, Understood | None]] = OrderedDict()
        self._arrivals: list[Callable[[], None]] = []

    @property
    def names(self) -> Sequence[str]:
        """What people may name: devices, rooms, each other."""
        return self._lender.names[:_MOST_NAMES] if self._lender is not None else ()

    def lent(self, language: str) -> Lent | None:
        """What a turn that did not come from Home Assistant may use."""
        return self._lender.lend(language) if self._lender is not None else None

    def on_arrival(self, tell: Callable[[], None]) -> None:
        """Have `tell` called whenever a house comes. It must not wait."""
        self._arrivals.append(tell)

    def enter(self, lender: Lender) -> None:
        """A house is lent from now on, or has changed."""
        if lender not in self._lenders:
            self._lenders.append(lender)
        self._changed()
        for tell in self._arrivals:
            tell()

    def leave(self, lender: Lender) -> None:
        """It is not any more; the one before it is again, if it is still connected."""
        with contextlib.suppress(ValueError):
            self._lenders.remove(lender)
        self._changed()

    def room(self, satellite: str) -> str:
        """Where a satellite stands, empty where nobody has said."""
        return self._lender.rooms.get(satellite, "") if self._lender is not None else ""

    def understands(self, request: Request) -> Understood | None:
        """What the house understands, as far as that was looked up. Costs no time."""
        known = self._known.get(_key(request))
        return known[2] if known is not None and self._holds(known, request) else None

    async def look_up(self, request: Request) -> None:
        """Ask the house whether it understands a sentence, for `understands`. Never raises, and takes ASK_SECONDS at
        most; a sentence that is known already is not asked for again."""
        lender = self._lender_of(request)
        if lender is None or not lender.understands_sentences or not request.text:
            return
        key = _key(request)
        known = self._known.get(key)
        if known is not None and self._holds(known, request):
            return
        try:
            async with asyncio.timeout(ASK_SECONDS):
                understood = await lender.recognize(request)
        except TimeoutError:
            _LOGGER.info("Home Assistant took longer than %g s to look up a sentence", ASK_SECONDS)
            return
        except HouseError as error:
            _LOGGER.info("Home Assistant could not look up a sentence (%s)", error)
            return
        self._known[key] = (time.monotonic(), lender, understood)
        self._known.move_to_end(key)
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)

    async def perform(self, understood: Understood, request: Request) -> Performed | None:
        """Do what was understood; None when it is not understood any more. Raises HouseError."""
        lender = self._lender_of(request)
        if lender is None:
            raise HouseError("Home Assistant is not connected any more")
        return await lender.perform(understood, request)

    async def announce(self, satellite: str, text: str, language: str) -> bool:
        """Say something at one of Home Assistant's own satellites; '' shows it to everybody. Whether any could. Never
        raises."""
        for lender in reversed(self._lenders):  # the satellite may be an older house's
            try:
                if await lender.announce(satellite, text, language):
                    return True
            except HouseError as error:
                _LOGGER.warning("Home Assistant could not announce something (%s)", error)
        return False

    @property
    def _lender(self) -> Lender | None:
        return self._lenders[-1] if self._lenders else None

    def _lender_of(self, request: Request) -> Lender | None:
        return request.lent.lender if request.lent is not None else self._lender

    def _holds(self, known: tuple[float, Lender, Understood | None], request: Request) -> bool:
        at, lender, _ = known
        return lender is self._lender_of(request) and time.monotonic() - at < _KNOWN_SECONDS

    def _changed(self) -> None:
        self._known.clear()
        self.people.clear()
        for lender in self._lenders:
            self.people.update(lender.people)


def _key(request: Request) -> _Key:
    return request.text, request.session.language, request.session.place
