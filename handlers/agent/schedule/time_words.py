"""How each language says times. What is left out of a table is not understood, and goes to the language model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from babel import Locale
from babel.dates import get_day_names, get_month_names

Clock = tuple[str, int, int]
"""A pattern with {H}, an hour, and maybe {M}, minutes; minutes to add; 1 or -1, whether {M} is after or before. {H24}
is an hour as a clock of 24 shows it: "7:30", in languages that have no AM and PM, is in the morning."""

_GROUPS = {"{H}": r"(?P<h>\d{1,2})", "{H24}": r"(?P<h24>\d{1,2})", "{M}": r"(?P<m>\d{1,2})", "{MM}": r"(?P<m>[0-5]\d)"}

_SIGN = re.compile(r"@\d{1,2}:\d\d[?!~]?|[A-Z]+|[DW]\d+|M\d+-\d+")


@dataclass(frozen=True)
class TimeWords:
    """One language. Patterns are over lower-case words with digits for numbers, in this order."""

    language: str
    clocks: Sequence[Clock]
    sure: str
    """Words before an hour that make a number a time: "at"."""
    signs: Sequence[tuple[str, str]]
    """Words and what they mean."""
    every: str
    """Words before or endings of a day's name that make it every such day."""
    fillers: str
    between: Sequence[str] = ()
    """Words between a day and a month: "3rd of May"."""
    relative_words: str = ""
    """What stands before or behind the length of time in "in 20 minutes"."""
    prepare: Mapping[str, str] = field(default_factory=dict)
    """What is rewritten first."""

    def rewrite(self, text: str) -> list[str]:
        """The signs of a text, empty where it has a word that is no part of a time."""
        for pattern, sign in self._rules:
            text = pattern.sub(sign, text)
        for clock, base, direction in self._clock_rules:
            text, done = clock.subn(lambda found, b=base, d=direction: _clock(found, b, d), text, count=1)  # type: ignore[misc]
            if done:
                break
        else:
            text = self._bare.sub(lambda found: _clock(found, 0, 1, "?"), text, count=1)
        text = self._fillers.sub(" ", text)
        signs = text.split()
        return signs if all(_SIGN.fullmatch(sign) for sign in signs) else []

    @cached_property
    def relative(self) -> re.Pattern[str]:
        """A text of the form "in 20 minutes"."""
        return re.compile(self.relative_words, re.IGNORECASE)

    @cached_property
    def _rules(self) -> list[tuple[re.Pattern[str], str]]:
        return [(_words(pattern), sign) for pattern, sign in [*self.prepare.items(), *self._dates(), *self.signs]]

    @cached_property
    def _clock_rules(self) -> list[tuple[re.Pattern[str], int, int]]:
        return [(_words(_filled(pattern)), base, direction) for pattern, base, direction in self.clocks] + [
            (_words(_filled(rf"(?:{self.sure}) {{H}}")), 0, 1)
        ]

    @cached_property
    def _bare(self) -> re.Pattern[str]:
        return _words(_filled("{H}"))

    @cached_property
    def _fillers(self) -> re.Pattern[str]:
        return _words(self.fillers)

    def _dates(self) -> list[tuple[str, str]]:
        """Weekdays and dates, by their names in the language."""
        locale = Locale(self.language)
        rules = []
        of = "".join(f"(?: {word})?" for word in self.between)
        for number, name in get_month_names("wide", locale=locale).items():
            rules.append((rf"(\d{{1,2}})(?: ?(?:st|nd|rd|th|er|:e))?{of} {name.lower()}", rf"M{number}-\1"))
            if self.language == "en":
                rules.append((rf"{name.lower()}(?: the)? (\d{{1,2}})(?: ?(?:st|nd|rd|th))?", rf"M{number}-\1"))
        for number, name in get_day_names("wide", locale=locale).items():
            day = re.escape(name.lower())
            rules.append((self.every.format(day=day), f"EVERY W{number}"))
            rules.append((day, f"W{number}"))
        return rules


def _filled(pattern: str) -> str:
    for place, group in _GROUPS.items():
        pattern = pattern.replace(place, group)
    return pattern


def _words(pattern: str) -> re.Pattern[str]:
    """A pattern over whole words."""
    return re.compile(rf"(?<![\w@:.-])(?:{pattern})(?![\w:.])")


