"""The house of the tests: what stands in its configuration.yaml, and where its lamps are."""

from __future__ import annotations

import json
from pathlib import Path

from tests.custom_components.support.server import ROOT
from tests.e2e.support.home_assistant import HomeAssistant, Json

LAMP = "input_boolean.kitchen_light"
ODD_LAMP = "input_boolean.cinnabar_lamp"
"""Its name is one that speech recognition does not expect."""

CEILING = "light.ceiling"
"""Of the bedroom."""

_CONFIGURATION = """
homeassistant:
  name: Home
api:
auth:
config:
conversation:
assist_pipeline:
repairs:
diagnostics:
template:
  - light:
      - name: Ceiling
        unique_id: ceiling
        state: "{{ is_state('input_boolean.ceiling', 'on') }}"
        turn_on: {action: input_boolean.turn_on, target: {entity_id: input_boolean.ceiling}}
        turn_off: {action: input_boolean.turn_off, target: {entity_id: input_boolean.ceiling}}
input_boolean:
  ceiling:
  kitchen_light:
    name: Kitchen light
  cinnabar_lamp:
    name: Cinnabar lamp
logger:
  default: warning
  logs:
    custom_components.meadowlark: info
"""

_ROOMS = ("Attic", "Cellar", "Garage", "Garden", "Hall", "Library", "Nursery", "Office", "Pantry", "Study")
_THINGS = ("Blanket", "Candle", "Clock", "Fan", "Fountain", "Heater", "Lantern", "Projector", "Pump", "Radio")


def make_house(folder: Path, more: int = 0) -> HomeAssistant:
    """A Home Assistant in an empty folder, with our integration there; `more` adds devices, up to a hundred."""
    (folder / "custom_components").mkdir()
    (folder / "custom_components" / "meadowlark").symlink_to(ROOT / "custom_components" / "meadowlark")
    named = {f"thing_{number}": {"name": name} for number, name in enumerate(_names()[:more])}
    added = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in named.items())
    return HomeAssistant(folder, _CONFIGURATION.replace("input_boolean:\n", f"input_boolean:\n{added}", 1))


async def furnish(home: HomeAssistant, more: int = 0) -> None:
    """Lamps in their rooms, which Assist may switch."""
    areas = {str(area["name"]): area["area_id"] for area in await home.listed("config/area_registry/list")}
    lamps: dict[str, Json] = {LAMP: areas["Kitchen"], ODD_LAMP: areas["Kitchen"], CEILING: areas["Bedroom"]}
    for lamp, area in lamps.items():
        await home.call("config/entity_registry/update", entity_id=lamp, area_id=area)
    exposed: list[Json] = [*lamps, *(f"input_boolean.thing_{number}" for number in range(more))]
    await home.call("homeassistant/expose_entity", assistants=["conversation"], entity_ids=exposed, should_expose=True)


def _names() -> list[str]:
    return [f"{room} {thing}" for room in _ROOMS for thing in _THINGS]
