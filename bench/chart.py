"""One turn as a picture: what passes between the end of speech and the first audio, ours above theirs in one scale.

The SVG is drawn for light and dark pages; it needs no library and no font of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from bench.record import TurnRecord
from bench.summary import Summary

_WIDTH = 860
"""Pixels; a column of text on a web page is about as wide."""

_LEFT, _RIGHT = 24, 96
"""Margins; the right one has room for the total behind the longest bar."""

_TOP = 74
_LANE = 118
"""Height of one target: its name, its bar and its list of phases."""

_BAR = 34
_SPEECH_MS = 500.0
"""How much of the speech is shown: its length says nothing of the wait."""

_CHARACTER = 7.2
"""Pixels that one takes in the list; a little more than in most fonts."""

_LABEL = 110
"""Pixels that "end of speech" takes."""

_STEPS = (50, 100, 200, 250, 500, 1000, 2000, 5000)
"""Milliseconds between two lines of the scale; the first that gives at most nine is taken."""

_STYLE = """
text { font: 13px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #1f2328; }
text { paint-order: stroke; stroke: #ffffff; stroke-width: 4px; } .inside { stroke: none; }
.page { fill: #ffffff; } .title { font-size: 16px; font-weight: 600; } .name { font-weight: 600; }
.soft { fill: #59636e; } .total { font-size: 15px; font-weight: 600; }
.grid { stroke: #d1d9e0; } .zero { stroke: #59636e; stroke-dasharray: 3 3; }
.speech { fill: #afb8c1; } .wait { fill: #d4a72c; } .transcript { fill: #4a8fe0; }
.text { fill: #9a6dd7; } .audio { fill: #2da44e; } .both { fill: url(#both); }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; stroke: #0d1117; } .page { fill: #0d1117; } .soft { fill: #9198a1; }
  .grid { stroke: #3d444d; } .zero { stroke: #9198a1; } .speech { fill: #656c76; }
  .wait { fill: #bb8009; } .transcript { fill: #388bfd; } .text { fill: #8957e5; } .audio { fill: #2ea043; }
}
"""

_BOTH = (
    '<defs><pattern id="both" width="12" height="12" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect class="wait" width="12" height="12"/><rect class="transcript" width="6" height="12"/></pattern></defs>'
)
"""Stripes of the wait and the transcription, where a client cannot tell them apart."""


@dataclass(frozen=True)
class Phase:
    """A stretch of a turn, in ms from the labelled end of speech."""

    kind: str
    """speech, wait, transcript, both (of them), text or audio."""
    name: str
    begin: float
    end: float


@dataclass(frozen=True)
class Lane:
    """One target's turn."""

    title: str
    phases: tuple[Phase, ...]
    total: float
    """First audio, ms."""


def choose(records: Sequence[TurnRecord], summaries: Mapping[str, Summary]) -> list[TurnRecord]:
    """The turn to show of each target: of one question in one round, the nearest to the medians of the first audio.

    Empty when no question was answered by all of them.
    """
    medians = {name: summary.ms["first_audio"].median for name, summary in summaries.items() if summary.ms}
    asked: dict[tuple[str, int], dict[str, TurnRecord]] = {}
    for record in records:
        if record.error is None and not record.cut_off and medians.get(record.target, 0) > 0:
            asked.setdefault((record.clip, record.round), {})[record.target] = record
    complete = [answered for answered in asked.values() if len(answered) == len(summaries)]

    def distance(answered: Mapping[str, TurnRecord]) -> float:
        return sum(abs(record.ms["first_audio"] / medians[name] - 1) for name, record in answered.items())

    nearest = min(complete, key=distance, default={})
    return [nearest[name] for name in summaries if name in nearest]


def lane(record: TurnRecord, title: str) -> Lane:
    """The phases of a turn: the server's own marks where it sends them, else what the client saw."""
    total = record.ms["first_audio"]
    # Each moment is later than the one before it; a mark that the server set early counts from there.
    ends: list[tuple[str, str, float | None]] = []
    endpoint = record.server_ms.get("endpoint")
    if endpoint is not None:
        ends = [
            ("wait", _waiting(record), endpoint),
            ("transcript", "transcription", record.ms.get("transcript")),
            ("text", "text of the answer", record.ms.get("first_text")),
        ]
    else:
        ends = [("both", "wait for the end and transcription", record.ms.get("transcript"))]
    phases = [Phase("speech", "speech", -_SPEECH_MS, 0.0)]
    for kind, name, end in [*ends, ("audio", "first audio", total)]:
        if end is not None:
            begin = phases[-1].end
            phases.append(Phase(kind, name, begin, min(max(begin, end), max(total, 0.0))))
    return Lane(title, tuple(phases), total)


def draw(lanes: Sequence[Lane], question: str) -> str:
    """The SVG document."""
    longest = max(lane.total for lane in lanes)
    scale = (_WIDTH - _LEFT - _RIGHT) / (max(longest, 1.0) + _SPEECH_MS)
    height = _TOP + _LANE * len(lanes) + 34
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
            f'height="{height}" role="img" aria-label="{escape(_spoken(lanes, question))}">',
            f"<style>{_STYLE}</style>",
            _BOTH,
            f'<rect class="page" width="{_WIDTH}" height="{height}" rx="6"/>',
            _text(_LEFT, 30, "title", "From the end of speech to the first sound of the answer"),
            _text(_LEFT, 50, "soft", f"“{question}”, one turn near the median; shorter is better"),
            *_scale(longest, scale, _TOP, _TOP + _LANE * len(lanes)),
            *(line for number, lane in enumerate(lanes) for line in _bars(lane, scale, _TOP + number * _LANE)),
            "</svg>",
            "",
        ]
    )


def _bars(lane: Lane, scale: float, top: float) -> Iterator[str]:
    yield _text(_LEFT, top + 20, "name", lane.title)
    bar = top + 30
    for phase in lane.phases:
        yield (
            f'<rect class="{phase.kind}" x="{_x(phase.begin, scale):.1f}" y="{bar:.1f}" '
            f'width="{(phase.end - phase.begin) * scale:.1f}" height="{_BAR}">'
            f"<title>{escape(phase.name)}: {phase.end - phase.begin:.0f} ms</title></rect>"
        )
    yield _text(_LEFT + 8, bar + 22, "inside", "speech")
    yield _text(_x(lane.total, scale) + 8, bar + 22, "total", f"{lane.total:.0f} ms")
    x: float = _LEFT
    for phase in lane.phases[1:]:
        shown = f"{phase.name} {phase.end - phase.begin:.0f} ms"
        yield f'<rect class="{phase.kind}" x="{x:.1f}" y="{bar + _BAR + 12}" width="11" height="11" rx="2"/>'
        yield _text(x + 17, bar + _BAR + 22, "", shown)
        x += 17 + _CHARACTER * len(shown) + 14


def _scale(longest: float, scale: float, top: float, bottom: float) -> Iterator[str]:
    step = next((step for step in _STEPS if longest / step <= 9), _STEPS[-1])
    for at in range(0, int(longest) + 1, step):
        kind = "grid" if at else "zero"
        x = _x(at, scale)
        yield f'<line class="{kind}" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>'
        if at:
            label, anchor = f"{at} ms", "middle"
        else:  # beside the line, so that it is clear of the next label
            label, anchor = "end of speech", "end" if x > _LABEL else "start"
            x = x + 6 if x > _LABEL else _LEFT
        yield f'<text class="soft" x="{x:.1f}" y="{bottom + 18}" text-anchor="{anchor}">{label}</text>'


def _waiting(record: TurnRecord) -> str:
    guesses = record.timeline.get("guesses")
    guessed = isinstance(guesses, dict) and guesses.get("kept")
    return "wait, transcribing meanwhile" if guessed else "wait for the end"


def _spoken(lanes: Sequence[Lane], question: str) -> str:
    """The picture in words."""
    found = []
    for lane in lanes:
        phases = ", ".join(f"{phase.name} {phase.end - phase.begin:.0f} ms" for phase in lane.phases[1:])
        found.append(f"{lane.title}: {lane.total:.0f} ms ({phases})")
    return f"From the end of speech to the first sound of the answer, for “{question}”. " + "; ".join(found)


def _text(x: float, y: float, kind: str, text: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _x(at: float, scale: float) -> float:
    return _LEFT + (at + _SPEECH_MS) * scale
