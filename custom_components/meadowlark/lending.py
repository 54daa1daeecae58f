"""What is lent of the house: names, rooms, people, sentences that Home Assistant understands, tools, loudspeakers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import probatio
from hassil.recognize import RecognizeResult
from hassil.util import remove_punctuation
from homeassistant.auth import EVENT_USER_ADDED, EVENT_USER_REMOVED, EVENT_USER_UPDATED
from homeassistant.components import conversation, persistent_notification
from homeassistant.components.conversation.default_agent import DefaultAgent
from homeassistant.components.homeassistant.exposed_entities import async_listen_entity_updates, async_should_expose
from homeassistant.components.intent import async_device_supports_timers
from homeassistant.components.media_player import INTENT_MEDIA_SEARCH_AND_PLAY
from homeassistant.const import ATTR_ENTITY_ID, CONF_LLM_HASS_API, EVENT_COMPONENT_LOADED, EVENT_STATE_CHANGED
from homeassistant.core import CALLBACK_TYPE, Context, Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import area_registry as ar
from homeassistant.helpers import chat_session, intent, llm
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import floor_registry as fr
from homeassistant.helpers.json import json_dumps
from homeassistant.util.event_type import EventType
from homeassistant.util.ulid import ulid_now

from .const import CONF_LEND_HOUSE, DEFAULT_LLM_APIS, DOMAIN, LOGGER, NAME
from .satellites import Satellites

if TYPE_CHECKING:
    from .data import MeadowlarkConfigEntry
    from .turn import Turn

EVENT_ANNOUNCEMENT = f"{DOMAIN}_announcement"
"""Fired with `text` and `language` when something is to be said that belongs to no satellite of Home Assistant's."""

MOST_NAMES = 2000
MOST_TOOLS = 128
LONGEST_NAME = 200
LONGEST_ID = 200
LONGEST_LANGUAGE = 35
LONGEST_TEXT = 4000
LONGEST_INSTRUCTIONS = 200_000
LONGEST_RESULT = 200_000
"""Bounds of the server's messages: one that breaks them ends the connection."""

_MOST_LANGUAGES = 16
"""Whose sentences are loaded: each takes some megabytes, and a house speaks two or three."""

_USUAL_DOMAINS = ("light", "switch", "cover", "climate", "media_player")
"""What people name most; speech recognition hears the first names of the list best."""

_TELLS = frozenset(
    {
        intent.INTENT_GET_STATE,
        intent.INTENT_GET_TEMPERATURE,
        intent.INTENT_GET_CURRENT_DATE,
        intent.INTENT_GET_CURRENT_TIME,
        intent.INTENT_TIMER_STATUS,
        intent.INTENT_NEVERMIND,
        intent.INTENT_RESPOND,
        "HassGetWeather",
    }
)
"""Home Assistant's own intents that change nothing. It says so of tools, but not of intents; any other may act."""

_TIMERS = frozenset(
    {
        intent.INTENT_START_TIMER,
        intent.INTENT_CANCEL_TIMER,
        intent.INTENT_CANCEL_ALL_TIMERS,
        intent.INTENT_INCREASE_TIMER,
        intent.INTENT_DECREASE_TIMER,
        intent.INTENT_PAUSE_TIMER,
        intent.INTENT_UNPAUSE_TIMER,
        intent.INTENT_TIMER_STATUS,
    }
)
"""Understood everywhere, but only a device that can ring has such timers; elsewhere the server's own are meant."""

_AGENTS_OWN = frozenset({intent.INTENT_GET_STATE, INTENT_MEDIA_SEARCH_AND_PLAY})
"""Home Assistant leaves them to an agent that has its tools, as that one answers better, and so do turns of its own."""

type Shape = dict[str, object]
"""A JSON object of the server's messages."""


