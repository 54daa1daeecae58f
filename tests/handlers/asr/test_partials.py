"""The pieces of a transcript that is streamed."""

from __future__ import annotations

import pytest

from handlers.asr.partials import Partials


@pytest.mark.parametrize(
    ("partials", "final", "pieces"),
    [
        ([], "Turn on the light.", ["Turn on the light."]),
        (["Turn on the."], "Turn on the light.", ["Turn on the ", "light."]),
        (["Turn on", "turn on the"], "Turn on the light.", ["Turn on ", "the ", "light."]),
        (["Turn on the light."], "Turn on the light.", ["Turn on the light ", ""]),
        (["Oh!"], "Cancel all timers.", ["Oh ", ""]),
        ([""], "Next.", ["", "Next."]),
        (["Turn on the light."], "", ["Turn on the light ", ""]),
    ],
)
def test_pieces_only_add(partials: list[str], final: str, pieces: list[str]) -> None:
    stream = Partials()
    assert [*(stream.partial(text) for text in partials), stream.final(final)] == pieces
