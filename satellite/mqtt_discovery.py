"""How Home Assistant's MQTT integration finds the satellite: one message that describes a device and its entities."""

from __future__ import annotations

import re

from satellite.volume import LOUDEST


def slug(name: str) -> str:
    """The name in letters, digits, - and _; different for different names."""
    return re.sub(r"[^a-zA-Z0-9-]", lambda found: f"_{ord(found[0]):x}", name)


def discovery(root: str, name: str) -> dict[str, object]:
    """What Home Assistant's MQTT integration is told of a device (its "device discovery", since 2024.11)."""
    identity = f"meadowlark_satellite_{slug(name)}"
    state = {"state_topic": f"{root}/state"}
    command = {"command_topic": f"{root}/command"}
    components: dict[str, dict[str, object]] = {
        "state": {
            "platform": "sensor",
            "name": "State",
            "icon": "mdi:account-voice",
            "device_class": "enum",
            "options": ["waiting", "listening", "asking", "answering"],
            "value_template": "{{ value_json.state }}",
            **state,
        },
        "mute": {
            "platform": "switch",
            "name": "Mute",
            "icon": "mdi:microphone-off",
            "payload_on": "mute",
            "payload_off": "unmute",
            "value_template": "{{ 'mute' if value_json.muted else 'unmute' }}",
            **state,
            **command,
        },
        "volume": {
            "platform": "number",
            "name": "Volume",
            "icon": "mdi:volume-high",
            "min": 0,
            "max": LOUDEST,
            "unit_of_measurement": "%",
            "command_template": "volume {{ value | int }}",
            "value_template": "{{ value_json.volume }}",
            **state,
            **command,
        },
        "talk": {"platform": "button", "name": "Talk", "icon": "mdi:microphone", "payload_press": "talk", **command},
        "stop": {"platform": "button", "name": "Stop", "icon": "mdi:stop", "payload_press": "stop", **command},
    }
    for key, component in components.items():
        component["unique_id"] = f"{identity}_{key}"
    return {
        "device": {"identifiers": [identity], "name": name, "manufacturer": "Meadowlark", "model": "Satellite"},
        "origin": {"name": "Meadowlark"},
        "availability_topic": f"{root}/availability",
        "components": components,
    }
