"""What is never remembered: codes, passwords, card and account numbers, keys, identity numbers.

A rule looks for a telling word and a value beside it ("the alarm code is 4711"), or for a value that proves itself by
its check digits (a card number, an IBAN). Anything the rules miss is stored like every other note.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from handlers.agent.memory.secret_words import ENGLISH, LANGUAGES, SecretWords
from handlers.language import primary


class SecretKind(StrEnum):
    """What must not be kept; the answer names it."""

    CODE = "code"
    """Of a door, an alarm, a safe, a phone: PINs and combinations."""
    PASSWORD = "password"  # noqa: S105
    CARD = "card"
    BANK = "bank-account"
    KEY = "key"
    """Of an interface; tokens."""
    IDENTITY = "identity-number"
    """Social security and national identity numbers."""


@dataclass(frozen=True)
class Secret:
    """A secret in a text."""

    kind: SecretKind
    start: int
    end: int
    """Where its value stands: `text[start:end]`."""


_SOON = (
    r"(?:(?:now|again|currently|still|probably|simply|just|jetzt|nun|wieder|einfach|nu|igen|maintenant|désormais|ahora|"
    r"the number|number|numbers|the digits|die zahl|nummer|siffrorna|le|el|numéro|número)[ ,:]+){0,3}"
)
"""Fillers between 'is' and the value."""

_GAP = r"(?:(?![.!?;\n](?:\s|$)).){0,60}?"
"""Between the word and 'is': 'for the back door of the garage'; not beyond the sentence."""

_OF = rf"(?:\s+(?:for|of|to|from|für|vom|von|zum|zur|des|der|på|till|av|de|du|des|pour|del|para|a)\b{_GAP})?"
"""The same behind 'password', where 'the password manager is great' must not count."""

_THE = (
    r"(?:the|my|our|your|his|her|their|\w+'s|der|die|das|mein|meine|unser|unsere|den|det|min|vår|le|la|mon|notre|el|mi|"
    r"nuestr[ao])"
)

_NOBODY = (
    r"(?:what|which|where|who|that|this|it|here|there|one|was|wie|wo|welches|das|dies|hier|da|vad|vilket|var|det|här|"
    r"quel|quelle|ce|c|où|voici|cuál|qué|est[aeo]|aquí|and|but|so|und|och|et|y)"
)
"""Words that may stand before 'is the password' without being it."""

_DIGITS = r"(?<![\w.:/+#-])[#*]?\d(?:[ .-]?\d){2,15}[#*]?(?![:/]\d|\w|,\d)"
_MIXED = (
    r"(?<![\w.:/+#-])(?=[a-z#*-]*\d)(?=[\d#*-]*[a-z])(?!\d+(?:st|nd|rd|th|h|am|pm|e|er|ème)\b)"
    r"[a-z\d#*-]{4,}(?![:/]\d|\w)"
)

_IS = r"\s+(?:is|was|ist|war|är|est|es)\s+"
_CHANGE = r"(?:chang|set|updat|reset|switch|änder|änd|stell|bytt?|modifi|mis|mett|cambi|pon|pus)\w*"
_TO = r"(?:to|auf|in|till|à|en|a|por)"

_CARD_CHECK = r"(?:cv[vc]2?|prüfziffer|kartenprüfnummer|cryptogramme)"
_CARD_NUMBER = (
    r"(?:(?:credit|debit|bank) ?card|kredit-?karten?-?|kort|carte (?:bancaire|de crédit)|tarjeta(?: de crédito)?)"
    r"\s*(?:number|nummer|numret|numéro|número)?"
)

_ENTERED = (
    r"\b(?:enter|type(?: in)?|press|punch in|dial|key in|use|tippe?|wähle?|gib|slå|knappa in|ange|tapez?|composez?"
    r"|saisis(?:sez)?|marca|teclea|introduce|opens? with|unlocks? with|öffnet (?:man )?mit|öppnas med|s'ouvre avec"
    r"|se abre con)\s+(?P<value>[#*]?\d(?:[ -]?\d){3,7}[#*]?)"
    r"(?=\s*(?:$|[.,;!?]|to|for|at|on|as|and|ein|um|für|am|an|på|för|i|pour|sur|à|para|en)(?:\W|$))"
)
"""A number that somebody types; it is a code where the sentence is also about one of these:"""

_OPENS = (
    r"\b(?:unlock\w*|disarm\w*|opens?|safe|alarm|gate|locks?|padlock|vault|tür|tor|tresor|alarmanlage|schloss|öffne\w*"
    r"|dörr\w*|larm\w*|kassaskåp\w*|lås\w*|öppna\w*|porte|portail|coffre|serrure|ouvr\w+|puerta|caja fuerte|alarma"
    r"|cerradura|abr\w+)\b"
)

_PREFIXED_KEY = (
    r"\b(?:sk|pk|rk)[-_](?:[A-Za-z]+[-_])*[A-Za-z0-9_-]{16,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}"
    r"|\bglpat-[\w-]{16,}|\bxox[abprs]-[\w-]{10,}|\bA(?:KIA|SIA)[A-Z0-9]{16}\b|\bAIza[\w-]{30,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|-----BEGIN [A-Z ]*PRIVATE KEY-----|\bhf_[A-Za-z0-9]{20,}"
)
"""What providers' keys begin with; JSON web tokens; key files."""

