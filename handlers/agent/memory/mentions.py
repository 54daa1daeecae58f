"""What a note speaks of, by its words: for "forget everything about …" and "who told you that"."""

from __future__ import annotations

from handlers.agent.memory.lexical import content_words, plain_words
from handlers.agent.memory.stage import Note
from handlers.language import primary

_ENDINGS = frozenset({"s", "es", "n", "en", "ns", "er", "ar", "or"})
"""What a word may have more or less than another and be the same: plurals and genitives."""

_SHORTEST_STEM = 3

_SHORTEST_SHARED = {"en": 3}
"""Letters of a word by which an answer shows what it was taken from. In English the small words are known; in other
languages they are told by their length."""


def mentions(note: Note, subject: str) -> bool:
    """Whether a note, or what is known about it, has all the words of a subject."""
    meaning = note.meaning
    text = " ".join([note.content, *meaning.keywords, *meaning.tags, meaning.context, meaning.subject])
    words = frozenset(plain_words(text))
    wanted = content_words(subject) or plain_words(subject)
    return bool(wanted) and all(any(_same_word(word, other) for other in words) for word in wanted)


def _same_word(one: str, other: str) -> bool:
    """Whether two words differ by an ending at most: 'bike' and 'bikes', but not 'ann' and 'anna'."""
    short, long = sorted((one, other), key=len)
    if short == long:
        return True
    return len(short) >= _SHORTEST_STEM and long.startswith(short) and long[len(short) :] in _ENDINGS


def telling_words(text: str, language: str) -> set[str]:
    """The words of a sentence by which another one shows that it speaks of the same."""
    shortest = _SHORTEST_SHARED.get(primary(language), 4)
    return {word for word in content_words(text) if len(word) >= shortest or word.isdigit()}
