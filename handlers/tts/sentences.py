"""Cuts a stream of text into the pieces that are synthesised one after the other.

Why it is done this way: the listener waits for the first piece, so a boundary is taken as soon as it is known.

- A sentence ends at its mark plus one whitespace character. Waiting for the next sentence to begin with a capital, as
  sentence splitters do, costs at least one more token of the model before first audio. Only where the dot may be an
  abbreviation or an ordinal is the next character awaited. The whitespace itself is awaited, because "21." may go
  on as "21.5" and "example." as "example.com".
- The first piece may be a clause: five words take Piper about 35 ms and give over a second of sound, and the rest of
  the sentence is written and synthesised meanwhile. Later pieces are whole sentences, they sound better.
- A piece has an upper bound, so text without any punctuation is spoken too and memory stays bounded.

This is why the package sentence-stream is not used: it awaits the capital, takes any short capitalised word ("Bob.")
for an abbreviation, splits at every "…" and removes asterisks from "2 * 3 * 4".

Cuts depend only on the text, never on how the stream was cut into deltas.
"""

from __future__ import annotations

import re

FIRST_CLAUSE_WORDS = 5
"""Words before a comma at which the first piece may end: over a second of sound, which covers synthesis of the rest."""
FIRST_CONJUNCTION_WORDS = 8
"""The same before "and", "but"…: there is no audible pause there, so it is worth it only in a long sentence."""
LONGEST_PIECE = 300
"""Characters: some 20 s of speech and 0.5 s of synthesis on two cores, longer than any sentence meant to be heard."""
_SHORTEST_CUT = 80
"""When a piece is too long, a clause mark before this position is not worth a cut; a space further on is better."""

