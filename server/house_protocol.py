"""The messages of `WS /api/v1/house`, by which Home Assistant's integration lends its house to the agent.

One JSON object in each text frame; `type` says which of these it is. The client begins with `hello`, the server answers
`welcome` or `refused` (and closes); then the client sends `lend`, and again whenever something of it has changed.

- A turn of Home Assistant: `turn`; the server sends `turn-delta`…, `turn-tool` and `turn-tool-result` for its own
  tools, and at last `turn-end` or `turn-error`. `cancel` ends it early; nothing comes for it any more.
- What the server asks the house, each answered with one `reply` that repeats its `id` in `to`: `recognize`, `perform`,
  `tool`, `announce`. With `turn` it is asked for a turn of Home Assistant, and runs with that turn's device and user;
  without, for one of a satellite of the server. `withdraw` says that nobody waits any more: the work is to be stopped.
- What the server tells: `timeline` (of a turn that has ended), `busy` (whether somebody is listened to or answered),
  `satellites` (those that are connected to the server).

Unknown keys are ignored, unknown types are answered with nothing, so that either side may be newer.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

PROTOCOL = 1
"""Raised when an older side would misunderstand; `hello` and `welcome` carry it."""

MOST_BYTES = 1 << 20
"""Of one message: a house of a thousand devices with its tools has a fifth of it."""

MOST_NAMES = 2000
MOST_TOOLS = 128
MOST_PAST = 10
LONGEST_TEXT = 4000
LONGEST_ID = 200
LONGEST_NAME = 200
LONGEST_INSTRUCTIONS = 200_000
LONGEST_RESULT = 200_000

Id = Annotated[str, Field(max_length=LONGEST_ID)]
Name = Annotated[str, Field(max_length=LONGEST_NAME)]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]


class Message(BaseModel):
    """Base of all."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ToolShape(Message):
    """A tool of the house."""

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    description: str = ""
    parameters: dict[str, object] = Field(default_factory=dict)
    """A JSON schema of an object."""
    read_only: bool = False
    open_world: bool = True
    """Whether strangers may have written what it returns."""


class Toolset(Message):
    """Tools, and what a language model must know to use them."""

    instructions: Annotated[str, Field(max_length=LONGEST_INSTRUCTIONS)] = ""
    tools: Annotated[list[ToolShape], Field(max_length=MOST_TOOLS)] = Field(default_factory=list)


class Past(Message):
    """An earlier question and answer of the conversation."""

    question: Text
    answer: Text
    ours: bool = False
    """Whether this server gave the answer; else Home Assistant did, with a sentence that it knows itself."""


class Hello(Message):
    type: Literal["hello"]
    protocol: int
    instance: Id
    """Home Assistant's own id: two connections with the same are one house, and the newer stays."""
    version: Name = ""
    name: Name = ""
    """Of the house, for the log and the status page."""


class Lend(Message):
    type: Literal["lend"]
    names: Annotated[list[Name], Field(max_length=MOST_NAMES)] = Field(default_factory=list)
    """Of exposed devices, rooms and people."""
    rooms: Annotated[dict[Id, Name], Field(max_length=MOST_NAMES)] = Field(default_factory=dict)
    """Of the server's satellites, by their names."""
    people: Annotated[dict[Id, Name], Field(max_length=MOST_NAMES)] = Field(default_factory=dict)
    """Names of Home Assistant's users, by their ids."""
    sentences: bool = False
    """Whether `recognize` and `perform` are answered."""
    toolset: Toolset | None = None
    """What turns of the server's satellites may use."""


class Turn(Message):
    """Something that was said to Home Assistant and is for the agent."""

    type: Literal["turn"]
    id: Id
    text: Text
    language: Annotated[str, Field(max_length=35)]
    conversation_id: Id = ""
    satellite: Id = ""
    """Home Assistant's own name of the satellite, as in 'assist_satellite.kitchen'; else of the device."""
    user: Id = ""
    room: Name = ""
    toolset: Toolset | None = None
    """What this turn may use; null for no tools."""
    instructions: Annotated[str, Field(max_length=LONGEST_INSTRUCTIONS)] = ""
    """What the owner, or an automation, adds to what the language model is told."""
    history: Annotated[list[Past], Field(max_length=MOST_PAST)] = Field(default_factory=list)
    """Oldest first."""