def _clock(found: re.Match[str], base: int, direction: int, flag: str = "") -> str:
    groups = found.groupdict()
    said = groups.get("h") or groups["h24"]
    hour, minutes = int(said), base + direction * int(groups.get("m") or 0)
    if not flag and len(said) == 2 and said.startswith("0"):
        flag = "!"  # nobody writes 07:30 for the evening
    elif "h24" in groups:
        flag = "~"
    if hour > 24 or int(groups.get("m") or 0) > 59:
        return found[0]
    if minutes < 0 and hour in (0, 1):  # a quarter to one is before one, on either half of the day
        hour += 12
    total = hour * 60 + minutes
    return f" @{total // 60}:{total % 60:02d}{flag} "


_ENGLISH = TimeWords(
    "en",
    clocks=[
        ("half(?: past)? {H}", 30, 1),
        ("(?:a )?quarter (?:past|after) {H}", 15, 1),
        ("(?:a )?quarter (?:to|before|of) {H}", -15, 1),
        ("{M}(?: minutes?)? (?:past|after) {H}", 0, 1),
        ("{M}(?: minutes?)? (?:to|before) {H}", 0, -1),
        ("{H}[:.]{MM}(?::00)?", 0, 1),
        ("{H} (?:oh|o) {M}", 0, 1),
        ("{H} {MM}", 0, 1),
        ("{H} (?:o' ?clock|oclock|hundred)", 0, 1),
    ],
    sure="at|by|around",
    prepare={"(?:from )?monday (?:to|through|till) friday": "WEEKDAYS"},
    signs=[
        ("(?:every|each)? ?(?:weekdays?|work ?days?|working days?)(?: morning)?", "WEEKDAYS"),
        ("(?:every|each)? ?(?:weekends?)", "WEEKENDS"),
        ("(?:every|each) ?day|everyday|daily", "EVERY"),
        ("every|each", "EVERY"),
        ("(?:the )?day after tomorrow", "D2"),
        ("tomorrow|tomorrow's", "D1"),
        ("tonight", "D0 EVE"),
        ("this (?=morning|afternoon|evening)", "D0 "),
        ("today|today's", "D0"),
        ("(?:at )?(?:noon|mid ?day)", "@12:00!"),
        ("(?:at )?mid ?night", "@24:00!"),
        ("(?:in the )?mornings?|am", "AM"),
        ("(?:in the )?afternoons?|pm", "PM"),
        ("(?:in the )?evenings?", "EVE"),
        ("(?:at |in the )?nights?", "NIGHT"),
    ],
    every=r"(?:(?:every|each) {day}|{day}s)",
    fillers="at|on|for|the|in|by|around|about|this|next|coming|and|of|o'|clock|time",
    between=("of",),
    relative_words=r"(?:in|after)\s+(.+)|(.+)\s+from\s+now",
)

_GERMAN = TimeWords(
    "de",
    clocks=[
        ("{M}(?: minuten?)? nach halb {H}", -30, 1),
        ("{M}(?: minuten?)? vor halb {H}", -30, -1),
        ("halb {H}", -30, 1),
        ("viertel nach {H}", 15, 1),
        ("viertel vor {H}", -15, 1),
        ("(?:3 ?viertel|dreiviertel) {H}", -15, 1),
        ("viertel {H}", -45, 1),
        ("{M}(?: minuten?)? nach {H}", 0, 1),
        ("{M}(?: minuten?)? vor {H}", 0, -1),
        ("{H24}[:.]{MM}(?::00)?", 0, 1),
        ("{H24} uhr {M}", 0, 1),
        ("{H} uhr", 0, 1),
        ("{H24} {MM}", 0, 1),
    ],
    sure="um|gegen|ab",
    prepare={"(?:von )?montags? bis freitags?": "WEEKDAYS", "eine?(?= uhr)": "1", "(?<=um )eins|(?<=halb )eins": "1"},
    signs=[
        ("(?:an |jeden )?(?:werktags?|werktagen|wochentags?|wochentagen)|unter der woche", "WEEKDAYS"),
        ("(?:am |jedes )?wochenendes?|an wochenenden", "WEEKENDS"),
        ("jeden tag|täglich", "EVERY"),
        ("jeden morgen", "EVERY AM"),
        ("jeden abend", "EVERY EVE"),
        ("jede nacht", "EVERY NIGHT"),
        ("jeden", "EVERY"),
        ("übermorgen", "D2"),
        ("morgen (?:früh|morgen|vormittag)", "D1 AM"),
        ("heute (?:früh|morgen|vormittag)", "D0 AM"),
        ("am (?:nächsten )?morgen|in der früh", "AM"),
        ("morgen", "D1"),
        ("heute", "D0"),
        ("mittags|mittag(?= um)", "NOON"),
        ("(?:zu |am )?mittag", "@12:00!"),
        ("(?:um )?mitternacht", "@24:00!"),
        ("morgens|(?:am )?vormittags?|früh", "AM"),
        ("(?:am )?nachmittags?", "PM"),
        ("(?:am )?abends?", "EVE"),
        ("nachts|in der nacht|nacht", "NIGHT"),
    ],
    every=r"(?:jeden {day}|{day}s)",
    fillers="um|am|an|für|den|dem|der|die|das|ab|gegen|so|circa|uhr|nächsten|nächster|kommenden|und|auf|zum",
    relative_words=r"(?:in|nach)\s+(.+)",
)

