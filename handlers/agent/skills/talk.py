"""What belongs to any conversation: hello, thanks, again, louder, stop."""

from __future__ import annotations

from handlers.agent.skills.numbers import parse_number
from handlers.agent.skills.stage import Match, Occasion, Phrases, Reply

_STEPS = {"small": 5, "": 10, "large": 25}
"""Percent of full: a step that is just heard, one that is clearly heard, and one that is meant."""

_TENTHS = 10
"""Up to here a level without "percent" is one of ten, as on other speakers: "volume five"."""

_QUIETEST = 10
"""Percent of full that "minimum" means: still heard. Silence is asked for by "zero"."""


class Talk:
    """Answers that are the same whatever happens."""

    @property
    def intents(self) -> frozenset[str]:
        return frozenset({"Greeting", "Goodbye", "Thanks", "Cancel", "Yes", "No", "Capabilities"})

    async def perform(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        return Reply(phrases.say(match.intent))


class Repeat:
    """Says the last answer again."""

    @property
    def intents(self) -> frozenset[str]:
        return frozenset({"Repeat"})

    async def perform(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        if not occasion.history:
            return Reply(phrases.say("NothingToRepeat"))
        return Reply(phrases.say("Repeat", last=occasion.history[-1].answer))


class Volume:
    """How loud the place is that asks."""

    @property
    def intents(self) -> frozenset[str]:
        return frozenset({"VolumeUp", "VolumeDown", "VolumeTo"})

    @property
    def acts(self) -> frozenset[str]:
        return self.intents

    @property
    def discreet(self) -> bool:
        return False

    def accepts(self, match: Match, phrases: Phrases) -> bool:
        return match.intent != "VolumeTo" or _level(match, phrases) is not None

    async def perform(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        if match.intent == "VolumeTo":
            percent = _level(match, phrases) or 0
            if not 0 <= percent <= 100:
                return Reply(phrases.say("VolumeRange"))
            return Reply(phrases.say("VolumeTo", percent=percent), volume_to=percent)
        step = _STEPS.get(match.slots.get("amount", ""), _STEPS[""])
        return Reply(phrases.say(match.intent), volume=step if match.intent == "VolumeUp" else -step)


def _level(match: Match, phrases: Phrases) -> int | None:
    """The percent that were asked for, maybe too many; None when it is no number. A sentence without a place for it is
    "full volume"."""
    said = match.slots.get("level", "").casefold()
    if "level" not in match.slots or said in phrases.words("loudest"):
        return 100
    if said in phrases.words("quietest"):
        return _QUIETEST
    level = said
    for word in ("%", *phrases.words("percent")):
        level = level.removesuffix(word.casefold()).rstrip()
    value = parse_number(level, match.language)
    if value is not None and 0 < value < 1 and level.isalpha():  # "half"
        value, level = value * 100, ""
    if value is None or not value.is_integer():
        return None
    return round(value) * (10 if level == said and 0 < value <= _TENTHS else 1)
