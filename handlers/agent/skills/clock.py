"""What time it is, here and elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_time

from handlers.agent.skills.calendar_days import say_date
from handlers.agent.skills.places import zone_of, zone_within
from handlers.agent.skills.spoken_numbers import sentence_case
from handlers.agent.skills.stage import Match, Occasion, Phrases, Reply

_MOST_WORDS = 6
"""Of a city and its country; what is longer is no place that anybody knows."""


class Clock:
    """The time of day."""

    @property
    def intents(self) -> frozenset[str]:
        return frozenset({"GetTime", "GetTimeThere", "GetDateThere"})

    def accepts(self, match: Match, phrases: Phrases) -> bool:
        return match.intent == "GetTime" or _zone(match, phrases) is not None

    async def perform(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        zone = _zone(match, phrases)
        now = occasion.now.astimezone(zone) if zone else occasion.now
        time = format_time(now, "short", locale=occasion.locale)
        hour = int("".join(char for char in time[:2] if char.isdigit()))
        if match.intent == "GetTime":
            return Reply(phrases.say("GetTime", time=time, count=hour))
        where = sentence_case(_where(match, phrases))
        if match.intent == "GetDateThere":
            return Reply(phrases.say("GetDateThere", where=where, date=say_date(now.date(), occasion, phrases)))
        if now.date() == occasion.now.date():
            return Reply(phrases.say("GetTimeThere", where=where, time=time, count=hour))
        weekday = format_date(now, "EEEE", locale=occasion.locale)
        return Reply(phrases.say("GetTimeThereOtherDay", where=where, time=time, weekday=weekday, count=hour))


def _where(match: Match, phrases: Phrases) -> str:
    """The place with its preposition, as it was said: 'au Japon', 'in Tokyo'; the usual one for "Tokyo time"."""
    start, end = match.spans["place"]
    place = match.sentence[start:end]
    known = phrases.words("prepositions")
    preposition = match.sentence[:start].casefold().split()[-1:]
    if not set(preposition) & set(known):
        preposition = list(known[:1])
    return " ".join([*preposition, place if any(char.isupper() for char in place) else place.title()])


def _zone(match: Match, phrases: Phrases) -> ZoneInfo | None:
    place = match.slots.get("place")
    if not place:
        return None
    for name in _bare(place, phrases.words("articles")):
        zone = zone_of(name, match.language)
        if zone is not None:
            return zone
    words = place.replace(",", " ").split()
    leads = [f"{word} " for word in phrases.words("prepositions")]
    for at in range(1, min(len(words), _MOST_WORDS)):
        city, country = " ".join(words[:at]), " ".join(words[at:])
        for behind in _bare(country, leads):  # "Paris, France", "Valencia en España"
            for name in _bare(behind, phrases.words("articles")):
                zone = zone_within(city, name, match.language)
                if zone is not None:
                    return zone
    return None


def _bare(text: str, leads: Sequence[str]) -> Iterator[str]:
    """A text as it is, then without each of the words that may stand before it."""
    yield text
    yield from (text[len(lead) :] for lead in leads if text.casefold().startswith(lead))
