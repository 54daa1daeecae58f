"""The server's agent as a conversation entity: it streams, acts with Home Assistant's tools, and asks back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
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
from homeassistant.util.ulid import ulid_now

from .const import DEFAULT_LLM_APIS, DOMAIN, LOGGER
from .data import MeadowlarkConfigEntry
from .entity import MeadowlarkEntity
from .lending import LONGEST_INSTRUCTIONS, LONGEST_NAME, LONGEST_TEXT, Shape, failure, told
from .link import Delta, End, HouseTool, HouseTools, LinkError, ServerTool, ServerToolResult, Turn, TurnEvent
from .satellites import area_of

PARALLEL_UPDATES = 0
"""The server has a limit of its own, and conversations do not wait for each other."""

_MOST_PAST = 10
"""Earlier questions and answers that the server is told, as many as it takes."""

type _Deltas = AsyncGenerator[conversation.AssistantContentDeltaDict | conversation.ToolResultContentDeltaDict]

type _Reply = Callable[[HouseTool, Shape], None]
"""Tells the server what came of a tool."""


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
        answer = _Answer(self.hass, self.entity_id, self._link.answer, user_input.language)
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
            "language": user_input.language,
            "conversation_id": chat_log.conversation_id,
            "satellite": user_input.satellite_id or user_input.device_id or "",
            "user": user_id or "",
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

    def __init__(self, hass: HomeAssistant, agent_id: str, reply: _Reply, language: str) -> None:
        self.listen = False
        """Whether it is a question: then the microphone opens again."""
        self.error: str | None = None
        """What is said because the turn failed."""
        self._hass = hass
        self._agent_id = agent_id
        self._reply = reply
        self._language = language
        self._whole = ""
        self._waiting: dict[str, HouseTool] = {}
        """Tools of the house that run, by the ids of their calls in the chat log."""

    async def write(self, chat_log: conversation.ChatLog, events: AsyncGenerator[TurnEvent]) -> None:
        """Write what happens in a turn into the chat log. Home Assistant runs the tools, and the server is told."""
        async with aclosing(self._deltas(events)) as deltas:
            while True:
                try:
                    async for content in chat_log.async_add_delta_content_stream(self._agent_id, deltas):
                        if isinstance(content, conversation.ToolResultContent):
                            self._tell(content.tool_call_id, content.result)
                    break
                except Exception as error:
                    if not self._waiting:
                        raise
                    # A tool with a defect: the chat log lets go of all that run. The answer goes on, in a new stream.
                    LOGGER.warning("A tool of Home Assistant failed (%s)", type(error).__name__)
                    LOGGER.debug("A tool failed", exc_info=error)
                    for call_id, tool in tuple(self._waiting.items()):
                        result = failure(error)
                        chat_log.async_add_assistant_content_without_tools(
                            conversation.ToolResultContent(self._agent_id, call_id, tool.name, result)
                        )
                        self._tell(call_id, result)
        if not isinstance(chat_log.content[-1], conversation.AssistantContent) or not chat_log.content[-1].content:
            chat_log.async_add_assistant_content_without_tools(
                conversation.AssistantContent(agent_id=self._agent_id, content=self._whole)
            )

    def _tell(self, call_id: str, result: llm.ToolResult) -> None:
        """Tell the server what came of a tool of the house."""
        tool = self._waiting.pop(call_id, None)
        if tool is not None:
            self._reply(tool, told(result))

    async def _deltas(self, events: AsyncGenerator[TurnEvent]) -> _Deltas:
        """What happens in a turn, as the chat log takes it. A failure is said, too."""
        said = False
        running: dict[str, str] = {}
        yield {"role": "assistant"}
        try:
            async for event in events:
                match event:
                    case Delta(text):
                        said = True
                        yield {"content": text}
                    case ServerTool(call, name, arguments):
                        running[call] = name
                        yield {"tool_calls": [llm.ToolInput(name, arguments, id=call, external=True)]}
                    case ServerToolResult(call, text, failed) if call in running:
                        yield _result(call, running.pop(call), {"text": text}, failed)
                        yield {"role": "assistant"}
                    case HouseTools(tools):
                        yield {"tool_calls": [self._wanted(tool) for tool in tools]}
                        yield {"role": "assistant"}  # Home Assistant runs them now, and goes on when they are done
                    case End(text, listen):
                        self._whole, self.listen = text, listen
                        if not said and text:
                            yield {"content": text}
        except LinkError as error:
            for call, name in running.items():
                yield _result(call, name, {"text": error.text}, True)
            self.error = self._whole = await _sentence(self._hass, error, self._language)
            if running:
                yield {"role": "assistant"}
            yield {"content": f" {self.error}" if said else self.error}

    def _wanted(self, tool: HouseTool) -> llm.ToolInput:
        """A tool of the house, for Home Assistant to run. Some language models number their calls anew each time."""
        call_id = ulid_now() if not tool.call or tool.call in self._waiting else tool.call
        self._waiting[call_id] = tool
        return llm.ToolInput(tool.name, tool.arguments, id=call_id)


def _result(call: str, name: str, data: dict[str, str], failed: bool) -> conversation.ToolResultContentDeltaDict:
    return {
        "role": "tool_result",
        "tool_call_id": call,
        "tool_name": name,
        "result": llm.ToolResult(data=dict(data), error=failed),
    }


def _history(chat_log: conversation.ChatLog, agent_id: str) -> list[Shape]:
    """Earlier questions of the conversation that were answered, the oldest first."""
    past: list[Shape] = []
    question = ""
    for content in chat_log.content:
        if isinstance(content, conversation.UserContent):
            question = content.content
            past.append({"question": question[:LONGEST_TEXT], "answer": "", "ours": False})
        elif isinstance(content, conversation.AssistantContent) and content.content and past:
            past[-1]["answer"] = f"{past[-1]['answer']} {content.content}".strip()[:LONGEST_TEXT]
            past[-1]["ours"] = content.agent_id == agent_id
    # The last question is the one that is asked now.
    return [one for one in past[:-1] if one["answer"]][-_MOST_PAST:]


async def _sentence(hass: HomeAssistant, error: LinkError, language: str) -> str:
    """What is said of a failure: the link's own in the speaker's language, the server's as it said it."""
    translations = await async_get_translations(hass, language, "exceptions", [DOMAIN])
    return translations.get(f"component.{DOMAIN}.exceptions.link_{error.code}.message", error.text)