_NAMED_KEY = (
    r"\b(?:api|access|secret|private|encryption|licen[cs]e)[ -]?(?:keys?|tokens?)|\btokens?\b|\b(?:api-?|zugangs)"
    r"(?:schlüssel|token)|\bapi-?nyckel\w*|\bclé (?:d')?api|\bclave (?:de )?(?:la )?api"
)

_RANDOM_BITS = 3.3
"""Bits per character from which a long token is random: English words run together have about 3 in 20 characters."""

_SHORTEST_TOKEN = 20

_CARDS = r"\b(?:3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|35\d{14}|4\d{15}(?:\d{3})?|5\d{15}|2[2-7]\d{14}|6\d{15,18})\b"
"""Lengths and first digits that issuers use."""

_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
"""The check letter of a Spanish identity number is this one at the number modulo 23."""


def find_secret(text: str, language: str | None = None) -> Secret | None:
    """The first secret in a text, judged with the words of its language and English; of all languages when None."""
    for search in (_keys, _bank_accounts, _cards, _identity_numbers):
        for secret in search(text):
            return secret
    rules = _rules(primary(language) if language else "")
    masked = rules.harmless.sub(lambda found: " " * len(found[0]), text)
    for kind, pattern in rules.patterns:
        found = pattern.search(masked)
        if found:
            return Secret(kind, *found.span("value"))
    for found in re.finditer(_ENTERED, masked, re.IGNORECASE):
        if re.search(_OPENS, _sentence(masked, found.start()), re.IGNORECASE):
            return Secret(SecretKind.CODE, *found.span("value"))
    return None


@dataclass(frozen=True)
class _Rules:
    harmless: re.Pattern[str]
    patterns: tuple[tuple[SecretKind, re.Pattern[str]], ...]


@cache
def _rules(language: str) -> _Rules:
    """The patterns for a language, or for all when it is none that is known."""
    known = LANGUAGES.get(language)
    languages = [ENGLISH, known] if known else list(LANGUAGES.values())

    def words(part: Callable[[SecretWords], str]) -> str:
        return "(?:" + "|".join(part(of) for of in languages) + ")"

    is_ = rf"\s*(?:\b|'s\b){words(lambda of: of.be)}(?:\s*:)?\s+"
    be = rf"(?:\s*[:=]\s*|{is_}|'s\s+|\b{_GAP}{words(lambda of: of.change)}\s+)"
    number = words(lambda of: of.numbers)
    spoken = rf"\b{number}(?:[ ,-]+{number}){{1,15}}\b|\b\w+(?:hundert|tausend)\w+\b"
    unit = rf"(?!\s*-?\s*(?:{words(lambda of: of.unit)}\b|[€$£%]))"
    value = rf"(?P<value>{_DIGITS}|{_MIXED}|{spoken}){unit}"
    many = rf"(?P<value>{_DIGITS}|\b{number}(?:[ ,-]+{number}){{2,15}}\b){unit}"
    code = rf"\b{words(lambda of: of.code)}\b"
    password = rf"\b{words(lambda of: of.login)}\b"
    none = rf"(?!{words(lambda of: of.no_login)}(?![\w-])|\w+(?:ed|ing)\b|ge\w+(?:t|en)\b)"
    few = r"(?:[\w'-]+\s+){0,2}?"
    strong = r"(?P<value>(?=\S*\d)\S{6,}|\d{4,})"
    number_of = r"(?P<value>(?:\b[a-z]{2} ?)?\d(?:[ .-]?\d){5,20})(?!\w)"
    patterns = (
        (SecretKind.PASSWORD, rf"{password}{_OF}{be}{_SOON}{none}(?P<value>[^\s.,;!?]{{3,}})"),
        (SecretKind.PASSWORD, rf"{password}[ ,]+{strong}"),
        (SecretKind.PASSWORD, rf"(?<![\w'])(?!{_NOBODY}\b)(?P<value>[^\s,;!?]{{3,}}){_IS}{_THE}\s+{few}{password}"),
        (SecretKind.CARD, rf"\b{_CARD_CHECK}\b{_GAP}(?P<value>\d{{3,4}})\b"),
        (SecretKind.CARD, rf"\b{_CARD_NUMBER}\b{_GAP}(?P<value>\d(?:[ -]?\d){{7,18}})(?!\w)"),
        (SecretKind.IDENTITY, rf"\b{words(lambda of: of.identity)}\b{_GAP}{number_of}"),
        (SecretKind.BANK, rf"\b{words(lambda of: of.account)}\b{_GAP}{number_of}"),
        (SecretKind.KEY, rf"(?:{_NAMED_KEY})\b{_OF}{be}(?P<value>(?=\S*\d)\S{{8,}})"),
        (SecretKind.CODE, rf"{code}{_GAP}{be}{_SOON}{value}"),
        (SecretKind.CODE, rf"{code}[ ,]+{_SOON}{many}"),
        (SecretKind.CODE, rf"\b{_CHANGE}\b{_GAP}{code}{_GAP}\b{_TO}\s+{_SOON}{value}"),
        (SecretKind.CODE, rf"{value}\s+{words(lambda of: of.be)}\s+{_SOON}{_THE}\s+{few}{code}"),
    )
    return _Rules(
        re.compile(rf"\b{words(lambda of: of.harmless)}\b", re.IGNORECASE),
        tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in patterns),
    )