class Lending:
    """Tells a server what the house has, and does what the server asks of the house."""

    def __init__(self, hass: HomeAssistant, entry: MeadowlarkConfigEntry) -> None:
        self.satellites = Satellites(hass, entry)
        self._hass = hass
        self._entry = entry
        self._languages: dict[str, asyncio.Task[bool]] = {}
        self._complained: set[str] = set()

    @callback
    def listen(self, changed: Callable[[], None]) -> CALLBACK_TYPE:
        """Have `changed` called when something of `lend` may be different. Returns what ends it."""

        @callback
        def on_event(_event: Event[Any]) -> None:
            changed()

        @callback
        def renamed(data: EventStateChangedData) -> bool:
            old, new = data["old_state"], data["new_state"]
            return old is None or new is None or old.name != new.name

        kinds: list[EventType[Any] | str] = [
            ar.EVENT_AREA_REGISTRY_UPDATED,
            dr.EVENT_DEVICE_REGISTRY_UPDATED,
            er.EVENT_ENTITY_REGISTRY_UPDATED,
            fr.EVENT_FLOOR_REGISTRY_UPDATED,
            EVENT_COMPONENT_LOADED,  # it may bring tools
            EVENT_USER_ADDED,
            EVENT_USER_REMOVED,
            EVENT_USER_UPDATED,
        ]
        listeners = [self._hass.bus.async_listen(kind, on_event) for kind in kinds]
        listeners.append(self._hass.bus.async_listen(EVENT_STATE_CHANGED, on_event, event_filter=renamed))
        listeners.append(async_listen_entity_updates(self._hass, conversation.DOMAIN, changed))

        @callback
        def end() -> None:
            for remove in listeners:
                remove()

        return end

    async def lend(self) -> Shape:
        """The message that says what the house lends now."""
        if not self._entry.options.get(CONF_LEND_HOUSE, True):
            return {"type": "lend"}
        await self._load(self._hass.config.language)  # so that the first sentence need not wait for it
        return {
            "type": "lend",
            "names": list(_bounded(self._names())),
            "rooms": _rooms(self.satellites.rooms),
            "people": await self._people(),
            "sentences": bool(self._apis),
            "toolset": await self._satellites_toolset(),
        }

    async def answer(self, message: Mapping[str, object], turn: Turn | None) -> Shape:
        """What the house replies to a request of the server. HomeAssistantError when that fails."""
        match message:
            case {"type": "recognize", "text": str(), "language": str()}:
                said = await self._said(message, turn)
                return {"understood": await self._recognize(said, turn) if self._may_act(turn) else None}
            case {"type": "perform", "text": str(), "language": str()}:
                said = await self._said(message, turn)
                return await self._perform(said, turn) if self._may_act(turn) else {"understood": None}
            case {"type": "tool", "name": str(name), "arguments": dict(arguments), "call": str(call)}:
                if not self._may_act(turn):
                    raise HomeAssistantError("Home Assistant does not lend its tools to satellites of this server")
                said = await self._said(message, turn)
                return await self._run_tool(said, llm.ToolInput(name, arguments, id=call or ulid_now()))
            case {"type": "announce", "satellite": str(satellite), "text": str(text), "language": str(language)}:
                return {"heard": await self._announce(satellite, text, language)}
        raise HomeAssistantError("Home Assistant does not know this request")

    async def run_tool(self, call: llm.ToolInput, turn: Turn) -> llm.ToolResult:
        """Run a tool that was lent to a turn. Any error of the tool is raised."""
        if turn.chat_log.llm_api is None:
            raise HomeAssistantError("This turn has no tools")
        return await turn.chat_log.llm_api.async_call_tool(call)

    def toolset(self, api: llm.APIInstance) -> Shape:
        """Home Assistant's tools as the server describes them to its language model."""
        tools: list[Shape] = []
        for tool in api.tools[:MOST_TOOLS]:
            try:
                parameters = probatio.to_openapi(
                    tool.parameters, custom_serializer=api.custom_serializer, openapi_version="3.1.0"
                )
                json_dumps(parameters)
            except Exception as error:  # it comes from anybody's integration, and the others still work
                self._complain(f"The tool {tool.name} cannot be used, as it does not describe itself: {error}")
                continue
            tools.append(
                {
                    "name": tool.name[:LONGEST_NAME],
                    "description": tool.description or "",
                    "parameters": parameters,
                    "read_only": tool.annotations.read_only,
                    "open_world": tool.annotations.open_world,
                }
            )
        return {"instructions": api.api_prompt[:LONGEST_INSTRUCTIONS], "tools": tools}

    @property
    def _apis(self) -> list[str]:
        """The sets of tools that the owner has chosen; none: the agent may not act."""
        return list(self._entry.options.get(CONF_LLM_HASS_API, DEFAULT_LLM_APIS))

    def _may_act(self, turn: Turn | None) -> bool:
        """Whether a turn may use the house: one of Home Assistant's own, else one of the server's where it is lent."""
        return bool(self._apis) and (turn is not None or self._entry.options.get(CONF_LEND_HOUSE, True))

    def _names(self) -> Iterator[str]:
        """All that people may name, the most useful first."""
        for area in ar.async_get(self._hass).async_list_areas():
            yield from (area.name, *sorted(area.aliases))
        registry = er.async_get(self._hass)
        usual: list[str] = []
        others: list[str] = []
        for state in self._hass.states.async_all():
            if not async_should_expose(self._hass, conversation.DOMAIN, state.entity_id):
                if state.domain == "person":
                    others.append(state.name)
                continue
            names = intent.async_get_entity_aliases(self._hass, registry.async_get(state.entity_id), state=state)
            (usual if state.domain in _USUAL_DOMAINS else others).extend(names)
        yield from usual
        for floor in fr.async_get(self._hass).async_list_floors():
            yield from (floor.name, *sorted(floor.aliases))
        yield from others

    async def _people(self) -> dict[str, str]:
        """What Home Assistant's users are called, by their ids."""
        users = [
            user for user in await self._hass.auth.async_get_users() if user.is_active and not user.system_generated
        ]
        return {user.id: user.name[:LONGEST_NAME] for user in users[:MOST_NAMES] if user.name}

    async def _satellites_toolset(self) -> Shape | None:
        """What turns of the server's satellites may use. A single satellite is taken for the speaker's: then the
        instructions name its area."""
        if not self._apis:
            return None
        satellites = self.satellites.connected
        device_id = self.satellites.device_id(satellites[0].id) if len(satellites) == 1 else None
        try:
            api = await llm.async_get_api(
                self._hass, self._apis, _llm_context(Context(), self._hass.config.language, device_id)
            )
        except HomeAssistantError as error:
            self._complain(f"The tools chosen for {self._entry.title} cannot be lent to its satellites: {error!r}")
            return None
        return self.toolset(api)

    async def _said(self, message: Mapping[str, object], turn: Turn | None) -> conversation.ConversationInput:
        """What was said, by whom and where, as Home Assistant sees it."""
        text, language = str(message.get("text", "")), str(message.get("language") or self._hass.config.language)
        if turn is not None:
            return replace(turn.user_input, text=text or turn.user_input.text, language=language)
        user = str(message.get("user", ""))
        known = user and await self._hass.auth.async_get_user(user)
        satellite = str(message.get("satellite", ""))
        return conversation.ConversationInput(
            text=text,
            context=Context(user_id=user if known else None),
            conversation_id=None,
            device_id=self.satellites.device_id(satellite) if satellite else None,
            satellite_id=None,
            language=language,
            agent_id=conversation.HOME_ASSISTANT_AGENT,
        )

    async def _recognize(self, said: conversation.ConversationInput, turn: Turn | None) -> Shape | None:
        """Whether sentences of automations, or of Home Assistant itself, mean exactly this. Changes nothing."""
        agent = conversation.async_get_agent(self._hass)
        if not isinstance(agent, DefaultAgent):
            return None
        trigger = await agent.async_recognize_sentence_trigger(said)
        if trigger is not None:
            matches = trigger.matched_triggers.values()
            open_ended = any(_is_open_ended(result, said.text) for result in matches)
            return {"intent": "sentence_trigger", "acts": True, "open_ended": open_ended}
        if not await self._load(said.language):
            return None
        result = await agent.async_recognize_intent(said, strict_intents_only=True)
        if result is None or not self._is_for_us(result, said, turn):
            return None
        name = result.intent.name
        return {
            "intent": name[:LONGEST_NAME],
            "acts": name not in _TELLS,
            "open_ended": _is_open_ended(result, said.text),
        }

    async def _perform(self, said: conversation.ConversationInput, turn: Turn | None) -> Shape:
        """Do what a sentence means, in the chat log of the turn, else in one of its own."""
        if turn is not None:
            return await self._perform_in(said, turn.chat_log, turn)
        session = chat_session.ChatSession(ulid_now())
        try:
            with conversation.async_get_chat_log(self._hass, session, said) as chat_log:
                return await self._perform_in(said, chat_log, None)
        finally:
            session.async_cleanup()

    async def _perform_in(
        self, said: conversation.ConversationInput, chat_log: conversation.ChatLog, turn: Turn | None
    ) -> Shape:
        spoken = await conversation.async_handle_sentence_triggers(self._hass, said, chat_log)
        if spoken is not None:
            return {"understood": {"intent": "sentence_trigger"}, "text": spoken[:LONGEST_RESULT]}
        done: list[str] = []

        def is_not_for_us(result: RecognizeResult) -> bool:
            done[:] = [result.intent.name]
            return not self._is_for_us(result, said, turn)

        if not await self._load(said.language):
            return {"understood": None}
        response = await conversation.async_handle_intents(self._hass, said, chat_log, intent_filter=is_not_for_us)
        if response is None:
            return {"understood": None}
        speech = response.speech.get("plain", {}).get("speech") or ""
        return {
            "understood": {"intent": done[0][:LONGEST_NAME], "acts": done[0] not in _TELLS},
            "text": speech[:LONGEST_RESULT],
            "failed": response.response_type is intent.IntentResponseType.ERROR,
        }

    def _is_for_us(self, result: RecognizeResult, said: conversation.ConversationInput, turn: Turn | None) -> bool:
        """Whether a match is whole, something here can do it, and it can do it there."""
        name = result.intent.name
        if turn is not None and name in _AGENTS_OWN:
            return False
        if result.unmatched_entities or all(handler.intent_type != name for handler in intent.async_get(self._hass)):
            return False
        if name not in _TIMERS:
            return True
        return said.device_id is not None and async_device_supports_timers(self._hass, said.device_id)

    async def _load(self, language: str) -> bool:
        """Load the sentences of a language; False where there are none. The first time takes a second or two, longer
        than the server waits, so the loading goes on when nobody does."""
        if language not in self._languages:
            agent = conversation.async_get_agent(self._hass)
            if not isinstance(agent, DefaultAgent) or len(self._languages) >= _MOST_LANGUAGES:
                return False

            async def load() -> bool:
                try:
                    return await agent.async_get_or_load_intents(language) is not None
                except BaseException:
                    del self._languages[language]  # the next sentence tries again
                    raise

            self._languages[language] = self._entry.async_create_background_task(
                self._hass, load(), f"{DOMAIN} load sentences"
            )
        return await asyncio.shield(self._languages[language])

    async def _run_tool(self, said: conversation.ConversationInput, call: llm.ToolInput) -> Shape:
        context = _llm_context(said.context, said.language, said.device_id)
        try:
            api = await llm.async_get_api(self._hass, self._apis, context)
            return told(await api.async_call_tool(call))
        except (HomeAssistantError, probatio.Invalid) as error:
            return told(failure(error))

    async def _announce(self, satellite: str, text: str, language: str) -> bool:
        """Say something at a satellite of Home Assistant's, and wait until it was said; '' shows it to everybody."""
        if not satellite:
            persistent_notification.async_create(self._hass, text, NAME)
            self._hass.bus.async_fire(EVENT_ANNOUNCEMENT, {"text": text, "language": language})
            return True
        entity_id = satellite
        if not satellite.startswith("assist_satellite."):
            entries = er.async_entries_for_device(er.async_get(self._hass), satellite)
            entity_id = next((one.entity_id for one in entries if one.domain == "assist_satellite"), "")
        if self._hass.states.get(entity_id) is None:
            return False
        try:
            await self._hass.services.async_call(
                "assist_satellite", "announce", {ATTR_ENTITY_ID: entity_id, "message": text}, blocking=True
            )
        except HomeAssistantError as error:
            LOGGER.debug("%s could not announce: %s", entity_id, error)
            return False
        return True

    def _complain(self, sentence: str) -> None:
        """Log something that the user can mend, once."""
        if sentence not in self._complained and len(self._complained) < MOST_TOOLS:
            self._complained.add(sentence)
            LOGGER.warning("%s", sentence)


