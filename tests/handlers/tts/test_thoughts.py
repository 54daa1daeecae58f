"""Thoughts are never spoken, wherever the stream is cut; everything else is."""

import random

import pytest

from handlers.tts.thoughts import ThoughtFilter, without_thoughts

HARMONY = (
    "<|start|>assistant<|channel|>analysis<|message|>User wants light.<|end|>"
    "<|start|>assistant<|channel|>commentary to=functions.x <|constrain|>json<|message|>{}<|call|>"
    "<|start|>assistant<|channel|>final<|message|>The light is on.<|return|>"
)

CASES = [
    ("<think>secret</think>Hello", "Hello"),
    ("<THINK>secret</Think>Hello", "Hello"),
    ("<thinking>secret</thinking>Hello", "Hello"),
    ("A<reasoning>secret</reasoning>B", "AB"),
    ("A<thought>secret</thought >B", "AB"),
    ('<think type="deep" n=3>secret</think>Hello', "Hello"),
    ("<think/>Hello", "Hello"),
    ("<think>secret", ""),
    ("Hello<think>secret 3 < 5 </thinking", "Hello"),
    ("said already</think>Hello", "said alreadyHello"),
    ("<think>a</think>One <think>b</think>two", "One two"),
    ("<seed:think>secret</seed:think>Hello", "Hello"),
    ("[THINK]secret[/THINK]Hello", "Hello"),
    ("<tool_call>{}</tool_call>Done.", "Done."),
    (HARMONY, "The light is on."),
    ("<|channel|>analysis<|message|>secret", ""),
    ("<|channel|>analysis<|message|>secret<|channel|>final<|message|>Hi", "Hi"),
    ("<|channel>thought\nsecret<channel|>Hi", "Hi"),
    ("<|im_start|>assistant\nHello<|im_end|>", "Hello"),
    ("<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>", "\n\nHello"),
    ("<|begin_of_thought|>secret<|end_of_thought|>Hi", "Hi"),
    ("Hello<｜end▁of▁sentence｜>", "Hello"),
    ("Hello<|endoftext|>", "Hello"),
    ("is 3 < 5 and 7 <8, a<b?", "is 3 < 5 and 7 <8, a<b?"),
    ("a list [1] and [there]", "a list [1] and [there]"),
    ("<b>bold</b> <thin> [thinner]", "<b>bold</b> <thin> [thinner]"),
    ("ends with <", "ends with <"),
    ("ends with <thin", "ends with "),
    ("<think " + "x" * 400 + ">", "<think " + "x" * 400 + ">"),  # too long to be a mark
    ("", ""),
]


@pytest.mark.parametrize(("text", "spoken"), CASES)
def test_whole(text: str, spoken: str) -> None:
    assert without_thoughts(text) == spoken


@pytest.mark.parametrize(("text", "spoken"), CASES)
def test_every_cut(text: str, spoken: str) -> None:
    for at in range(len(text) + 1):
        thoughts = ThoughtFilter()
        assert thoughts.feed(text[:at]) + thoughts.feed(text[at:]) + thoughts.finish() == spoken
    thoughts = ThoughtFilter()
    assert "".join(map(thoughts.feed, text)) + thoughts.finish() == spoken


def test_plain_text_is_not_held_back() -> None:
    thoughts = ThoughtFilter()
    assert thoughts.feed("Hello, 3 < 5 ") == "Hello, 3 < 5 "
    assert thoughts.feed("and <") == "and "
    assert thoughts.feed(" that") == "< that"


def test_what_is_held_is_bounded() -> None:
    """However long a thought or a false mark is, the filter keeps only its window."""
    for opening in ("<think>", "<think ", "<|", "<|channel|>", "["):
        thoughts = ThoughtFilter()
        thoughts.feed(opening)
        for _ in range(200):
            thoughts.feed("x" * 100)
            assert len(thoughts._held) <= 256


def test_is_ready_for_the_next_text_after_finish() -> None:
    thoughts = ThoughtFilter()
    assert thoughts.feed("<think>never closed") == ""
    assert thoughts.finish() == ""
    assert thoughts.feed("Hello") == "Hello"


def test_random_mixtures_of_text_and_thought() -> None:
    rng = random.Random(7)
    for _ in range(300):
        text, spoken = "", ""
        for _ in range(rng.randint(1, 6)):
            word = rng.choice(["The light ", "3 < 5 ", "[x] ", "a<b "])
            name = rng.choice(["think", "Thinking", "reasoning"])
            text += f"{word}<{name}>SECRET {rng.choice(['<', '<b>', '</thin', '`'])}</{name}>"
            spoken += word
        thoughts, got, at = ThoughtFilter(), "", 0
        while at < len(text):
            step = rng.randint(1, 9)
            got += thoughts.feed(text[at : at + step])
            at += step
        assert got + thoughts.finish() == spoken