def _keys(text: str) -> Iterator[Secret]:
    for found in re.finditer(_PREFIXED_KEY, text):
        yield Secret(SecretKind.KEY, *found.span())
    for found in re.finditer(rf"(?<![\w/.@:+-])[A-Za-z0-9+/_=-]{{{_SHORTEST_TOKEN},}}(?![\w/.@])", text):
        token = found[0]
        kinds = sum(bool(re.search(kind, token)) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
        hexadecimal = re.fullmatch(r"[0-9a-f]{32,}|[0-9A-F]{32,}", token) is not None and kinds > 1
        if hexadecimal or (kinds == 3 and "/" not in token and _entropy(token) > _RANDOM_BITS):
            yield Secret(SecretKind.KEY, *found.span())


def _bank_accounts(text: str) -> Iterator[Secret]:
    for found in re.finditer(r"\b[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,4})?\b", text):
        # What follows it in the sentence may look like its last group.
        for end in range(len(found[0]), 14, -1):
            account = found[0][:end].replace(" ", "").upper()
            if 15 <= len(account) <= 34 and _iban_checks(account):
                yield Secret(SecretKind.BANK, found.start(), found.start() + end)
                return


def _cards(text: str) -> Iterator[Secret]:
    for found in re.finditer(r"(?<![\w+.])\d(?:[ -]?\d){13,18}(?![\w])", text):
        digits = re.sub(r"\D", "", found[0])
        if re.fullmatch(_CARDS, digits) and _luhn_checks(digits):
            yield Secret(SecretKind.CARD, *found.span())


def _identity_numbers(text: str) -> Iterator[Secret]:
    for found in re.finditer(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])", text):  # United States
        yield Secret(SecretKind.IDENTITY, *found.span())
    for found in re.finditer(r"\b(?![DFIQUV])[A-Z](?![DFIQUVO])[A-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b", text):  # Britain
        yield Secret(SecretKind.IDENTITY, *found.span())
    for found in re.finditer(r"(?<![\w-])(?:19|20)?(\d{2}(?:0\d|1[0-2])(?:[0-2]\d|3[01]))[-+](\d{4})(?![\w-])", text):
        if _luhn_checks(found[1] + found[2]):  # Sweden
            yield Secret(SecretKind.IDENTITY, *found.span())
    for found in re.finditer(
        r"(?<!\w)([12]) ?(\d{2}) ?(0[1-9]|1[0-2]) ?(\d{2}|2[AB]) ?(\d{3}) ?(\d{3}) ?(\d{2})(?!\w)", text
    ):  # France
        number = "".join(found.groups()[:6]).replace("2A", "19").replace("2B", "18")
        if 97 - int(number) % 97 == int(found[7]):
            yield Secret(SecretKind.IDENTITY, *found.span())
    for found in re.finditer(r"\b([XYZ]?)(\d{7,8})-?([A-Z])\b", text):  # Spain
        number = f"{'XYZ'.index(found[1]) if found[1] else ''}{found[2]}"
        if len(number) == 8 and _DNI_LETTERS[int(number) % 23] == found[3]:
            yield Secret(SecretKind.IDENTITY, *found.span())
    for found in re.finditer(r"\b\d{2} ?(?:[0-2]\d|3[01])(?:0\d|1[0-2])\d{2} ?[A-Z] ?\d{3}\b", text):  # Germany
        yield Secret(SecretKind.IDENTITY, *found.span())


def _sentence(text: str, place: int) -> str:
    begin = max(text.rfind(mark, 0, place) for mark in ".!?\n") + 1
    ends = [end for mark in ".!?\n" if (end := text.find(mark, place)) >= 0]
    return text[begin : min(ends, default=len(text))]


def _entropy(token: str) -> float:
    """Bits per character."""
    return -sum(n / len(token) * math.log2(n / len(token)) for n in Counter(token).values())


def _iban_checks(account: str) -> bool:
    """ISO 13616: the rearranged number modulo 97 is 1."""
    moved = account[4:] + account[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def _luhn_checks(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0
