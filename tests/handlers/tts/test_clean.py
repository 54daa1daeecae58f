"""What is written for the eye is not read aloud; what is said stays."""

import random
import re
import time

import pytest
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.phonemize_espeak import EspeakPhonemizer

from handlers.tts.clean import speakable
from handlers.tts.sentences import SentenceStream
from handlers.tts.thoughts import ThoughtFilter

CASES = [
    # Markdown.
    ("# Title", "Title"),
    ("# Title\n\nSome **bold** and *italic* text.", "Title. Some bold and italic text."),
    ("***x*** __y__ _z_ ~~w~~ ==v==", "x y z w v"),
    ("- one\n* two\n+ three\n• four", "one. two. three. four"),
    ("1. First\n2. Second", "1. First. 2. Second"),
    ("- [ ] task\n- [x] done", "task. done"),
    ("> quote\n>> more", "quote. more"),
    ("a line that\nis wrapped", "a line that is wrapped"),
    ("one\n\ntwo", "one. two"),
    ("before\n\n---\n\nafter", "before. after"),
    ("| Room | Light |\n|:---|---:|\n| Kitchen | on |", "Room, Light. Kitchen, on"),
    ("Use `light.turn_on` now", "Use light.turn on now"),
    ("```python\nprint()\n```", ""),
    ("```code```", ""),
    ("See:\n```\nx = 1\n```\nDone.", "See: Done."),
    ("[the docs](https://example.com/a_b?c=d)", "the docs"),
    ('[docs](https://example.com "Title") and [x][1].', "docs and x."),
    ("[wiki](https://e.org/a_(b))!", "wiki!"),
    ("![a cat](cat.png) [![badge](b.svg)](https://x.y)", "a cat badge"),
    ("true [1], false[^2]", "true, false"),
    ("[See.", "See."),
    ("Here](https://example.com)", "Here"),
    ("unclosed **bold and `code and [link](http://x.y", "unclosed bold and code and link"),
    ("a*b, 2*3, 5 * 4", "ab, 2 times 3, 5 times 4"),
    (r"not \*bold\* \_x\_", "not bold x"),
    ("living_room __init__", "living room init"),
    # HTML.
    ("<b>bold</b> and <a href='x'>link</a>", "bold and link"),
    ("one<br>two<br/>three", "one two three"),
    ("a<!-- note -->b", "a b"),
    ("Tom &amp; Jerry &lt;b&gt;x&lt;/b&gt; &#39;s", "Tom and Jerry x 's"),
    ("&amp;amp;", "and amp;"),
    # Emoji.
    ("👍", ""),
    ("👍!", ""),
    ("Hi 👍🏽 there 👨‍👩‍👧 🇩🇪 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ❤️!", "Hi there!"),
    ("3️⃣ lights #️⃣", "3 lights"),
    ("✅ Done ✓ ★ ♥", "Done"),
    ("Done✅Next", "Done Next"),
    ("™ © ®", ""),
    # Addresses.
    ("https://www.example.com/path/x.html?y=1.", "example dot com."),
    ("Visit http://user:pw@example.com:8123/lovelace, please", "Visit example dot com, please"),
    ("www.example.org, example.co.uk", "example dot org, example dot co dot uk"),
    ("john.doe@example.com", "john dot doe at example dot com"),
    ("<https://example.com> (https://example.com)", "example dot com (example dot com)"),
    # Characters.
    ("“Hello” – don’t", '"Hello", don\'t'),
    ("a\u00a0b\u200bc\u00add\ufeff\x00e", "a bcd e"),
    ("1\u202f234 km", "1234 kilometers"),
    ("𝗕𝗼𝗹𝗱 ℃ ①", "Bold °C 1"),
    ("Hello... there… What?!", "Hello, there. What?"),
    ("wait - what — now", "wait, what, now"),
    ("[[həlˈoʊ]]", "həlˈoʊ"),  # Piper takes double brackets as raw phonemes
    ("می\u200cخواهم", "می\u200cخواهم"),
    ("Café naïve ñ 你好 привет", "Café naïve ñ 你好 привет"),
    # Thoughts.
    ("<think>secret</think>Hello", "Hello"),
    ("<|channel|>analysis<|message|>secret<|end|>", ""),
    # Numbers come from `spoken`.
    ("It is **21.5°C** at `14:30`.", "It is 21.5 degrees Celsius at 14:30."),
    ("3 < 5 & x²", "3 less than 5 and x squared"),
    ("- 5 eggs\n- -5 °C", "5 eggs. minus 5 degrees Celsius"),
    # Nothing.
    ("", ""),
    (" \n\t ", ""),
    ("***", ""),
    ("?!", ""),
    ("---", ""),
]


