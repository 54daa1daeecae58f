"""What Meadowlark answers by itself, at once. A language is a folder: `sentences.yaml` and `responses.yaml`."""

from handlers.agent.skills.skills import SkillAnswer, Skills

__all__ = ["SkillAnswer", "Skills"]
