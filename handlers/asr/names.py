"""Names of rooms, devices and people: told to Whisper before it listens, and mended in what it heard."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz import fuzz, process

from handlers.asr.stage import Hints

_SURE = 80.0
"""Likeness, 0 to 100, from which a near miss is mended: "part of time" is "Party Time" (84), "dining floor" is not
"Dining Room" (76). bench/README.md has what it mends and invents."""

_ALONE_SURE = 85.0
"""The same for one word as one word: one letter more or less, or another one of seven."""

_MARGIN = 6.0
"""Points by which the nearest name must lead the next: about one letter of a name of eight."""

_WORD_SURE = 80.0
"""Likeness of each word to the one in its place: a name is not meant when one of its words was another one, as in
"bread lights" (75)."""

_SHORTEST = 5
"""Letters below which a name is joined or split ("t v") but never guessed: one slip makes four letters another word."""

_CALL_SURE = 80.0
"""Likeness of sounds from which the word after "hey" is the wake phrase's: "hey javis" is, "okay, not a" is not
"okay nabu" (75)."""

_HEARD = 60.0
"""Likeness from which a name counts as perhaps heard in a guess; below it, the client's order decides."""

_LONGEST = 6
"""Words of the longest name that is looked for in a transcript."""

_HOUSES = 32
"""Lists of names that are kept ready: a house has the same ones in every turn."""

_MOST_WORDS = 100
"""Words of a longer transcript are no command; it is left alone, so that the search stays short."""

_COMMON = frozenset(
    """
    a an the my your our his her its their this that these those it i you he she we they me him us them who what
    which when where why how and or but if so as than then at by for from in into of off on onto out over to under
    up down with about after before is are was were be been am do does did has have had can could will would should
    may might must not no yes all any some every both please now just also too very there here turn turned switch
    switched set put make dim open close lock unlock start stop run play pause show tell give get go add remove
    activate skip light lights lamp lamps door doors room rooms time
    """.split()  # noqa: SIM905 - a hundred quoted words would fill a page
)
"""Words of any command. No near miss begins or ends with one unless the name has it there too."""

_SMALL = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: str(number) for number, word in enumerate(_SMALL)}
"""Numbers that Whisper writes as words now and then; larger ones it writes in digits."""

_SOUNDS = (
    (re.compile(r"^[kg]n"), "n"),
    (re.compile(r"^wr"), "r"),
    (re.compile(r"^wh"), "w"),
    (re.compile(r"(?<=[aeiouy][^aeiouy])e$"), ""),  # silent
    (re.compile(r"ph"), "f"),
    (re.compile(r"t?ch"), "C"),
    (re.compile(r"sh"), "S"),
    (re.compile(r"th"), "T"),
    (re.compile(r"c(?=[eiy])|z"), "s"),
    (re.compile(r"ck|c|q"), "k"),
    (re.compile(r"x"), "ks"),
    (re.compile(r"(?<!^)[hwy]|[aeiou]"), "a"),
    (re.compile(r"(.)\1+"), r"\1"),
)
"""English spelling to sounds, roughly: one letter for each consonant, "a" for any run of vowels."""

_CALLS = frozenset(["hey", "okay", "hi", "hello"])
"""Said before a name to call somebody, whether or not the wake phrase has it."""

_OKAY = {"ok": "okay"}
"""Spelled in two ways that do not sound alike by the rules above."""

_POSSESSIVE = re.compile(r"['’][sS]?\b")
"""After a name that is spoken about: "Jarvis's lamp" calls nobody."""

_SEPARATORS = re.compile(r"^[\s,.;:!?…–—\-]+")
"""What Whisper writes after somebody was called."""

_SPECIAL = re.compile(r"<+\|+|\|+>+")
"""The brackets of Whisper's special tokens: "<|endoftext|>" in a name would be taken at its word."""

_WORD = re.compile(r"[^\W_]+(?:['’](?![sS]\b)[^\W_]+)*")
_GAP = re.compile(r"(?:['’][sS])?[\s\-]*|\.")
"""What may stand between two words of one name: no comma, no end of a sentence; the stop of "T.V." may."""


