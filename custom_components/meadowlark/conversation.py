"""The server's agent as a conversation entity: it streams, acts with Home Assistant's tools, and asks back."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, override

from homeassistant.components import conversation
from homeassistant.const import CONF_LLM_HASS_API, CONF_PROMPT, MATCH_ALL
from homeassistant.core import HomeAssistant
from homeassistant.helpers import area_registry as ar
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import intent, llm
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.template import Template
from homeassistant.helpers.translation import async_get_translations

from .const import DEFAULT_LLM_APIS, DOMAIN
from .data import MeadowlarkConfigEntry
from .entity import MeadowlarkEntity
from .lending import LONGEST_ID, LONGEST_INSTRUCTIONS, LONGEST_LANGUAGE, LONGEST_NAME, LONGEST_TEXT, Shape
from .satellites import area_of
from .turn import Delta, End, HouseTool, HouseToolResult, LinkError, ServerTool, ServerToolResult, Turn, TurnEvent

PARALLEL_UPDATES = 0
"""The server has a limit of its own, and conversations do not wait for each other."""

_MOST_PAST = 10
"""Earlier questions and answers that the server is told, as many as it takes."""

type _Deltas = AsyncGenerator[conversation.AssistantContentDeltaDict | conversation.ToolResultContentDeltaDict]


@dataclass(frozen=True)
class _Failed:
    """Marks in the chat log what was said because a turn failed: it is no answer that the agent has given."""


_ERROR = "Error: "
"""How Home Assistant begins what it writes into the chat log when a turn has raised or was cancelled."""


async def async_setup_entry(
    hass: HomeAssistant, entry: MeadowlarkConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the server's agent."""
    async_add_entities([MeadowlarkConversation(entry)])


class MeadowlarkConversation(MeadowlarkEntity, conversation.ConversationEntity):
    """The agent of one server."""

    _attr_name = None
    _attr_supports_streaming = True

    def __init__(self, entry: MeadowlarkConfigEntry) -> None:
        super().__init__(entry, "conversation")
        self._link = entry.runtime_data.link
        self._lending = self._link.lending
        self._apis: list[str] = list(entry.options.get(CONF_LLM_HASS_API, DEFAULT_LLM_APIS))
        self._prompt: str = entry.options.get(CONF_PROMPT, "")
        self._described: tuple[list[llm.Tool], Shape] | None = None
        if self._apis:
            self._attr_supported_features = conversation.ConversationEntityFeature.CONTROL

    @property
    @override
    def supported_languages(self) -> list[str] | Literal["*"]:
        """All: what a language model knows is not ours to say."""
        return MATCH_ALL

    @property
    @override
    def available(self) -> bool:
        """Whether the server is connected."""
        return self._link.connected

    @override
    async def async_added_to_hass(self) -> None:
        await super().async_added_to_hass()
        self.async_on_remove(self._link.subscribe(self.async_write_ha_state))

    @override
    async def _async_handle_message(
        self, user_input: conversation.ConversationInput, chat_log: conversation.ChatLog
    ) -> conversation.ConversationResult:
        """Have the server answer, with what it says in the chat log as it comes."""
        try:
            await chat_log.async_provide_llm_data(
                user_input.as_llm_context(DOMAIN), self._apis, self._prompt or None, user_input.extra_system_prompt
            )
        except conversation.ConverseError as error:
            return error.as_conversation_result()
        answer = _Answer(self.hass, self.entity_id, user_input.language)
        turn = Turn(user_input, chat_log, await self._message(user_input, chat_log))
        async with aclosing(self._link.turn(turn)) as events:
            await answer.write(chat_log, events)
        if answer.error is not None:
            response = intent.IntentResponse(language=user_input.language)
            response.async_set_error(intent.IntentResponseErrorCode.FAILED_TO_HANDLE, answer.error)
            return conversation.ConversationResult(response=response, conversation_id=chat_log.conversation_id)
        result = conversation.async_get_result_from_chat_log(user_input, chat_log)
        result.continue_conversation = answer.listen
        return result

    async def _message(self, user_input: conversation.ConversationInput, chat_log: conversation.ChatLog) -> Shape:
        """What the server is told of a turn."""
        user_id = user_input.context.user_id
        instructions = []
        if self._prompt:
            user = await self.hass.auth.async_get_user(user_id) if user_id else None
            instructions.append(
                Template(self._prompt, self.hass).async_render(
                    {
                        "ha_name": self.hass.config.location_name,
                        "user_name": user.name if user else None,
                        "llm_context": user_input.as_llm_context(DOMAIN),
                    },
                    parse_result=False,
                )
            )
        if chat_log.extra_system_prompt:
            instructions.append(chat_log.extra_system_prompt)
        return {
            "text": user_input.text,
            "language": user_input.language[:LONGEST_LANGUAGE],
            "conversation_id": _bounded(chat_log.conversation_id),
            "satellite": _bounded(user_input.satellite_id or user_input.device_id or ""),
            "user": _bounded(user_id or ""),
            "room": self._room(user_input)[:LONGEST_NAME],
            "toolset": self._toolset(chat_log.llm_api) if chat_log.llm_api else None,
            "instructions": "\n".join(instructions)[:LONGEST_INSTRUCTIONS],
            "history": _history(chat_log, self.entity_id),
        }

    def _room(self, user_input: conversation.ConversationInput) -> str:
        """The name of the area where something was said; empty where nobody has said which that is."""
        device_id = user_input.device_id
        satellite = er.async_get(self.hass).async_get(user_input.satellite_id) if user_input.satellite_id else None
        if satellite is not None:
            device_id = satellite.device_id or device_id
            area = ar.async_get(self.hass).async_get_area(satellite.area_id) if satellite.area_id else None
            if area is not None:
                return area.name
        return area_of(self.hass, device_id)

    def _toolset(self, api: llm.APIInstance) -> Shape:
        """The tools as the server is told. They are described once as long as Home Assistant keeps the same."""
        if self._described is None or self._described[0] is not api.tools:
            self._described = (api.tools, self._lending.toolset(api))
        return {**self._described[1], "instructions": api.api_prompt[:LONGEST_INSTRUCTIONS]}


