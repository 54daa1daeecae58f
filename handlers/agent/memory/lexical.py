"""What is searched of a note and of a question: the words for full text, the text for the embedding."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence

from handlers.agent.memory.heuristics import find_keywords
from handlers.agent.memory.stage import Note, Query
from handlers.agent.memory.vocabulary import STOP

_MOST_WORDS = 24
"""Of one search: a spoken question has ten, and each takes its time in a large store."""

_FEW_WORDS = 2
"""A question with fewer words of its own ("and the other one?") is searched together with the turn before."""

_WORD = re.compile(r"[^\W_]+", re.UNICODE)

_QUESTION = frozenset(_WORD.findall("tell know remind ask say told said did does whose much many long often last time"))
"""Words that ask; a note about the same thing need not have them."""


def plain_words(text: str) -> list[str]:
    """The words of a text in lower case, without accents: 'Zoë's' is 'zoe' and 's'."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return _WORD.findall("".join(char for char in decomposed if not unicodedata.combining(char)))


def content_words(text: str, without: Collection[str] = ()) -> list[str]:
    """The words that mean something, each once, but for those of `without`."""
    words = dict.fromkeys(plain_words(text))
    return [word for word in words if word not in STOP and word not in without and (len(word) > 1 or word.isdigit())]


def question(query: Query) -> str:
    """What is really asked: the turn before as well, when the question says too little by itself."""
    if query.previous and len(content_words(query.text, _QUESTION)) < _FEW_WORDS:
        return f"{query.previous} {query.text}"
    return query.text


def match_expression(text: str) -> str:
    """An FTS5 query for `Journal.lexical`: any of the words, in a note (which counts twice) or in the one before it.

    Empty without words. FTS5 finds word stems itself.
    """
    words = content_words(text)
    telling = [word for word in words if word not in _QUESTION] or words
    return " OR ".join(f'"{word}"' for word in telling[:_MOST_WORDS])


def embedding_text(note: Note, called: str = "") -> str:
    """What is embedded of a note: who said it, its content, and what is known about it. `called` names the speaker."""
    speaker = called or note.source.speaker
    meaning = note.meaning
    words: Sequence[str] = meaning.keywords or find_keywords(note.content)
    lines = [
        f"{speaker}: {note.content}" if speaker else note.content,
        f"keywords: {', '.join(words)}" if words else "",
        f"tags: {', '.join(meaning.tags)}" if meaning.tags else "",
        meaning.context,
    ]
    return "\n".join(line for line in lines if line)