@pytest.mark.parametrize(("text", "said"), CASES)
def test_speakable(text: str, said: str) -> None:
    assert speakable(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("**21.5°C** 👍 & 50%", "21.5°C & 50%"),
        ("-5 https://example.com/x", "-5 example.com"),
        ("a@b.com", "a@b.com"),
    ],
)
def test_a_language_without_words_loses_only_the_markup(text: str, said: str) -> None:
    assert speakable(text, "xx") == said


def test_addresses_are_said_in_the_language() -> None:
    assert speakable("https://example.com", "de") == "example Punkt com"


_ATOMS = [
    *["**", "*", "`", "```", "~~", "_", "# ", "- ", "> ", "|", "[", "](", "]", "(", ")", "\n", "\n\n", " ", "  ", "\\"],
    *["http://a.b/c", "www.x.com", "a@b.co", "👍", "❤️", "👨‍👩‍👧", "3️⃣", "\u200d", "\ufe0f", "\u00a0", "é", "“", "’"],
    *["<b>", "</b>", "<", ">", "&amp;", "&lt;", "&", "<think>", "</think>", "<|end|>", "word", "Hello", "the kitchen"],
    *["5", "21", "1.", "3/4", "½", "°C", " km/h", "$", "€", "7:05 pm", "14:00", "2026-11-20", "10-12", "#3", "3. Mai"],
    *[".", "...", "…", "?", "!", ",", ":", ";", " - ", "–", "—", "-", "=", "<=", "->", "→", "²", "^2", "~", "%", "Dr."],
]


def _hostile(seed: int, texts: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choice(_ATOMS) for _ in range(rng.randint(1, 25))) for _ in range(texts)]


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "sv", "xx"])
def test_twice_changes_nothing(language: str) -> None:
    for text in [*(text for text, _ in CASES), *_hostile(3, 300)]:
        once = speakable(text, language)
        assert speakable(once, language) == once, text


def test_markup_and_emoji_never_come_through_and_the_length_stays_in_proportion() -> None:
    for text in _hostile(5, 1000):
        said = speakable(text)
        assert not re.search(r"[*`~<>|\[\]{}\\#\n\u2190-\u2bff\U0001f000-\U0001ffff\ufe0f]", said), text
        assert not re.search(r"think|channel|&\w+;", said), text
        assert len(said) <= 12 * len(text)


def test_the_whole_way_of_a_stream() -> None:
    """Deltas through filter, sentences and clean-up: no thought, code or markup at any cut; the words stay."""
    text = (
        "<think>SECRET *plan* 👍 `x`</think>## Lights 💡\n\nThe **kitchen** light is [on](https://SECRET.com/x), and "
        "it is 21°C. 😀\n```yaml\nSECRET: 1\n```\n| Room | On |\n|---|---|\n| Hall | yes |\n\n- *Bye* 👋🏽<|SECRET|>"
    )
    expected = [
        *["Lights", "The kitchen light is on, and it is 21 degrees Celsius.", "Room, On", "Hall, yes", "Bye"],
    ]
    rng = random.Random(1)
    cuts = [[at] for at in range(len(text))] + [sorted(rng.sample(range(len(text)), 30)) for _ in range(50)]
    for cut in cuts:
        thoughts, sentences = ThoughtFilter(), SentenceStream()
        pieces: list[str] = []
        for start, end in zip([0, *cut], [*cut, len(text)], strict=True):
            pieces += sentences.feed(thoughts.feed(text[start:end]))
        pieces += sentences.feed(thoughts.finish()) + sentences.finish()
        assert [said for piece in pieces if (said := speakable(piece))] == expected, cut


