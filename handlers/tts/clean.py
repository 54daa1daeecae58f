"""Text as it is written (markdown, emoji, links) to text as it is read aloud."""

from __future__ import annotations

import html
import re
import unicodedata

from handlers.tts.spoken import read_aloud
from handlers.tts.thoughts import without_thoughts
from handlers.tts.words import WORDS

_ROUNDS = 4
"""Taking off one layer may uncover another ("👍 **- x**"); two rounds are usual, the last one changes nothing."""

_CODE_BLOCK = re.compile(r"`{3,}|~{3,}")
_COMMENT = re.compile(r"<!--(?:(?!<!--|-->).)*-->", re.DOTALL)
_BLOCK_TAG = re.compile(r"</?(?:br|p|li|ul|ol|div|tr|h[1-6]|hr|table)(?:\s[^<>]{0,500})?/?>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][\w:.-]{0,30}(?:\s[^<>]{0,500})?/?>")
_TARGET = r"""\([^()\s]{0,2000}(?:\([^()\s]{0,200}\)[^()\s]{0,2000})?(?:\s{1,3}["'][^\n()]{0,200})?\s{0,3}\)"""
_IMAGE_OR_LINK = re.compile(rf"!?\[([^\[\]]{{0,500}})\](?:{_TARGET}|\[[^\[\]\n]{{0,100}}\])")
_CUT_LINK = re.compile(
    rf"\]{_TARGET}|\]\([^()\s]{{0,2000}}$"
)  # its words went with an earlier piece, or it was cut off
_REFERENCE = re.compile(r"^\s{0,3}\[[^\[\]\n]{1,100}\]:\s.*$|\[\^?\d{1,3}\]", re.MULTILINE)
_EMAIL = re.compile(r"(?<![\w.+-])(?:mailto:)?([\w.+-]{1,64})@([\w-]{1,63}(?:\.[\w-]{1,63}){1,5})")
_URL = re.compile(
    r"(?:https?|ftp)://(?:[^\s/@<>()]{1,100}@)?([^\s/?#:<>()\"'\]|*`]{1,255})([^\s<>()\"'\]|*`]*)", re.IGNORECASE
)
_DOMAIN = re.compile(
    r"(?<![\w.@/-])(?:www\.)?((?:[a-z0-9-]{1,63}\.){1,4}(?:com|org|net|io|dev|app|info|edu|gov|eu|uk|de|fr|es|se|local))"
    r"(?![\w@-])(/[^\s<>()\"'\]|*`]*)?",
    re.IGNORECASE,
)
_LINE_MARKS = re.compile(r"^(?:\s*(?:[*+•‣◦▪·–—-](?=\s)|>(?=[\s>])|#{1,6}(?=\s)|\[[ xX]\](?=\s)))+\s*")
_NUMBERED = re.compile(r"\s*\d{1,3}[.)]\s")
_TABLE_RULE = re.compile(r"^[\s|:+-]*$")
_STYLED = re.compile("[\U0001d400-\U0001d7ff０-９Ａ-Ｚａ-ｚ℃℉㎡㎥①-⑳]")
_WIDE = re.compile(r"[^\x00-\x7f]+")
_NEVER_SPOKEN = str.maketrans(dict.fromkeys("*`~^<>[]{}\\#•©®™¦", ""))
_QUOTES = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "‚": "'", "‐": "-", "‑": "-"}
)
_JOINERS = "\u200c\u200d"
"""Zero-width joiners: part of the spelling of Persian and of the scripts of India, else glue of emoji."""


def speakable(text: str, language: str = "en") -> str:
    """What a voice should read of `text`, on one line; "" when nothing remains to be spoken.

    `text` may be a sentence or a whole answer in markdown. `language` is a tag such as "en" or "de-AT"; numbers, units
    and signs become words in the languages of `words.WORDS` and stay as they are in others. Applying it again
    changes nothing; its cost is in proportion to the text.
    """
    for _ in range(_ROUNDS):
        cleaned = _clean(text, language)
        if cleaned == text:
            break
        text = cleaned
    return text


def _clean(text: str, language: str) -> str:
    text = _plain_characters(html.unescape(text))
    text = _without_code(without_thoughts(text))
    text = _without_markup(text)
    text = _without_pictographs(_addresses(text, language))
    text = _one_line(text)
    text = _without_emphasis(text)
    text = read_aloud(text, language)
    return _tidy(text.translate(_NEVER_SPOKEN))