_SWEDISH = TimeWords(
    "sv",
    clocks=[
        ("{M}(?: minuter)? över halv {H}", -30, 1),
        ("{M}(?: minuter)? i halv {H}", -30, -1),
        ("halv {H}", -30, 1),
        ("(?:en )?kvart över {H}", 15, 1),
        ("(?:en )?kvart i {H}", -15, 1),
        ("{M}(?: minuter)? över {H}", 0, 1),
        ("{M}(?: minuter)? i {H}", 0, -1),
        ("{H24}[:.]{MM}(?::00)?", 0, 1),
        ("{H24} {MM}", 0, 1),
    ],
    sure="klockan|kl|vid",
    prepare={
        "(?:från )?måndag till fredag": "WEEKDAYS",
        "(?<=klockan )ett|(?<=halv )ett|(?<=över )ett|(?<=i )ett": "1",
    },
    signs=[
        ("(?:varje |på )?(?:vardag|vardagar|vardagarna)", "WEEKDAYS"),
        ("(?:varje |på )?(?:helg|helger|helgen|helgerna)", "WEEKENDS"),
        ("varje dag|dagligen", "EVERY"),
        ("varje morgon", "EVERY AM"),
        ("varje kväll", "EVERY EVE"),
        ("varje", "EVERY"),
        ("i ?övermorgon|övermorgon", "D2"),
        ("(?:i ?morgon) (?:bitti|bittida)", "D1 AM"),
        ("i ?morgon", "D1"),
        ("i ?kväll", "D0 EVE"),
        ("i ?eftermiddag", "D0 PM"),
        ("i ?natt", "D0 NIGHT"),
        ("i ?morse|i ?dag", "D0"),
        ("(?:vid )?midnatt", "@24:00!"),
        ("mitt på dagen|klockan 12 på dagen", "@12:00!"),
        ("på (?:morgonen|morgnarna|förmiddagen)|morgon", "AM"),
        ("(?:på )?(?:eftermiddagen|eftermiddag)", "PM"),
        ("(?:på )?(?:kvällen|kvällarna|kväll)", "EVE"),
        ("(?:på )?(?:natten|natt)", "NIGHT"),
    ],
    every=r"(?:varje {day}|(?:på )?{day}(?:ar|arna))",
    fillers="klockan|kl|på|den|till|för|nästa|vid|och|runt|omkring|i",
    relative_words=r"(?:om|efter)\s+(.+)",
)

