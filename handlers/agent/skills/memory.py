"""The memory by voice: keep this, what do you know, forget that, who told you, private mode."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from babel.dates import format_date

from handlers.agent.memory.memories import Forgotten, Memories, RefusedError
from handlers.agent.memory.stage import MemoryStoreError, Note
from handlers.agent.safety.confirm import Pending
from handlers.agent.skills.stage import Match, Occasion, Phrases, Reply
from handlers.agent.stage import Request

_TOLD = 5
"""Notes that are read out: more than anybody listens to."""

_FEWEST_WORDS = 2
"""Of something to remember; "remember that" alone has no content."""

_REFUSED = {"secret": "RefusedSecret", "guest": "RefusedGuest", "private": "RefusedPrivate", "off": "RefusedOff"}


class MemorySkill:
    """Speaks for the memory. Without one it says so."""

    def __init__(self, memories: Memories | None) -> None:
        self._memories = memories

    @property
    def intents(self) -> frozenset[str]:
        return frozenset(
            {
                *("Remember", "RememberShared", "KnowMe", "KnowAbout", "WhoTold"),
                *("ForgetThat", "ForgetAbout", "ForgetMe", "PrivateOn", "PrivateOff"),
            }
        )

    @property
    def acts(self) -> frozenset[str]:
        return self.intents - {"KnowMe", "KnowAbout", "WhoTold"}

    def accepts(self, match: Match, phrases: Phrases) -> bool:
        """'Remember to call mum' is a reminder, and 'what do you remember about me' is not about somebody 'me'."""
        words = next(iter(match.slots.values()), "").casefold().split()
        if match.intent in ("Remember", "RememberShared"):
            return len(words) >= _FEWEST_WORDS and words[0] not in phrases.words("not_remembered")
        if match.intent in ("KnowAbout", "ForgetAbout"):
            return bool(words) and " ".join(words) not in phrases.words("oneself")
        return True

    async def perform(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        if self._memories is None:
            return Reply(phrases.say("RefusedOff"))
        request = occasion.request
        try:
            match match.intent:
                case "Remember" | "RememberShared":
                    return await self._remember(self._memories, match, request, phrases)
                case "KnowMe":
                    return await self._know_me(self._memories, request, phrases)
                case "KnowAbout":
                    return await self._know_about(self._memories, match.slots["subject"], request, phrases)
                case "WhoTold":
                    return await self._who_told(self._memories, occasion, phrases)
                case "PrivateOn" | "PrivateOff":
                    await self._memories.set_private(request, match.intent == "PrivateOn")
                    return Reply(phrases.say(match.intent))
                case _:
                    return await self._forget(self._memories, match, request, phrases)
        except RefusedError as error:
            return Reply(phrases.say(_REFUSED[error.reason]))
        except MemoryStoreError:
            return Reply(phrases.say("MemoryDown"))

    async def _remember(self, memories: Memories, match: Match, request: Request, phrases: Phrases) -> Reply:
        shared = match.intent == "RememberShared"
        await memories.remember(request, _sentence(match.slots["memory"]), shared=shared)
        return Reply(phrases.say("RememberedShared" if shared else "Remembered"))

    async def _know_me(self, memories: Memories, request: Request, phrases: Phrases) -> Reply:
        if not request.caller.user:
            return Reply(phrases.say("WhoAreYou"))
        notes = await memories.about_person(request, _TOLD)
        return Reply(phrases.say("KnowNothingOfYou") if not notes else _told(notes, phrases))

    async def _know_about(self, memories: Memories, subject: str, request: Request, phrases: Phrases) -> Reply:
        notes = await memories.about(request, subject, _TOLD)
        return Reply(phrases.say("KnowNothing", subject=subject) if not notes else _told(notes, phrases))

    async def _who_told(self, memories: Memories, occasion: Occasion, phrases: Phrases) -> Reply:
        notes = await memories.last(occasion.request)
        if not notes:
            return Reply(phrases.say("NobodyTold"))
        source = notes[0].source
        date = format_date(datetime.fromtimestamp(notes[0].created).astimezone(), "long", locale=occasion.locale)
        if source.speaker and source.speaker == occasion.request.caller.user:
            return Reply(phrases.say("YouTold", date=date))
        if source.speaker:
            return Reply(phrases.say("SomebodyTold", name=memories.name(source.speaker), date=date))
        return Reply(phrases.say("UnknownTold", date=date))

    async def _forget(self, memories: Memories, match: Match, request: Request, phrases: Phrases) -> Reply:
        """Ask first, with what it would be; nothing is gone before the yes."""
        if match.intent == "ForgetThat":
            last = await memories.last(request)
            found = Forgotten({last[0].tenant: last[:1]} if last else {})
        elif match.intent == "ForgetMe":
            if not request.caller.user:
                return Reply(phrases.say("WhoAreYou"))
            found = await memories.own(request)
        else:
            found = await memories.mentioning(request, match.slots["subject"])
        if not found.count:
            return Reply(phrases.say("NothingToForget"))
        example = next(iter(found.notes.values()))[0].content.rstrip(" .!?")
        question = phrases.say("ForgetAsk", count=found.count, fact=example)
        return Reply(question, pending=Pending(partial(_forgotten, memories, found, phrases), request.caller.role))


async def _forgotten(memories: Memories, found: Forgotten, phrases: Phrases) -> str:
    try:
        return phrases.say("Forgot", count=await memories.forget(found))
    except MemoryStoreError:
        return phrases.say("ForgotNotAll")


def _told(notes: Sequence[Note], phrases: Phrases) -> str:
    return phrases.say("Told", facts=" ".join(_sentence(note.content) for note in notes))


def _sentence(text: str) -> str:
    """As a sentence stands: 'my bike is red' -> 'My bike is red.'"""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text[-1:] in ".!?" else ".")
