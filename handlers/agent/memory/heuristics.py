"""What can be known about a note without a language model: its keywords, and in English what it is about.

A fact has a subject, an attribute and a value: "Anna's birthday is 3 May" is anna / birthday / 3 may. Two facts with
the same subject and attribute and different values contradict each other where the attribute has one value at a time.
How alike two sentences look says nothing about that: "I like coffee" and "I hate coffee" are 0.8 similar.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from handlers.agent.memory.secrets import Secret, find_secret
from handlers.agent.memory.stage import Meaning
from handlers.agent.memory.vocabulary import (
    ARTICLES,
    ASKING,
    AUXILIARIES,
    COMMANDS,
    FILLERS,
    MANY_VALUES,
    NUMBERS,
    ONE_VALUE,
    SAME_ATTRIBUTE,
    SELF,
    SMALL_TALK,
    SOMEBODY,
    SPELLINGS,
    STATES,
    STOP,
    TIMES,
    TOGETHER,
)

MOST_KEYWORDS = 8
"""Of one note: a spoken sentence has hardly more words that mean something."""

OPINION = "opinion of "
"""Begins the attribute of a liking: its value is 'likes' or 'dislikes'."""

HOUSEHOLD_SUBJECT = "household"
"""What "our address" is about."""


@dataclass(frozen=True)
class Fact:
    """What a sentence says, normalised."""

    subject: str
    """'anna', 'garage', 'spare key'."""
    attribute: str
    """'birthday', 'code', 'location', 'opinion of coffee'."""
    value: str
    updated: bool = False
    """The sentence itself says that it was different before ("is now", "not any more")."""


def find_keywords(text: str) -> tuple[str, ...]:
    """The words that mean something, in lower case: names and numbers first, then as they come."""
    words = list(_WORD.finditer(text))
    named: dict[str, None] = {}
    plain: dict[str, None] = {}
    for word in words:
        key = _singular_s(word.group())
        low = key.casefold()
        if low in STOP or (len(low) < 3 and not low.isdigit()):
            continue
        starts_sentence = _SENTENCE_START.search(text[: word.start()]) is not None
        is_name = (key[0].isupper() and not starts_sentence) or low[0].isdigit()
        (named if is_name else plain)[low] = None
    return tuple(dict.fromkeys([*named, *plain]))[:MOST_KEYWORDS]


def normalise(text: str) -> str:
    """Lower case, one spelling, no articles, no punctuation: what subjects, attributes and values are compared by."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    text = re.sub(r"[^\w\s'@.:/+-]", " ", text)
    words = [word.strip(".:'-/") for word in text.split()]
    return " ".join(SPELLINGS.get(word, word) for word in words if word and word not in ARTICLES)


def normalise_attribute(text: str) -> str:
    """Like `normalise`, with one word for what has several: 'date of birth' is 'birthday'."""
    plain = normalise(text)
    return SAME_ATTRIBUTE.get(plain, plain)


def find_fact(text: str, speaker: str = "") -> Fact | None:
    """What an English sentence states, or None. `speaker` is the name of who says "I" and "my"; without one, facts
    about "I" are nobody's and not found. What is only the state of the moment, as "the light is on", is no fact."""
    sentence = _bare(text)
    if not sentence or len(sentence) > _LONGEST_SENTENCE or sentence.endswith("?"):
        return None
    for pattern, build in _PATTERNS:
        found = pattern.fullmatch(sentence)
        if found is not None:
            fact = build(found, speaker)
            if fact is not None and fact.subject and fact.attribute and fact.value:
                return fact
    return None


def describe(text: str, speaker: str = "") -> Meaning:
    """Keywords and, where a pattern fits, subject and attribute. `speaker` as in `find_fact`."""
    fact = find_fact(text, speaker)
    keywords = find_keywords(text)
    return Meaning(keywords, subject=fact.subject if fact else "", attribute=fact.attribute if fact else "")


def find_secret_of_note(content: str, meaning: Meaning, language: str | None = None) -> Secret | None:
    """A secret in a note or in what is known about it; its place is that in no one text. `language` as for
    `find_secret`. Words of its own ("code", "4711") are also looked at side by side."""
    words = (*meaning.keywords, *meaning.tags)
    own = ", ".join(word for word in words if word.casefold() not in content.casefold())
    parts = (content, meaning.context, meaning.subject, meaning.attribute, *words, own)
    return find_secret(_PART_END.join(part for part in parts if part), language)


def has_one_value(attribute: str) -> bool:
    """Whether an attribute certainly has one value at a time, so that a new one replaces the old."""
    return attribute in ONE_VALUE or attribute.startswith((_FAVOURITE, OPINION)) or _last(attribute) in ONE_VALUE


def has_many_values(attribute: str) -> bool:
    """Whether an attribute certainly has several values side by side: an allergy does not replace another."""
    return _last(attribute) in MANY_VALUES


def takes_back(text: str) -> bool:
    """Whether an English sentence says that something is no longer so."""
    return _NOT_ANY_MORE.search(text) is not None


def is_state(text: str) -> bool:
    """Whether an English sentence only says how something is at the moment: 'the light is on', 'Anna is away'."""
    found = _STATE.fullmatch(_bare(text))
    return found is not None and found["state"].casefold() in STATES


def replaces(new: Fact, old: Fact) -> bool:
    """Whether the newer of two facts makes the older one untrue."""
    if (new.subject, new.attribute) != (old.subject, old.attribute) or has_many_values(new.attribute):
        return False
    if same_value(new.value, old.value):
        return False
    return has_one_value(new.attribute) or new.updated


def same_value(one: str, other: str) -> bool:
    """Whether two values are the same, or one says the other more exactly: 'Berlin', '5 Elm Street in Berlin'."""
    first, second = _essence(normalise(one)), _essence(normalise(other))
    return first <= second or second <= first


def may_hold_facts(question: str) -> bool:
    """Whether it is worth asking a language model for facts in what somebody said. Commands, greetings and questions
    are not, unless more is said beside them; in doubt, as in other languages than English, it is."""
    return any(_may_hold_facts(normalise(clause).split()) for clause in _CLAUSES.split(question))


def _may_hold_facts(words: Sequence[str]) -> bool:
    if len(words) < _FEWEST_WORDS or " ".join(words[:2]) in SMALL_TALK or words[0] in SMALL_TALK | ASKING:
        return False
    return words[0] not in COMMANDS or words[:2] == ["call", "me"]


_PART_END = " .\n"
"""Between texts that are searched for secrets at once: no rule looks beyond the end of a sentence."""

_LONGEST_SENTENCE = 300
"""Characters in which a pattern is looked for; a fact is short, and patterns are not run over a lecture."""

_FEWEST_WORDS = 3
"""'Yes please', 'good night': too short for a fact."""

_FAVOURITE = "favourite "

_CLAUSES = re.compile(r"[,.;!?:]\s+")
_SENTENCE_START = re.compile(r"(?:^|(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)[.!?:])\s*$")
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_NOT_ANY_MORE = _compile(r"\b(no longer|stopped)\b|(\bnot|n['’]t|\bnever)\b.*\bany ?more\b")
_STATE = _compile(
    r".{1,100}?(?: is| are|'s|'re)(?: now| currently| still| already)?(?: turned| switched)? (?P<state>\w+)"
)
_ASKED = _compile(
    r"(?:(?:please|hey|okay|ok),? )*(?:(?:remember|note|keep in mind|don't forget)(?: that| this)?(?:[:,] | ))?"
)
_PLACE = _compile(r"(in|on|under|at|behind|beside|next to|inside|above|below|near|between|with) \S")


def _bare(text: str) -> str:
    """One sentence without the words that ask for it to be remembered."""
    text = " ".join(unicodedata.normalize("NFKC", text).replace("’", "'").split())
    asked = _ASKED.match(text)
    return text[asked.end() if asked else 0 :].rstrip(" .!")


def _singular_s(word: str) -> str:
    """'Anna' for "Anna's"."""
    return re.sub(r"['’]s$", "", word)


def _last(attribute: str) -> str:
    return attribute.rsplit(" ", 1)[-1]


def _essence(value: str) -> set[str]:
    """The words by which two values are compared: '3 may' for 'on the 3rd of May'."""
    words = {NUMBERS.get(word, re.sub(r"^(\d+)(st|nd|rd|th)$", r"\1", word)) for word in value.split()}
    return words - FILLERS or words


def _resolve(words: str, speaker: str) -> str:
    """Who or what is meant: "anna's sister" for 'my sister' when Anna speaks; '' where that cannot be known."""
    parts = words.split()
    lower = [part.casefold() for part in parts]
    if not parts or lower[0] in SOMEBODY or any(w in AUXILIARIES or w.endswith(("'d", "'ll", "'ve")) for w in lower):
        return ""
    if lower[0] in SELF | TOGETHER:
        names = " ".join(part for part in parts[2:] if part[0].isupper())
        if names:
            return normalise(names)  # 'my son Max' is Max for everybody
        rest = normalise(" ".join(parts[1:]))
        if rest and lower[0] not in ("my", "our"):
            return ""
        if lower[0] in TOGETHER:
            return rest or HOUSEHOLD_SUBJECT
        if not speaker:
            return ""
        return f"{normalise(speaker)}'s {rest}" if rest else normalise(speaker)
    return normalise(words)


def _without_now(value: str) -> tuple[str, bool]:
    """The value, and whether it was said to be a new one."""
    plain = re.sub(r"^now\s+|\s+(now|from now on|these days)$", "", value, flags=re.IGNORECASE)
    return plain, plain != value


def _fact(subject: str, attribute: str, value: str, *, updated: bool = False) -> Fact | None:
    value, now = _without_now(value)
    plain = normalise(value)
    if plain in STATES or plain.split()[:1] == ["not"]:
        return None
    return Fact(subject, normalise_attribute(attribute), plain, updated or now)


def _of(found: re.Match[str], speaker: str) -> Fact | None:
    """'The X of Y is Z', "Y's X is Z", 'my X is Z'."""
    owner, what = found["owner"], found["what"]
    possessors = re.split(r"'s?\s+", what)
    if len(possessors) > 1:  # "my sister's birthday": the birthday of my sister
        owner, what = " ".join([owner, *possessors[:-1]]), possessors[-1]
    subject = _resolve(owner, speaker)
    if not subject:
        return None
    attribute = normalise_attribute(what)
    if not has_one_value(attribute) and not has_many_values(attribute):
        where = _place(f"{subject}'s {attribute}", found["value"])
        if where is not None:
            return where
    return _fact(subject, what, found["value"])


def _thing(found: re.Match[str], speaker: str) -> Fact | None:
    """'The garage code is 4411' is the code of the garage; 'the spare key is under the mat' is where it is."""
    thing = normalise(found["what"])
    for words in (2, 1):  # 'phone number' before 'number'
        *owner, _ = parts = thing.rsplit(" ", words)
        attribute = SAME_ATTRIBUTE.get(" ".join(parts[1:]), " ".join(parts[1:]))
        if owner and len(parts) == words + 1 and attribute in ONE_VALUE | {"phone number"}:
            return _fact(parts[0], attribute, found["value"])
    return _place(thing, found["value"])


def _place(subject: str, value: str) -> Fact | None:
    """Where a thing is kept, or when it takes place."""
    plain, now = _without_now(value)
    if not _PLACE.match(plain):
        return None
    words = normalise(plain).split()
    timely = words[1] in TIMES or words[1][:1].isdigit()
    return Fact(subject, "time" if timely else "location", " ".join(words), now)


def _liking(found: re.Match[str], speaker: str) -> Fact | None:
    """'I like Z', 'Anna hates Z', "I don't like Z any more"."""
    any_more = re.sub(r"\s+any ?more$", "", found["value"], flags=re.IGNORECASE)
    thing, now = _without_now(re.sub(r"\s+(very much|a lot|at all|so much)$", "", any_more, flags=re.IGNORECASE))
    thing = _resolve(thing, speaker)
    likes = found["verb"].casefold().startswith(("like", "love", "enjoy", "adore")) != bool(found["negated"])
    changed = now or any_more != found["value"] or (found["negated"] or "").casefold().startswith("no longer")
    if not thing:
        return None
    return _fact(_resolve(found["who"], speaker), OPINION + thing, "likes" if likes else "dislikes", updated=changed)


def _is(attribute: str) -> Callable[[re.Match[str], str], Fact | None]:
    """A pattern that is about one attribute."""

    def build(found: re.Match[str], speaker: str) -> Fact | None:
        return _fact(_resolve(found["who"], speaker), attribute, found["value"])

    return build


_WHO = r"(?P<who>[^\W\d][\w'-]*(?: [^\W\d][\w'-]*){0,3}?)"
_AM = r"(?: is| am| are|'s|'m|'re) "

# The first that fits and makes sense wins.
_PATTERNS = (
    (
        _compile(
            _WHO + r" (?P<negated>don't |do not |doesn't |does not |no longer )?(?:(?:really|also|still|always|just) )?"
            r"(?P<verb>likes?|loves?|enjoys?|adores?|hates?|dislikes?|detests?) (?P<value>.+)"
        ),
        _liking,
    ),
    (_compile(_WHO + r" (?:now )?(?:lives?|moved) (?:in|at|on|to) (?P<value>.+)"), _is("address")),
    (_compile(_WHO + r" (?:now )?works? (?:in|at|for) (?P<value>.+)"), _is("workplace")),
    (_compile(_WHO + r" (?:was|were) born on (?P<value>.+)"), _is("birthday")),
    (_compile(_WHO + _AM + r"(?:called|named) (?P<value>.+)"), _is("name")),
    (_compile(_WHO + _AM + r"(?P<value>\d{1,3}) years old"), _is("age")),
    (_compile(_WHO + _AM + r"(?:also )?allergic to (?P<value>.+)"), _is("allergy")),
    (_compile(r"(?:the )?(?P<what>[^\s']+(?: [^\s']+){0,2}?) of (?P<owner>.+?) (?:is|are) (?P<value>.+)"), _of),
    (_compile(r"(?P<owner>my|our) (?P<what>.+?) (?:is|are) (?P<value>.+)"), _of),
    (_compile(r"(?P<owner>[^']{1,60})'s? (?P<what>[^']+?) (?:is|are) (?P<value>.+)"), _of),
    (_compile(r"the (?P<what>[^']+?) (?:is|are) (?P<value>.+)"), _thing),
)