def told(result: llm.ToolResult) -> Shape:
    """What a tool returned, as the server is told."""
    failed = result.error or result.data.get("response_type") == intent.IntentResponseType.ERROR.value
    return {"text": json_dumps(result.data)[:LONGEST_RESULT], "failed": failed}


def failure(error: Exception) -> llm.ToolResult:
    """The result of a tool that raised, as Home Assistant's chat log has it."""
    return llm.ToolResult(data={"error": type(error).__name__, "error_text": str(error)}, error=True)


def _llm_context(context: Context, language: str, device_id: str | None) -> llm.LLMContext:
    return llm.LLMContext(
        platform=DOMAIN, context=context, language=language, assistant=conversation.DOMAIN, device_id=device_id
    )


def _rooms(rooms: Mapping[str, str]) -> dict[str, str]:
    """Of satellites, as many and as long as the server takes."""
    return {satellite: room[:LONGEST_NAME] for satellite, room in islice(rooms.items(), MOST_NAMES)}


def _bounded(names: Iterable[str]) -> Iterator[str]:
    """Each name once, in one line, none that nobody would say, and not too many."""
    seen: set[str] = set()
    for name in names:
        plain = " ".join(name.split())
        if not plain or len(plain) > LONGEST_NAME or plain.casefold() in seen:
            continue
        seen.add(plain.casefold())
        yield plain
        if len(seen) == MOST_NAMES:
            return


def _is_open_ended(result: RecognizeResult, text: str) -> bool:
    """Whether a sentence ends with a slot that takes any words, so that more of them may follow."""
    end = remove_punctuation(text).strip().casefold()
    wild = (remove_punctuation(entity.text).strip().casefold() for entity in result.entities_list if entity.is_wildcard)
    return any(words and end.endswith(words) for words in wild)