def _plain_characters(text: str) -> str:
    """Composed characters, ordinary spaces and quotes, no controls."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n").translate(_QUOTES)
    text = _STYLED.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    # "1 234" with a fixed space is one number; espeak reads two in some languages.
    text = re.sub(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3})", "", text)
    return re.sub(r"[^\S\n]|[\x00-\x08\x0e-\x1f\x7f-\x9f]", " ", text)


def _without_code(text: str) -> str:
    """Fenced code is for the eye: left out, like in `SentenceStream`."""
    out: list[str] = []
    fence, at = "", 0
    for found in _CODE_BLOCK.finditer(text):
        if not fence:
            out.append(text[at : found.start()] + "\n")
            fence = found.group()[0]
        elif found.group()[0] == fence:
            fence = ""
        at = found.end()
    return "".join(out) + ("" if fence else text[at:])


def _without_markup(text: str) -> str:
    """HTML, images, links and references: only their words stay."""
    text = _COMMENT.sub(" ", text)
    text = _TAG.sub("", _BLOCK_TAG.sub("\n", text))
    text = _REFERENCE.sub("", text)
    for _ in range(2):  # an image may be the text of a link
        text = _IMAGE_OR_LINK.sub(r"\1", text)
    return _CUT_LINK.sub("", text)


def _addresses(text: str, language: str) -> str:
    """URLs as their host, e-mail addresses word by word; espeak would read "colon slash slash" and every parameter."""
    words = WORDS.get(language.replace("_", "-").split("-")[0].lower())
    dot = f" {words.dot} " if words else "."
    at = f" {words.at} " if words else "@"

    def host(name: str, rest: str | None) -> str:
        name = name.removeprefix("www.").strip(".,;:!?_-")
        end = (rest or "")[len((rest or "").rstrip(".,;:!?")) :]
        return name.replace(".", dot) + end

    def url(found: re.Match[str]) -> str:
        # A mark right behind the host belongs to the sentence.
        return host(found[1], found[2] or found[1][len(found[1].rstrip(".,;!?")) :])

    text = _URL.sub(url, text)  # first: "http://user:secret@host" is no e-mail address
    text = _EMAIL.sub(
        lambda found: re.sub(r"[_+-]", " ", found[1]).replace(".", dot) + at + found[2].replace(".", dot), text
    )
    return _DOMAIN.sub(lambda found: host(found[1], found[2]), text) if words else text


def _without_pictographs(text: str) -> str:
    """Emoji with all their parts (joiners, skin tones, flags, keycaps, variation selectors), invisible characters."""
    if text.isascii():
        return text
    kept: list[str] = []
    for char in text:
        if char.isascii() or char in "°№":
            kept.append(char)
            continue
        kind = unicodedata.category(char)
        if kind in ("So", "Cn", "Co") or 0x1F3FB <= ord(char) <= 0x1F3FF:
            kept.append(" ")
        elif char in _JOINERS:
            if kept and unicodedata.category(kept[-1])[0] in "LM":
                kept.append(char)
        elif kind not in ("Cf", "Cs", "Me") and not 0xFE00 <= ord(char) <= 0xFE0F:
            kept.append(char)
    return "".join(kept)


def _one_line(text: str) -> str:
    """Headings, list items, quotes and table rows become sentences; lines of running text are joined."""
    parts: list[str] = []
    ended = True  # whether the next line begins something new
    for line in text.split("\n"):
        words = _LINE_MARKS.sub("", line)
        marked = len(words) < len(line.lstrip()) or bool(_NUMBERED.match(words))
        if "|" in line:
            marked = True
            words = ", ".join(cell.strip() for cell in words.split("|") if cell.strip() and not _TABLE_RULE.match(cell))
        if not any(char.isalnum() for char in words):
            words = words if words.strip(" -*_=~#>|:+.") else ""
        if not words.strip():
            ended = True
            continue
        if parts and (ended or marked) and parts[-1][-1] not in ".!?:;,…。！？":
            parts[-1] += "."
        parts.append(words.strip())
        ended = marked
    return " ".join(parts)


def _without_emphasis(text: str) -> str:
    text = re.sub(r"\\(?=[^\w\s])", "", text).replace("\\", " ")
    text = text.replace("~~", "").replace("`", "")
    text = re.sub(r"(?<!\d)(?<!\d )\*|\*(?! ?\d)", "", text)  # "5 * 3" is a sum
    text = re.sub(r"(?<=[^\W_])_{1,3}(?=[^\W_])", " ", text)  # snake_case is words
    return text.replace("_", "")


def _tidy(text: str) -> str:
    """Marks that are left without their words, doubled marks, spaces."""
    text = re.sub(r"([=+#&|/%<>])\1{2,}", " ", text)
    text = re.sub(r"\s[-–—]+\s|—", ", ", text)  # heard for " - ": no pause at all
    text = re.sub(r"(?:\.{2,}|…)(?=\s+(?![A-ZÀ-Þ])\w)", ",", text)  # heard: no pause at all
    text = re.sub(r"\.{2,}|…", ".", text)
    text = re.sub(r"\(\s*\)", " ", text)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r" (?=[.,;:!?)](?!\w))", "", text)
    text = re.sub(r"([,;:])(?:\s?[,;:])+", r"\1", text)
    text = re.sub(r"[,;:](?=[.!?])", "", text)
    text = re.sub(r"([.!?])[.!?,;:]+", r"\1", text)
    text = re.sub(r"^(?:[\s,;:.!?)/|]|-(?!\d))+", "", text).rstrip(" -–/|(")
    return text if any(char.isalnum() for char in text) else ""
