"""The memory by voice: keep this, what do you know, forget that, who told you, private mode."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from itertools import groupby

from babel import Locale

from handlers.agent.memory.forgetting import Forgotten
from handlers.agent.memory.memories import Memories, RefusedError, day
from handlers.agent.memory.places import PrivatePlaces
from handlers.agent.memory.stage import MemoryStoreError, Note, Origin
from handlers.agent.safety.confirm import Pending
from handlers.agent.skills.stage import Match, Occasion, Phrases, Reply
from handlers.agent.stage import Request
from handlers.session import Role

_TOLD = 5
"""Notes that are read out: more than anybody listens to."""

_FEWEST_WORDS = 3
"""Of something to remember: "remember the Alamo" states nothing. Behind "that" one less will do: "that Tom smokes"."""

_LONGEST_EXAMPLE = 120
"""Characters of what is read out before it is forgotten: enough to know it by."""

_REFUSED = {"secret": "RefusedSecret", "guest": "RefusedGuest", "private": "RefusedPrivate"}

_KEPT = frozenset({"Remember", "RememberShared"})

_TELLING = frozenset({"KnowMe", "KnowAbout", "WhoTold"})

_PRIVATE = frozenset({"PrivateOn", "PrivateOff"})

_CHANGING = frozenset({*_KEPT, "ForgetThat", "ForgetAbout", "ForgetMe", *_PRIVATE})


class MemorySkill:
    """Speaks for the memory. Without one it says so."""

    def __init__(
        self, memories: Memories | None, *, switched_off: bool = False, places: PrivatePlaces | None = None
    ) -> None:
        """`switched_off` says that there is none on purpose. `places` are those in private mode, where no memory knows
        them: sound, and the log's words, may be kept without one."""
        self._memories = memories
        self._places = places
        self._none = "RefusedOff" if switched_off else "MemoryDown"

    @property
    def intents(self) -> frozenset[str]:
        return _TELLING | _CHANGING

    @property
    def acts(self) -> frozenset[str]:
        return _CHANGING

    @property
    def discreet(self) -> bool:
        return True

    def accepts(self, match: Match, phrases: Phrases) -> bool:
        """'Remember to call mum' is a reminder, and 'what do you remember about me' is not about somebody 'me'."""
        words = next(iter(match.slots.values()), "").casefold().split()
        if match.intent in _KEPT:
            said_that = _word_before_slot(match) in phrases.words("that")
            if len(words) < _FEWEST_WORDS - said_that:
                return False
            return said_that or words[0] not in phrases.words("not_remembered")
        if match.intent in ("KnowAbout", "ForgetAbout"):
            return bool(words) and " ".join(words) not in phrases.words("oneself")
        return True

    async def perform(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        request = occasion.request
        try:
            if self._memories is None:
                if self._places is None or match.intent not in _PRIVATE:
                    return Reply(phrases.say(self._none))
                return await self._private_alone(self._places, match.intent == "PrivateOn", request, phrases)
            match match.intent:
                case "Remember" | "RememberShared":
                    return await self._remember(self._memories, match, request, phrases)
                case "KnowMe":
                    return await self._know_me(self._memories, request, phrases)
                case "KnowAbout":
                    return await self._know_about(self._memories, _subject(match, phrases), request, phrases)
                case "WhoTold":
                    return await self._who_told(self._memories, occasion, phrases)
                case "PrivateOn" | "PrivateOff":
                    return await self._private(self._memories, match.intent == "PrivateOn", request, phrases)
                case _:
                    return await self._forget(self._memories, match, occasion, phrases)
        except RefusedError as error:
            return Reply(phrases.say(_REFUSED[error.reason]))
        except MemoryStoreError:
            return Reply(phrases.say("MemoryDown"))

    async def _remember(self, memories: Memories, match: Match, request: Request, phrases: Phrases) -> Reply:
        shared = match.intent == "RememberShared"
        said = match.slots["memory"]
        before = _word_before_slot(match)
        if before in phrases.words("that_is_kept"):  # 'dass mein Fahrrad rot ist' is no sentence without its 'dass'
            said = f"{before} {said}"
        await memories.remember(request, _sentence(said), shared=shared)
        return Reply(phrases.say("RememberedShared" if shared else "Remembered"))

    async def _know_me(self, memories: Memories, request: Request, phrases: Phrases) -> Reply:
        if not request.session.user:
            return Reply(phrases.say("WhoAreYou"))
        notes = await memories.about_person(request, _TOLD)
        return Reply(_told(memories, notes, request, phrases) or phrases.say("KnowNothingOfYou"))

    async def _know_about(self, memories: Memories, subject: str, request: Request, phrases: Phrases) -> Reply:
        notes = await memories.about(request, subject, _TOLD)
        return Reply(_told(memories, notes, request, phrases) or phrases.say("KnowNothing"))

    async def _who_told(self, memories: Memories, occasion: Occasion, phrases: Phrases) -> Reply:
        notes = await self._meant(memories, occasion)
        if not notes:
            return Reply(phrases.say("NobodyTold"))
        source = notes[0].source
        when = spoken_day(notes[0].created, occasion.now, occasion.locale, phrases)
        if source.speaker and source.speaker == occasion.request.session.user:
            return Reply(phrases.say("YouTold", when=when))
        if source.speaker:
            return Reply(phrases.say("SomebodyTold", name=memories.name(source.speaker), when=when))
        written = source.origin in (Origin.API, Origin.IMPORTED)
        return Reply(phrases.say("WrittenTold" if written else "UnknownTold", when=when))

    async def _private(self, memories: Memories, private: bool, request: Request, phrases: Phrases) -> Reply:
        try:
            await memories.set_private(request, private)
        except RefusedError:
            return Reply(phrases.say("NotAllowed"))
        return Reply(phrases.say("PrivateOn" if private else "PrivateOff"))

    async def _private_alone(self, places: PrivatePlaces, private: bool, request: Request, phrases: Phrases) -> Reply:
        """Without a memory; a guest cannot end it here either."""
        session = request.session
        if not private and session.role < Role.USER:
            return Reply(phrases.say("NotAllowed"))
        await asyncio.to_thread(places.set, session.place, private, lasting=bool(session.satellite))
        return Reply(phrases.say("PrivateOn" if private else "PrivateOff"))

    async def _forget(self, memories: Memories, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        """Ask first, with what it would be; nothing is gone before the yes."""
        request = occasion.request
        if match.intent == "ForgetMe" and not request.session.user:
            return Reply(phrases.say("WhoAreYou"))
        await memories.drop_turns(request)  # what was said just now may wait to be learnt
        if match.intent == "ForgetThat":
            last = await self._meant(memories, occasion)
            found = Forgotten({last[0].owner: last[:1]} if last else {})
        elif match.intent == "ForgetMe":
            found = await memories.own(request)
        else:
            found = await memories.mentioning(request, _subject(match, phrases))
        if not found.count:
            return Reply(phrases.say("NothingToForget"))
        example = _shortened(next(iter(found.notes.values()))[0].content).rstrip(" .!?")
        question = phrases.say("ForgetAsk", count=found.count, fact=example)
        action = partial(_forgotten, memories, found, phrases)
        return Reply(question, pending=Pending(action, request.session.role, forgets=True))

    async def _meant(self, memories: Memories, occasion: Occasion) -> list[Note]:
        """The notes that 'that' means: what was just kept or read out, else what the last answer speaks of."""
        last = occasion.history[-1] if occasion.history else None
        if last is None or (last.match is not None and last.match.intent in self.intents):
            return await memories.last(occasion.request)
        return await memories.last(occasion.request, last.answer)


def spoken_day(at: float, now: datetime, locale: Locale, phrases: Phrases) -> str:
    """When something was told: 'today', 'yesterday', 'on May 3, 2026'."""
    date = day(at, locale)
    if not date:
        return phrases.say("ToldSomeDay")
    days = (now.date() - datetime.fromtimestamp(at, now.tzinfo).date()).days
    near = {0: "ToldToday", 1: "ToldYesterday"}.get(days)
    return phrases.say(near) if near else phrases.say("ToldOnDay", date=date)


async def _forgotten(memories: Memories, found: Forgotten, phrases: Phrases) -> str:
    try:
        count = await memories.forget(found)
    except MemoryStoreError:
        return phrases.say("ForgotNotAll")
    return phrases.say("Forgot", count=max(1, count))  # none, where somebody else was quicker


def _told(memories: Memories, notes: Sequence[Note], request: Request, phrases: Phrases) -> str:
    """Notes in the words of those who said them: 'You told me: My bike is red. Tom told me: …'."""
    parts = []
    for speaker, told in groupby(sorted(notes, key=lambda note: _place_of(note, notes)), lambda n: n.source.speaker):
        facts = " ".join(_sentence(note.content) for note in told)
        if speaker and speaker == request.session.user:
            parts.append(phrases.say("ToldByYou", facts=facts))
        elif speaker:
            parts.append(phrases.say("ToldBy", name=memories.name(speaker), facts=facts))
        else:
            parts.append(phrases.say("Told", facts=facts))
    return " ".join(parts)


def _place_of(note: Note, notes: Sequence[Note]) -> int:
    """Where a note's speaker comes first, so that each is named once."""
    return next(place for place, other in enumerate(notes) if other.source.speaker == note.source.speaker)


def _subject(match: Match, phrases: Phrases) -> str:
    """What is meant, without articles and the like before it."""
    words = match.slots["subject"].split()
    while len(words) > 1 and words[0].casefold() in phrases.words("small_words"):
        words = words[1:]
    return " ".join(words)


def _word_before_slot(match: Match) -> str:
    start = match.spans["memory"][0] if "memory" in match.spans else 0
    before = match.sentence[:start].casefold().rstrip(" ,:;.").replace("’", "'")
    return before.rpartition(" ")[2]


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST_EXAMPLE:
        return text
    return text[:_LONGEST_EXAMPLE].rpartition(" ")[0] + " …"


def _sentence(text: str) -> str:
    """As a sentence stands: 'my bike is red' -> 'My bike is red.'"""
    text = text.strip(" \t\n,;:")
    return text[:1].upper() + text[1:] + ("" if text[-1:] in (".", "!", "?", "…") else ".")
