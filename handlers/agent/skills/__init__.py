"""What Meadowlark answers by itself, at once. A language is a folder; its files have sentences, responses and words."""

from handlers.agent.skills.skills import Skills, locale_of

__all__ = ["Skills", "locale_of"]