class _Answer:
    """One answer of the server, on its way into the chat log."""

    def __init__(self, hass: HomeAssistant, agent_id: str, language: str) -> None:
        self.listen = False
        """Whether it is a question: then the microphone opens again."""
        self.error: str | None = None
        """What is said because the turn failed."""
        self._hass = hass
        self._agent_id = agent_id
        self._language = language
        self._whole = ""

    async def write(self, chat_log: conversation.ChatLog, events: AsyncGenerator[TurnEvent]) -> None:
        """Write what happens in a turn into the chat log."""
        async with aclosing(self._deltas(events)) as deltas:
            async for _ in chat_log.async_add_delta_content_stream(self._agent_id, deltas):
                pass
        if not isinstance(chat_log.content[-1], conversation.AssistantContent) or not chat_log.content[-1].content:
            chat_log.async_add_assistant_content_without_tools(
                conversation.AssistantContent(agent_id=self._agent_id, content=self._whole)
            )

    async def _deltas(self, events: AsyncGenerator[TurnEvent]) -> _Deltas:
        """What happens in a turn, as the chat log takes it. A failure is said, too.

        To the chat log all tools are external, also those of the house: it would wait for each in the order of the
        calls, and say nothing meanwhile.
        """
        said = False
        running: dict[str, str] = {}
        yield {"role": "assistant"}
        try:
            async for event in events:
                match event:
                    case Delta(text):
                        said = True
                        yield {"content": text}
                    case ServerTool(call, name, arguments) | HouseTool(call, name, arguments):
                        running[call] = name
                        yield {"tool_calls": [llm.ToolInput(name, arguments, id=call, external=True)]}
                    case ServerToolResult(call, text, failed) if call in running:
                        yield _result(call, running.pop(call), llm.ToolResult(data={"text": text}, error=failed))
                        yield {"role": "assistant"}
                    case HouseToolResult(call, result) if call in running:
                        yield _result(call, running.pop(call), result)
                        yield {"role": "assistant"}
                    case End(text, listen):
                        self._whole, self.listen = text, listen
                        if not said and text:
                            yield {"content": text}
        except LinkError as error:
            self.error = self._whole = await _sentence(self._hass, error, self._language)
            for call, name in running.items():
                yield _result(call, name, llm.ToolResult(data={"text": error.text}, error=True))
            if running:
                yield {"role": "assistant"}
            yield {"content": f" {self.error}" if said else self.error, "native": _Failed()}


def _result(call: str, name: str, result: llm.ToolResult) -> conversation.ToolResultContentDeltaDict:
    return {"role": "tool_result", "tool_call_id": call, "tool_name": name, "result": result}


def _history(chat_log: conversation.ChatLog, agent_id: str) -> list[Shape]:
    """Earlier questions of the conversation that were answered, the oldest first."""
    past: list[Shape] = []
    failed: list[Shape] = []
    for content in chat_log.content:
        if isinstance(content, conversation.UserContent):
            past.append({"question": content.content[:LONGEST_TEXT], "answer": "", "ours": False})
        elif isinstance(content, conversation.AssistantContent) and content.content and past:
            if isinstance(content.native, _Failed) or content.content.startswith(_ERROR):
                failed.append(past[-1])
            past[-1]["answer"] = f"{past[-1]['answer']} {content.content}".strip()[:LONGEST_TEXT]
            past[-1]["ours"] = content.agent_id == agent_id
    # The last question is the one that is asked now.
    return [one for one in past[:-1] if one["answer"] and all(one is not other for other in failed)][-_MOST_PAST:]


def _bounded(name: str) -> str:
    """An id as the server takes it. A long one becomes another that is as unique."""
    return name if len(name) <= LONGEST_ID else sha256(name.encode()).hexdigest()


async def _sentence(hass: HomeAssistant, error: LinkError, language: str) -> str:
    """What is said of a failure: the link's own in the speaker's language, the server's as it said it."""
    translations = await async_get_translations(hass, language, "exceptions", [DOMAIN])
    return translations.get(f"component.{DOMAIN}.exceptions.link_{error.code}.message", error.text)