def test_no_word_of_plain_text_is_lost() -> None:
    text = (
        "Good morning everyone. It's a rather cloudy day, isn't it? Well-known people (such as Anna) say so; "
        "others, however, don't: they prefer silence! Is that enough? Yes, it is."
    )
    assert speakable(text) == text


@pytest.mark.parametrize(
    "unit",
    [
        *[
            "*",
            "_",
            "`",
            "[",
            "](",
            "[a](",
            "![",
            "<",
            "<a ",
            "<!--",
            "&amp;",
            "&#38;",
            "1.",
            "1,",
            "1",
            "1/2",
            "1-",
            "- ",
        ],
        *[
            "|",
            "👍",
            "a.",
            "a@",
            "a.b@",
            "http://a.",
            "…",
            ". ",
            " ",
            "\n",
            "\n- ",
            "<think>",
            "<|",
            "[THINK",
            "+1 ",
            "€1",
        ],
        *[
            "0:00",
            "2026-",
            "2026-11-20",
            "^1",
            "²",
            "5x",
            "~",
            "\\",
            "\u200d",
            "e\u0301",
            "[a]: ",
            "10–",
            "www.",
            "a-",
            "?!",
        ],
    ],
)
def test_hostile_texts_cost_in_proportion_to_their_length(unit: str, prose_seconds: float) -> None:
    """100,000 characters of trouble against as much prose, on the same machine.

    The worst is 15 times the prose (each character becomes five words); what is quadratic is thousands of times.
    """
    assert _seconds((unit * 100_000)[:100_000]) < 100 * prose_seconds


@pytest.fixture(scope="module")
def prose_seconds() -> float:
    return _seconds(("The light in the kitchen is on, and it is 21 degrees. " * 2000)[:100_000])


def _seconds(text: str) -> float:
    start = time.process_time()
    speakable(text)
    sentences, thoughts = SentenceStream(), ThoughtFilter()
    sentences.feed(thoughts.feed(text))
    sentences.finish()
    return time.process_time() - start


@pytest.mark.parametrize(
    ("voice", "language"), [("en-us", "en"), ("de", "de"), ("fr", "fr"), ("es", "es"), ("sv", "sv")]
)
def test_piper_pronounces_all_of_it(voice: str, language: str) -> None:
    """Every cleaned text becomes phonemes that a voice has, and one sentence does not fall apart at its signs."""
    phonemizer = EspeakPhonemizer()
    for text in [*(text for text, _ in CASES), *_hostile(9, 100)]:
        said = speakable(text, language)
        phonemes = [phoneme for sentence in phonemizer.phonemize(voice, said) for phoneme in sentence]
        assert bool(phonemes) == bool(said), said
        assert set(phonemes) <= set(DEFAULT_PHONEME_ID_MAP), said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Dr. Smith has 3 km/h.", "doctor Smith has three kilometers per hour."),
        (
            "It is -5°C, 10–12 m², $5 & #3.",
            "it is minus five degrees celsius, ten to twelve square meters, five dollars and number three.",
        ),
        ("At 7:05, 50%.", "at seven oh five, fifty percent."),
    ],
)
def test_piper_says_the_words(text: str, words: str) -> None:
    """The phonemes of the cleaned text are those of the words written out."""
    phonemizer = EspeakPhonemizer()
    assert phonemizer.phonemize("en-us", speakable(text)) == phonemizer.phonemize("en-us", words)
