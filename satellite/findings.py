"""What the doctor found: a sentence, a verdict, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Protocol

from satellite.happenings import Value


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    ADVICE = "advice"
    """It works, and could work better."""
    PROBLEM = "problem"
    """The satellite does not work like this."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    check: str
    verdict: Verdict
    text: str
    """What was found."""
    to_do: str = ""
    """What to change; empty where that is said by `text`, as in an error's message."""
    data: dict[str, Value] = field(default_factory=dict)
    """The numbers behind it."""


Tell = Callable[[Finding], None]
"""Told each finding as soon as there is one."""


class Person(Protocol):
    """Somebody who is there and takes part."""

    def say(self, text: str) -> None:
        """Tell them what to do."""

    async def confirms(self, question: str) -> bool | None:
        """Ask for yes or no; None where no answer comes."""


def ok(check: str, text: str, **data: Value) -> Finding:
    return Finding(check, Verdict.OK, text, data=data)


def advice(check: str, text: str, to_do: str = "", **data: Value) -> Finding:
    return Finding(check, Verdict.ADVICE, text, to_do, data)


def problem(check: str, text: str, to_do: str = "", **data: Value) -> Finding:
    return Finding(check, Verdict.PROBLEM, text, to_do, data)


def line(finding: Finding) -> str:
    """One line for a terminal."""
    text = finding.text.rstrip(".")
    return f"{finding.verdict:<8} {finding.check:<12} {text}" + (f". {finding.to_do}" if finding.to_do else "")


def summary(findings: Sequence[Finding]) -> str:
    """What to change, the worst first, as lines for a terminal."""
    todo = [
        f"- {finding.check}: {finding.to_do or finding.text}"
        for verdict in (Verdict.PROBLEM, Verdict.ADVICE)
        for finding in findings
        if finding.verdict == verdict
    ]
    return "\n".join(["What to change:", *todo]) if todo else "There is nothing to change."


def as_data(findings: Sequence[Finding]) -> dict[str, object]:
    """The same for machines."""
    return {"ok": is_well(findings), "findings": [asdict(finding) for finding in findings]}


def is_well(findings: Sequence[Finding]) -> bool:
    """Nothing is a problem."""
    return all(finding.verdict != Verdict.PROBLEM for finding in findings)