_CONJUNCTIONS = {
    "en": "and|but|because|while|which|so",
    "de": "und|aber|weil|während|denn|sondern",
    "fr": "et|mais|parce|car|donc|tandis",
    "es": "y|pero|porque|mientras|aunque",
    "sv": "och|men|eftersom|medan|utan",
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ABBREVIATIONS = _words(
    "dr mr mrs ms mx prof st mt rev gen sen rep gov capt lt col sgt vs e.g i.e cf vol ed eds "  # en
    "hr fr str z.b d.h u.a o.ä bzw evtl ggf inkl exkl zzgl bspw vgl "  # de
    "mme mlle mgr env p.ex "  # fr
    "sr sra srta dra ud uds p.ej "  # es
    "t.ex bl.a d.v.s s.k m.m ung"  # sv
)
"""Words after which a dot does not end a sentence, in lower case without their last dot."""
_BEFORE_NUMBERS = _words(
    "no nos nr núm approx aprox ca fig abs pág kl "
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun"
)
"""The same, but only before a number: "No. 5" goes on, "No. It is off." does not."""
_ENDS_SOMETIMES = _words("a.m p.m etc inc ltd co corp jr usw u.s.w osv o.s.v")
"""Abbreviations that end a sentence when a capital follows."""
_DOT_ORDINALS = _words("de da nb nn no fi cs sk hu hr sl sr et lv tr")
"""Languages that write "3. November": there a small number's dot never ends a sentence."""

_CLOSERS = r"""["'”’»)\]*_~`]{0,8}"""
_BREAK = (
    r"(?P<line>[\r\n])"
    rf"|(?P<end>[.!?…؟।॥]{{1,16}}{_CLOSERS})(?=\s)"
    r"|(?P<wide>[。！？]{1,16}[”’」』）》】]{0,8})(?=[^。！？”’」』）》】])"  # Chinese, Japanese: no whitespace
    r"|(?P<clause>[,;:，；：、–—]|(?<=\s)-)(?=\s)"
    r"|(?<=\s)(?P<word>{conjunctions})(?=\s)"
)
_FENCE = re.compile(r"`{3,}|~{3,}")


class SentenceStream:
    """Text deltas in, pieces for the synthesizer out: the first maybe a clause, then sentences.

    Pieces are still markdown; `speakable` makes speech of them (and may leave nothing). Lines, list items and headings
    are pieces; fenced code is left out in silence, because nobody can use code that is read aloud.
    """

    def __init__(self, language: str = "en") -> None:
        """`language` is a tag like "en" or "de-CH"; an unknown one only loses the cuts at conjunctions."""
        primary = language.replace("_", "-").split("-")[0].lower()
        words = _CONJUNCTIONS.get(primary, r"(?!)")
        self._break = re.compile(_BREAK.replace("{conjunctions}", words))
        self._dot_ordinals = primary in _DOT_ORDINALS
        self._code = _CodeFilter()
        self._buffer = ""
        self._first = True

    def feed(self, delta: str) -> list[str]:
        """Take more text and return the pieces that are complete now."""
        pieces: list[str] = []
        text = self._code.feed(delta)
        # In slices, so that the buffer stays small and the work in proportion to the text.
        for start in range(0, len(text), LONGEST_PIECE):
            self._buffer += text[start : start + LONGEST_PIECE]
            pieces += self._cut()
        return pieces

    def finish(self) -> list[str]:
        """The end of the text: what remains. The stream can then be used for another text."""
        self._buffer += self._code.finish()
        pieces = self._cut()
        if rest := self._buffer.strip():
            pieces.append(rest)
        self._buffer, self._first = "", True
        return pieces

    def _cut(self) -> list[str]:
        pieces: list[str] = []
        while True:
            self._buffer = self._buffer.lstrip()
            end = self._boundary(self._buffer[: LONGEST_PIECE + 1])
            if end is None:
                return pieces
            piece, self._buffer = self._buffer[:end].rstrip(), self._buffer[end:]
            pieces.append(piece)
            self._first = self._first and not any(char.isalnum() for char in piece)

    def _boundary(self, text: str) -> int | None:
        """Where the piece at the beginning of `text` ends, or None when more text must come first.

        `text` is what a piece may have plus one character, so the answer is the same however much came at once.
        """
        for found in self._break.finditer(text):
            verdict: bool | None = True
            if found["end"]:
                verdict = self._ends_sentence(text, found)
            elif found["clause"] or found["word"]:
                least = FIRST_CONJUNCTION_WORDS if found["word"] else FIRST_CLAUSE_WORDS
                verdict = self._first and len(text[: found.start()].split()) >= least
            if verdict is None and len(text) <= LONGEST_PIECE:
                return None
            if verdict:
                return found.start() if found["word"] else found.end()
        return _forced_cut(text) if len(text) > LONGEST_PIECE else None

    def _ends_sentence(self, text: str, found: re.Match[str]) -> bool | None:
        """Yes, no, or None: the next character will tell."""
        marks = found["end"].rstrip("\"'”’»)]*_~`")
        if marks.strip(".…"):
            return True  # has a mark other than dots
        if text[found.end()] in "\r\n":
            return True
        following = text[found.end() :].lstrip()[:1]
        if len(marks) > 1 or marks == "…":
            return _unless(following, following.islower())  # "Well... yes" goes on, "Well... Yes" does not
        before = text[: found.start()].split()
        word = before[-1].lstrip("\"'“‘«([*_~`¿¡-").lower() if before else ""
        if word.isdigit():
            listed = len(before) == 1 or before[-2].endswith(":")  # "2. Open the door"
            return not listed and not (self._dot_ordinals and len(word) <= 2)
        if word in _ENDS_SOMETIMES:
            return _unless(following, following.islower())
        if word in _BEFORE_NUMBERS:
            return _unless(following, following.isdigit())
        return not (word in _ABBREVIATIONS or _is_initials(word))


class _CodeFilter:
    """Leaves out fenced code: between two runs of three or more backticks (or tildes). Never closed = never given."""

    def __init__(self) -> None:
        self._held = ""
        self._fence = ""

    def feed(self, delta: str) -> str:
        text, self._held = self._held + delta, ""
        # A run at the end may grow; three characters say all about it.
        run = len(text) - len(text.rstrip("`")) or len(text) - len(text.rstrip("~"))
        if run:
            text, self._held = text[:-run], text[-min(run, 3) :]
        return self._without_code(text)

    def finish(self) -> str:
        rest = self._without_code(self._held)
        self._held, self._fence = "", ""
        return rest

    def _without_code(self, text: str) -> str:
        out: list[str] = []
        at = 0
        for fence in _FENCE.finditer(text):
            if not self._fence:
                out.append(text[at : fence.start()] + "\n")
                self._fence = fence.group()[0]
            elif fence.group()[0] == self._fence:
                self._fence = ""
            at = fence.end()
        if not self._fence:
            out.append(text[at:])
        return "".join(out)


def _unless(following: str, goes_on: bool) -> bool | None:
    """The verdict that hangs on the next character: None while there is none."""
    return not goes_on if following else None


def _is_initials(word: str) -> bool:
    """Whether a word is single letters with dots between, as in "j" of "J. Smith" or "u.s"."""
    return all(len(part) == 1 and part.isalpha() for part in word.split("."))


def _forced_cut(text: str) -> int:
    """Where to cut text that is too long: behind the last clause mark, else at the last space, else hard."""
    room = text[:LONGEST_PIECE]
    clause = max((room.rfind(mark) + len(mark) for mark in (", ", "; ", ": ", " – ", " — ")), default=0)
    if clause > _SHORTEST_CUT:
        return clause
    space = max(room.rfind(" "), room.rfind("\t"))
    return space if space > 0 else LONGEST_PIECE
