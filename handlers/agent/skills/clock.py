"""What time it is, here and elsewhere."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from babel.dates import format_date, format_time

from handlers.agent.skills.places import zone_of
from handlers.agent.skills.spoken_numbers import sentence_case
from handlers.agent.skills.stage import Match, Occasion, Phrases, Reply


class Clock:
    """The time of day."""

    @property
    def intents(self) -> frozenset[str]:
        return frozenset({"GetTime", "GetTimeThere"})

    def accepts(self, match: Match, phrases: Phrases) -> bool:
        return match.intent != "GetTimeThere" or _zone(match, phrases) is not None

    async def perform(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        zone = _zone(match, phrases)
        now = occasion.now.astimezone(zone) if zone else occasion.now
        time = format_time(now, "short", locale=occasion.locale)
        hour = int("".join(char for char in time[:2] if char.isdigit()))
        if match.intent == "GetTime":
            return Reply(phrases.say("GetTime", time=time, count=hour))
        where = sentence_case(_where(match))
        if now.date() == occasion.now.date():
            return Reply(phrases.say("GetTimeThere", where=where, time=time, count=hour))
        weekday = format_date(now, "EEEE", locale=occasion.locale)
        return Reply(phrases.say("GetTimeThereOtherDay", where=where, time=time, weekday=weekday, count=hour))


def _where(match: Match) -> str:
    """The place with its preposition, as it was said: 'au Japon', 'in Tokyo'."""
    start, end = match.spans["place"]
    place = match.sentence[start:end]
    preposition = match.sentence[:start].split()[-1:]
    return " ".join([*preposition, place if any(char.isupper() for char in place) else place.title()])


def _zone(match: Match, phrases: Phrases) -> ZoneInfo | None:
    place = match.slots.get("place")
    if not place:
        return None
    for article in ("", *phrases.words("articles")):
        if place.casefold().startswith(article):
            zone = zone_of(place[len(article) :], match.language)
            if zone is not None:
                return zone
    return None