def prompt_words(
    hints: Hints, budget_tokens: int, count_tokens: Callable[[str], int], heard: str | None = None
) -> list[str]:
    """Phrases for Whisper's previous text, in the order in which to write them, to be joined by ", ".

    As many as the budget holds, names before terms, each whole; what resembles `heard`, an earlier guess, before the
    rest, which keeps the client's order. The most important comes last: a prompt that is too long loses its front, and
    else the order makes no difference.
    `count_tokens` counts a phrase with the space and the comma around it.
    """
    chosen: list[str] = []
    seen: set[str] = set()
    for phrase in [*_by_relevance(hints.names, heard), *_by_relevance(hints.terms, heard)]:
        if phrase.casefold() in seen:
            continue
        seen.add(phrase.casefold())
        cost = count_tokens(f" {phrase},")
        if cost <= budget_tokens:  # after one that is too long, a shorter one may still fit
            budget_tokens -= cost
            chosen.append(phrase)
    return chosen[::-1]


def mend(text: str, names: Sequence[str]) -> str:
    """The transcript with near misses of names written as the names are: "bed lights" becomes "Bed Light".

    Only where one name is clearly nearest. Words that are a name already stay as they are, in whatever case.
    """
    words = _words(text)
    known = _known(tuple(names))
    if not known or not words or len(words) > _MOST_WORDS:
        return text
    free = _free(words, known)
    accepted: list[_Match] = []
    for match in sorted(_near_misses(words, known, free), key=lambda match: (-match.likeness, match.first)):
        if all(free[match.first : match.last + 1]):
            free[match.first : match.last + 1] = [False] * (match.last + 1 - match.first)
            accepted.append(match)
    for match in sorted(accepted, key=lambda match: -match.first):
        text = text[: words[match.first].start] + match.name + text[words[match.last].end :]
    return text


def without_wake_phrase(text: str, phrase: str) -> str:
    """What follows the wake phrase or its end at the beginning of a transcript: "Now be what time is it?" of
    "okay nabu" becomes "what time is it?". Only words that sound the same go, and the last word only if it is the same.
    """
    words = _words(text)
    wanted = [_OKAY.get(word.key, word.key) for word in _words(phrase)]
    heard = [_OKAY.get(word.key, word.key) for word in words]
    for skipped in range(len(wanted)):
        part = wanted[skipped:]
        sizes = (len(part), len(part) + 1, *range(1, len(part)))  # as many words as the phrase has come first
        for size in (size for size in sizes if size <= len(heard)):
            said = heard[:size]
            if said[0] in _CALLS and len(part) == 1:
                said = said[1:]  # "Hey Alexa"
            if size == len(words) and "".join(said) != "".join(part):
                continue
            if said and _same_call(said, part) and not _POSSESSIVE.match(text, words[size - 1].end):
                return _SEPARATORS.sub("", text[words[size - 1].end :])
    return text


@dataclass(frozen=True)
class _Word:
    key: str
    """Lower case, without accents and apostrophes; "two" is "2"."""
    start: int
    end: int
    gap: str | None
    """What stands between it and the word before when both may belong to one name, else None."""


@dataclass(frozen=True)
class _Name:
    written: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class _Match:
    """Words from `first` to `last` that are probably `name`."""

    likeness: float
    first: int
    last: int
    name: str


def _words(text: str) -> list[_Word]:
    words: list[_Word] = []
    for found in _WORD.finditer(text):
        gap = _GAP.fullmatch(text, words[-1].end, found.start()) if words else None
        words.append(_Word(_fold(found.group()), found.start(), found.end(), gap.group() if gap else None))
    return words


def _fold(word: str) -> str:
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", word.casefold()) if letter.isalnum())
    return _NUMBERS.get(plain, plain)


@lru_cache(_HOUSES)
def _known(names: tuple[str, ...]) -> Mapping[str, _Name]:
    """Names by their words run together; of two that differ only in case or spaces, the first."""
    known: dict[str, _Name] = {}
    for name in names:
        words = tuple(word.key for word in _words(name))
        if "".join(words) and len(words) <= _LONGEST:
            known.setdefault("".join(words), _Name(" ".join(name.split()), words))
    return known


def _free(words: Sequence[_Word], known: Mapping[str, _Name]) -> list[bool]:
    """Which words are in no name as it is; longer names first."""
    free = [True] * len(words)
    keys = [word.key for word in words]
    exact = {name.words for name in known.values()}
    for size in range(min(_LONGEST, len(words)), 0, -1):
        for first in range(len(words) - size + 1):
            if tuple(keys[first : first + size]) in exact and all(free[first : first + size]):
                free[first : first + size] = [False] * size
    return free


