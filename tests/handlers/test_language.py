"""Language tags."""

from __future__ import annotations

import pytest

from handlers import language
from handlers.errors import RequestError


@pytest.mark.parametrize(
    ("tag", "normal"),
    [
        ("en", "en"),
        ("EN", "en"),
        ("en_us", "en-US"),
        ("EN-us", "en-US"),
        (" de-AT ", "de-AT"),
        ("zh-Hant-tw", "zh-Hant-TW"),
    ],
)
def test_spellings_of_one_tag(tag: str, normal: str) -> None:
    assert language.normalize(tag) == normal
    assert language.primary(tag) == normal[:2]


@pytest.mark.parametrize(
    ("tag", "known", "found"),
    [
        ("en-US", ["de", "en"], "en"),
        ("en", ["de-DE", "en-GB", "en-US"], "en-GB"),
        ("en_US", ["en-GB", "en-US"], "en-US"),
        ("en-GB", ["en-US"], "en-US"),
        ("pt-BR", ["pt-PT", "pt_BR"], "pt_BR"),
        ("nl", ["de", "en"], None),
        ("", ["en"], None),
        ("en", [], None),
        ("e", ["en"], None),
        ("eng", ["en"], None),
    ],
)
def test_what_serves_a_tag(tag: str, known: list[str], found: str | None) -> None:
    assert language.match(tag, known) == found


def test_an_unknown_language_is_a_request_error_that_names_some_known_ones() -> None:
    known = [f"{first}{second}" for first in "ab" for second in "abcdefghij"]
    with pytest.raises(
        RequestError, match=r"^The voice does not know the language 'xx-XX'; it knows aa, .*…$"
    ) as caught:
        language.require("xx-XX", known, "The voice")
    assert caught.value.code == "unknown-language"
    assert language.require("AA_bb", known, "The voice") == "aa"
