"""What the agent answers with: skills, language models, tools, memory; and the state of its conversations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from handlers.agent.conversations import Conversations
from handlers.agent.llm.thinker import Thinker
from handlers.agent.memory.memories import Memories
from handlers.agent.router import Router
from handlers.agent.safety.audit import Audit
from handlers.agent.safety.confirm import Confirmations
from handlers.agent.skills import Skills
from handlers.agent.stage import AgentSettings, Generation
from handlers.agent.tools.toolbox import Toolbox


@dataclass(frozen=True)
class Faculties:
    """Shared by all turns."""

    settings: AgentSettings
    skills: Skills
    thinker: Thinker
    toolbox: Toolbox
    audit: Audit
    memories: Memories | None
    router: Router
    conversations: Conversations
    confirmations: Confirmations
    now: Callable[[], datetime]
    """The time where the server stands."""

    @property
    def generation(self) -> Generation:
        """How an answer is written."""
        return Generation(self.settings.longest_answer, self.settings.temperature)