class Cancel(Message):
    type: Literal["cancel"]
    id: Id


class Problem(Message):
    code: Name
    text: Text


class Reply(Message):
    """To `recognize`: `understood` (null where it is not). To `perform`: `understood` (null where it is not any more),
    `text`, `failed`. To `tool`: `text`, `failed`. To `announce`: `heard`."""

    type: Literal["reply"]
    to: int
    error: Problem | None = None
    understood: UnderstoodShape | None = None
    text: Annotated[str, Field(max_length=LONGEST_RESULT)] = ""
    failed: bool = False
    heard: bool = False


class UnderstoodShape(Message):
    intent: Name
    acts: bool = True
    open_ended: bool = False


FromHouse = Annotated[Hello | Lend | Turn | Cancel | Reply, Field(discriminator="type")]

FROM_HOUSE: TypeAdapter[Hello | Lend | Turn | Cancel | Reply] = TypeAdapter(FromHouse)


class SatelliteShape(Message):
    id: Id
    room: Name = ""
    """As the server's own settings say."""


class Welcome(Message):
    type: Literal["welcome"] = "welcome"
    protocol: int = PROTOCOL
    version: str
    id: str
    """The server's uuid."""
    wyoming_port: int
    satellites: list[SatelliteShape]
    busy: bool


class Refused(Message):
    """Followed by a close with 4400 (bad message), 4406 (protocol), 4408 (no `hello`) or 4429 (too many)."""

    type: Literal["refused"] = "refused"
    code: str
    text: str


class TurnDelta(Message):
    """Text for the listener."""

    type: Literal["turn-delta"] = "turn-delta"
    id: str
    text: str


class TurnTool(Message):
    """One of the server's own tools runs now; a tool of the house comes as `tool` instead."""

    type: Literal["turn-tool"] = "turn-tool"
    id: str
    call: str
    name: str
    arguments: dict[str, object]


class TurnToolResult(Message):
    type: Literal["turn-tool-result"] = "turn-tool-result"
    id: str
    call: str
    text: str
    failed: bool


class TurnEnd(Message):
    type: Literal["turn-end"] = "turn-end"
    id: str
    text: str
    """The whole answer."""
    listen: bool
    """Whether it is a question: then the microphone opens again."""


class TurnError(Message):
    """Also of a `turn` that is a bad message, where its id can be read: then the connection stays."""

    type: Literal["turn-error"] = "turn-error"
    id: str
    code: str
    text: str


class Place(Message):
    """From where something is said at a satellite of the server; all empty where `turn` is set."""

    satellite: str = ""
    user: str = ""
    room: str = ""


class Asked(Place):
    """Something that is asked of the house, for a turn of its own or of the server's."""

    id: int
    turn: str | None = None
    language: str


class Recognize(Asked):
    """Whether Home Assistant's own sentences and triggers understand a text. It must change nothing."""

    type: Literal["recognize"] = "recognize"
    text: str


class Perform(Asked):
    """Do what such a text means."""

    type: Literal["perform"] = "perform"
    text: str


class Tool(Asked):
    """Run a tool of the house."""

    type: Literal["tool"] = "tool"
    language: str
    """Empty where it is not known: then it is Home Assistant's own."""
    call: str
    name: str
    arguments: dict[str, object]


class Announce(Message):
    """Say something at one of Home Assistant's own satellites, or show it to everybody where `satellite` is empty."""

    type: Literal["announce"] = "announce"
    id: int
    satellite: str
    text: str
    language: str


class Withdraw(Message):
    type: Literal["withdraw"] = "withdraw"
    id: int


class TimelineMessage(Message):
    """A turn, or the use of one service, has ended."""

    type: Literal["timeline"] = "timeline"
    service: str
    """pipeline, handle or asr."""
    outcome: str
    route: str
    stages_ms: dict[str, float]
    """Waits by name: endpoint, transcript, route, first_token, first_sentence, first_audio, response."""


class Busy(Message):
    type: Literal["busy"] = "busy"
    busy: bool


class Satellites(Message):
    type: Literal["satellites"] = "satellites"
    satellites: list[SatelliteShape]


Reply.model_rebuild()
