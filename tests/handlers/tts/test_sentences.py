"""Pieces are the same wherever the stream is cut, come as early as they can, and lose no word."""

import random

import pytest

from handlers.tts.sentences import FIRST_CLAUSE_WORDS, LONGEST_PIECE, SentenceStream


def cut(text: str, language: str = "en") -> list[str]:
    stream = SentenceStream(language)
    return stream.feed(text) + stream.finish()


CASES: list[tuple[str, str, list[str]]] = [
    ("en", "It is on. It is 21.5 degrees. Done", ["It is on.", "It is 21.5 degrees.", "Done"]),
    ("en", "Really? Yes! Good", ["Really?", "Yes!", "Good"]),
    ("en", 'He said "no." Then "yes!" Fine.', ['He said "no."', 'Then "yes!"', "Fine."]),
    ("en", "Dr. Smith and J. Doe live in the U.S. now. Ok.", ["Dr. Smith and J. Doe live in the U.S. now.", "Ok."]),
    ("en", "No. It is off.", ["No.", "It is off."]),
    ("en", "No. 5 is open.", ["No. 5 is open."]),
    (
        "en",
        "Come at 7 p.m. today. Come at 7 p.m. Bring tea.",
        ["Come at 7 p.m. today.", "Come at 7 p.m.", "Bring tea."],
    ),
    ("en", "Well... yes. Well... Yes.", ["Well... yes.", "Well...", "Yes."]),
    ("en", "It is 21. Then it rains.", ["It is 21.", "Then it rains."]),
    ("en", "See example.com or 3.5. Ok.", ["See example.com or 3.5.", "Ok."]),
    ("en", "1. Open it.\n2. Close it.", ["1. Open it.", "2. Close it."]),
    ("en", "# Title\ntext\n\n- a\n- b", ["# Title", "text", "- a", "- b"]),
    ("en", "**Bold.** Next", ["**Bold.**", "Next"]),
    ("en", "Here:\n```python\nprint('x. y')\n```\nDone. Ok", ["Here:", "Done.", "Ok"]),
    ("en", "Run ```ls``` now. ~~~\nx\n~~~ Ok", ["Run", "now.", "Ok"]),
    ("en", "Some ``` code that never ends. Never.", ["Some"]),
    ("en", "你好。今天天气很好！再见", ["你好。", "今天天气很好！", "再见"]),
    ("hi", "नमस्ते। आप कैसे हैं? ठीक", ["नमस्ते।", "आप कैसे हैं?", "ठीक"]),
    ("de", "Am 3. November. Es ist z. B. hell. Gut.", ["Am 3. November.", "Es ist z. B. hell.", "Gut."]),
    (
        "en",
        "The sky is clear and blue today, with a light wind, and sun. It stays so, they say, and so on.",
        ["The sky is clear and blue today,", "with a light wind, and sun.", "It stays so, they say, and so on."],
    ),
    ("en", "Yes, of course. One two three four five, six.", ["Yes, of course.", "One two three four five, six."]),
    (
        "en",
        "I can turn on all of the lamps and also the heating.",
        ["I can turn on all of the lamps", "and also the heating."],
    ),
    (
        "de",
        "Ich kann gern alle Lampen im Haus einschalten und auch heizen.",
        ["Ich kann gern alle Lampen im Haus einschalten", "und auch heizen."],
    ),
    ("xx", "Ho capito tutto quello che hai detto and so on.", ["Ho capito tutto quello che hai detto and so on."]),
    ("en", "", []),
    ("en", " \n\n ", []),
    ("en", "```\nonly code\n```", []),
]


@pytest.mark.parametrize(("language", "text", "pieces"), CASES)
def test_pieces(language: str, text: str, pieces: list[str]) -> None:
    assert cut(text, language) == pieces


LONG = "word and more, " * 60 + "x" * 700 + " etc. " * 40 + "…" * 20 + "\n" * 400 + "end."


@pytest.mark.parametrize(("language", "text"), [*((language, text) for language, text, _ in CASES), ("en", LONG)])
def test_every_cut(language: str, text: str) -> None:
    whole = cut(text, language)
    for at in range(0, len(text) + 1, 1 if len(text) < 300 else 37):
        stream = SentenceStream(language)
        assert stream.feed(text[:at]) + stream.feed(text[at:]) + stream.finish() == whole, at
    stream = SentenceStream(language)
    assert [piece for char in text for piece in stream.feed(char)] + stream.finish() == whole


def test_a_sentence_comes_with_the_space_behind_it() -> None:
    """Not with the first letter of the next sentence: that would be one more token of waiting."""
    stream = SentenceStream()
    assert stream.feed("The light is on.") == []
    assert stream.feed(" ") == ["The light is on."]


def test_the_first_clause_comes_before_its_sentence_is_written() -> None:
    stream = SentenceStream()
    words = " ".join(["word"] * FIRST_CLAUSE_WORDS)
    assert stream.feed(f"{words}, ") == [f"{words},"]
    assert stream.feed(f"{words}, {words}, ") == []
    assert stream.feed("end. ") == [f"{words}, {words}, end."]


def test_the_next_text_may_begin_with_a_clause_again() -> None:
    stream = SentenceStream()
    text = "One two three four five six, seven."
    first = stream.feed(text) + stream.finish()
    assert first == stream.feed(text) + stream.finish() == ["One two three four five six,", "seven."]


@pytest.mark.parametrize("unit", ["word ", "word, ", "x", "etc. ", "a.", "ä", "– ", "。", "(" * 50])
def test_endless_text_is_spoken_and_held_back_only_up_to_the_bound(unit: str) -> None:
    stream = SentenceStream()
    pieces = []
    for _ in range(20_000 // len(unit)):
        pieces += stream.feed(unit)
        assert len(stream._buffer) <= LONGEST_PIECE + len(unit)
    pieces += stream.finish()
    assert max(map(len, pieces)) <= LONGEST_PIECE
    assert "".join("".join(pieces).split()) == "".join((unit * (20_000 // len(unit))).split())


def test_endless_code_is_not_kept() -> None:
    stream = SentenceStream()
    assert stream.feed("Look: ``` ") == ["Look:"]
    for _ in range(1000):
        assert stream.feed("code. " * 10 + "``") == []
        assert len(stream._buffer) + len(stream._code._held) < 10


def test_no_word_is_lost_and_the_order_stays() -> None:
    rng = random.Random(11)
    vocabulary = [
        "light",
        "Dr.",
        "on",
        "and",
        "21.5",
        "no.",
        "3.",
        "well…",
        "stop!",
        "(yes)",
        '"so"',
        "a,",
        "b;",
        "–",
        "z.B.",
    ]
    for _ in range(300):
        words = [rng.choice(vocabulary) for _ in range(rng.randint(1, 60))]
        text = "".join(word + rng.choice([" ", " ", " ", "\n"]) for word in words)
        stream, pieces, at = SentenceStream(rng.choice(["en", "de"])), [], 0
        while at < len(text):
            step = rng.randint(1, 12)
            pieces += stream.feed(text[at : at + step])
            at += step
        pieces += stream.finish()
        assert " ".join(pieces).split() == words
        assert all(piece == piece.strip() != "" for piece in pieces)
