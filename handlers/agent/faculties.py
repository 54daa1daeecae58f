"""What the agent answers with: skills, language models, tools, memory; and the state of its conversations."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from datetime import datetime

from handlers.agent.conversations import Conversations, Turn
from handlers.agent.house.house import House
from handlers.agent.llm.thinker import Thinker
from handlers.agent.memory.memories import Memories
from handlers.agent.memory.stage import Note
from handlers.agent.prompt import build_messages
from handlers.agent.router import Router
from handlers.agent.safety.audit import Audit
from handlers.agent.safety.confirm import Confirmations
from handlers.agent.skills import Skills
from handlers.agent.stage import AgentSettings, Generation, Message, Request
from handlers.agent.tools.stage import ToolSpec
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
    private: Container[str]
    """The places where nothing of what is said is kept."""
    house: House
    router: Router
    conversations: Conversations
    confirmations: Confirmations
    now: Callable[[], datetime]
    """The time where the server stands."""

    @property
    def generation(self) -> Generation:
        """How an answer is written."""
        return Generation(self.settings.longest_answer, self.settings.temperature)

    def messages(
        self, request: Request, history: Sequence[Turn], notes: Sequence[Note], specs: Sequence[ToolSpec]
    ) -> list[Message]:
        """What a language model reads of a request: of the history the last turns, of `notes` what is remembered."""
        turns = self.settings.remembered_turns
        able = bool(specs) and self.thinker.uses_tools
        return build_messages(
            request,
            history[-turns:] if turns else [],
            self.settings.profile(request.wake_word, request.session),
            self.now(),
            notes=[self.memories.sentence(note) for note in notes] if self.memories is not None else None,
            tools=able,
            house=request.lent.instructions if able and request.lent is not None else "",
        )