_FRENCH = TimeWords(
    "fr",
    clocks=[
        ("{H} (?:heures?|h)(?: et)? (?:demie?|½)", 30, 1),
        ("{H} (?:heures?|h) (?:et )?quart", 15, 1),
        ("{H} (?:heures?|h) moins (?:le )?quart", -15, 1),
        ("{H} (?:heures?|h) moins {M}", 0, -1),
        ("{H24} h {MM}", 0, 1),
        ("{H} (?:heures?|h)(?: et)?(?: {M})?(?: minutes)?", 0, 1),
        ("{H24}[:.]{MM}(?::00)?", 0, 1),
    ],
    sure="à|vers",
    prepare={"(?:du )?lundi au vendredi": "WEEKDAYS", "une?(?= heures?)": "1"},
    signs=[
        (
            "(?:en|la|pendant la) semaine"
            "|(?:chaque jour|tous les jours|les jours) (?:de (?:la )?semaine|ouvrés|ouvrables)",
            "WEEKDAYS",
        ),
        ("(?:le|les|tous les|chaque) week ends?", "WEEKENDS"),
        ("tous les jours|chaque jour|quotidiennement", "EVERY"),
        ("tous les matins|chaque matin", "EVERY AM"),
        ("tous les soirs|chaque soir", "EVERY EVE"),
        ("après demain", "D2"),
        ("demain matin", "D1 AM"),
        ("demain après midi", "D1 PM"),
        ("demain soir", "D1 EVE"),
        ("demain", "D1"),
        ("cet? après midi", "D0 PM"),
        ("ce matin", "D0 AM"),
        ("ce soir", "D0 EVE"),
        ("cette nuit", "D0 NIGHT"),
        ("aujourd' ?hui", "D0"),
        ("(?:à )?midi et demie?", "@12:30!"),
        ("(?:à )?minuit et demie?", "@0:30!"),
        ("(?:à )?midi", "@12:00!"),
        ("(?:à )?minuit", "@24:00!"),
        ("(?:du |le |au )?matin", "AM"),
        ("(?:de |dans )?l' ?après midi", "PM"),
        ("(?:du |le |au )?soir", "EVE"),
        ("(?:de |dans )?la nuit", "NIGHT"),
    ],
    every=r"(?:(?:tous les|chaque|les) {day}s?)",
    fillers="à|pour|le|la|les|de|du|vers|prochain|prochaine|et|heures?|précises?",
    relative_words=r"(?:dans|d'ici|après)\s+(.+)",
)

_SPANISH = TimeWords(
    "es",
    clocks=[
        ("{H} y media", 30, 1),
        ("{H} y cuarto", 15, 1),
        ("{H} menos cuarto", -15, 1),
        ("{H} y {M}(?: minutos)?", 0, 1),
        ("{H} menos {M}", 0, -1),
        ("{H24}[:.]{MM}(?::00)?", 0, 1),
        ("{H24} h(?:oras)? {MM}", 0, 1),
        ("{H} {MM}", 0, 1),
        ("{H} (?:en punto|horas)", 0, 1),
    ],
    sure="a las?|para las?|sobre las?|las?",
    prepare={"(?:de )?lunes a viernes": "WEEKDAYS", "(?<=la )una": "1"},
    signs=[
        ("entre semana", "WEEKDAYS"),
        ("(?:los |todos los |cada )días? (?:laborables?|de (?:la )?semana|hábiles|hábil)", "WEEKDAYS"),
        ("(?:los |todos los |cada |el )?fin(?:es)? de semana", "WEEKENDS"),
        ("todos los días|cada día|diariamente|a diario", "EVERY"),
        ("todas las mañanas|cada mañana", "EVERY AM"),
        ("todas las tardes|cada tarde", "EVERY PM"),
        ("todas las noches|cada noche", "EVERY EVE"),
        ("pasado mañana", "D2"),
        ("(?:de|por|en) la mañana", "AM"),
        ("(?:de|por|en) la tarde", "PM"),
        ("(?:de|por|en) la noche", "EVE"),
        ("de la madrugada", "AM"),
        ("esta mañana", "D0 AM"),
        ("esta tarde", "D0 PM"),
        ("esta noche", "D0 EVE"),
        ("mañana", "D1"),
        ("hoy", "D0"),
        ("(?:al? )?(?:mediodía|medio día)", "@12:00!"),
        ("(?:a (?:la )?)?medianoche|a media noche", "@24:00!"),
    ],
    every=r"(?:(?:todos los|cada|los) {day}s?)",
    fillers="a|al|la|las|el|los|para|por|sobre|próximo|que viene|de|y|en punto",
    between=("de",),
    relative_words=r"(?:en|dentro de)\s+(.+)",
)

TIME_WORDS: Mapping[str, TimeWords] = {
    table.language: table for table in (_ENGLISH, _GERMAN, _SWEDISH, _FRENCH, _SPANISH)
}
"""Every language that times are understood in."""