def _near_misses(words: Sequence[_Word], known: Mapping[str, _Name], free: Sequence[bool]) -> Iterator[_Match]:
    """Runs of words in which one name is clearly nearest."""
    joined = list(known)
    for size in range(1, _LONGEST + 2):
        choices = [key for key in joined if abs(len(known[key].words) - size) <= 1]
        if not choices:
            continue
        for first in range(len(words) - size + 1):
            window = words[first : first + size]
            if not all(free[first : first + size]) or any(word.gap is None for word in window[1:]):
                continue
            keys = [word.key for word in window]
            nearest = process.extract("".join(keys), choices, scorer=fuzz.ratio, score_cutoff=_SURE - _MARGIN, limit=2)
            compound = any("-" in (word.gap or "") for word in window[1:])  # "part-time" is a word of its own
            if not nearest or nearest[0][1] < (100.0 if compound else _SURE):
                continue
            if len(nearest) == 2 and nearest[0][1] - nearest[1][1] < _MARGIN:
                continue
            name = known[nearest[0][0]]
            if _plausible(keys, name.words):
                yield _Match(nearest[0][1], first, first + size - 1, name.written)


def _plausible(heard: Sequence[str], name: Sequence[str]) -> bool:
    """Whether words that are spelled like a name can be that name misheard, not other words of the language."""
    if [word for word in heard if word.isdigit()] != [word for word in name if word.isdigit()]:
        return False
    if any(_is_common(word, other) for word, other in ((heard[0], name[0]), (heard[-1], name[-1]))):
        return False
    if "".join(heard) == "".join(name):
        return True
    if sum(map(len, name)) < _SHORTEST:
        return False
    if len(heard) < len(name):
        return False  # "network" is not "New York"
    if len(heard) > len(name):
        return _onset(heard[0]) == _onset(name[0])
    if len(name) == 1:  # most near misses of one word are other words: "long" of "Lounge", "garbage" of "Garage"
        return fuzz.ratio(heard[0], name[0]) >= _ALONE_SURE and _consonants(heard[0]) == _consonants(name[0])
    return all(_may_be(word, other) for word, other in zip(heard, name, strict=True))


def _same_call(said: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether words sound like a wake phrase; after a "hey" that was heard the name may be a little off."""
    if len(said) > 1 and len(wanted) > 1 and said[0] in _CALLS and wanted[0] in _CALLS:
        return fuzz.ratio(_sounds(said[1:]), _sounds(wanted[1:])) >= _CALL_SURE
    return _sounds(said) == _sounds(wanted)


def _is_common(heard: str, wanted: str) -> bool:
    return heard in _COMMON and heard.removesuffix("s") != wanted.removesuffix("s")


def _may_be(heard: str, wanted: str) -> bool:
    return _onset(heard) == _onset(wanted) and fuzz.ratio(heard, wanted) >= _WORD_SURE


def _onset(word: str) -> str:
    """The first sound, which is misheard least: "bed light" is not "red light"."""
    return _sounds([word])[:1]


def _consonants(word: str) -> str:
    return _sounds([word]).replace("a", "")


def _sounds(words: Sequence[str]) -> str:
    """How words run together sound: "now be" and "nabu" are alike."""
    sounds = ""
    for word in words:
        for spelled, sound in _SOUNDS:
            word = spelled.sub(sound, word)
        sounds += word
    return re.sub("a+", "a", sounds)


def _by_relevance(phrases: Sequence[str], heard: str | None) -> list[str]:
    """Cleaned phrases, what resembles `heard` first."""
    clean = [" ".join(_SPECIAL.sub(" ", phrase).split()) for phrase in phrases]
    clean = [phrase for phrase in clean if any(map(str.isalnum, phrase))]
    if not heard:
        return clean
    said = "".join(word.key for word in _words(heard))

    def likeness(phrase: str) -> float:
        found = fuzz.partial_ratio("".join(word.key for word in _words(phrase)), said)
        return found if found >= _HEARD else 0.0

    return sorted(clean, key=likeness, reverse=True)  # stable: equals keep the client's order
