"""LoCoMo (Maharana et al. 2024): ten long conversations, and questions with the turns that answer them.

Its data may be used for measuring only (CC BY-NC 4.0), so it is never part of this project: give its path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

from handlers.errors import SettingsError

CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
"""As the paper's authors number them."""

SCORED = (1, 2, 3, 4)
"""Of the adversarial ones, the evidence belongs to the other speaker: not finding it is right."""

_EVIDENCE = re.compile(r"D:?(\d+):(\d+)")
"""Some ids in the data have a colon too many, or several stand in one string."""

_TIME = "%I:%M %p on %d %B, %Y"


class Sample(TypedDict):
    """A conversation as the file has it."""

    conversation: dict[str, Any]
    qa: list[dict[str, Any]]


@dataclass(frozen=True)
class Turn:
    """One thing said."""

    id: str
    speaker: str
    text: str
    """With the caption of the picture that was sent along."""
    at: float
    session: int


@dataclass(frozen=True)
class Question:
    """A question and the turns that answer it; at least one."""

    text: str
    category: int
    evidence: frozenset[str]


@dataclass(frozen=True)
class Conversation:
    """Two people over months."""

    number: int
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]


def load(path: Path) -> list[Conversation]:
    """Raises SettingsError when the file is not LoCoMo's."""
    try:
        data = json.loads(path.read_text("utf-8"))
        return [_conversation(number, sample) for number, sample in enumerate(data)]
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}): give the path of locomo10.json") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{path} is not LoCoMo's locomo10.json ({type(error).__name__}: {error})") from None


def recall_at(rank: Sequence[frozenset[str]], evidence: frozenset[str], k: int) -> float:
    """Share of the evidence within the first k notes that came back; a note counts as the turns it was made of."""
    found = frozenset[str]().union(*rank[:k])
    return len(found & evidence) / len(evidence)


def reciprocal_rank(rank: Sequence[frozenset[str]], evidence: frozenset[str]) -> float:
    """1 / the place of the first note that helps; 0 when none does."""
    return next((1 / place for place, turns in enumerate(rank, 1) if turns & evidence), 0.0)


def _conversation(number: int, sample: Sample) -> Conversation:
    turns = tuple(_turns(sample["conversation"]))
    known = {turn.id for turn in turns}
    questions = []
    for entry in sample["qa"]:
        evidence = frozenset(_ids(entry.get("evidence", []))) & known
        if evidence:
            questions.append(Question(entry["question"], entry["category"], evidence))
    return Conversation(number, turns, tuple(questions))


def _turns(conversation: dict[str, Any]) -> Iterator[Turn]:
    numbers = sorted(int(key.split("_")[1]) for key in conversation if re.fullmatch(r"session_\d+", key))
    for number in numbers:
        said = str(conversation[f"session_{number}_date_time"])
        at = datetime.strptime(said, _TIME).replace(tzinfo=UTC).timestamp()
        session: list[dict[str, str]] = conversation[f"session_{number}"]
        for turn in session:
            caption = f" [image: {turn['blip_caption']}]" if turn.get("blip_caption") else ""
            yield Turn(turn["dia_id"], turn["speaker"], turn["text"] + caption or "...", at, number)


def _ids(evidence: Sequence[str]) -> Iterator[str]:
    for entry in evidence:
        for session, turn in _EVIDENCE.findall(entry):
            yield f"D{int(session)}:{int(turn)}"
