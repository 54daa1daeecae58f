"""Every sentence that the integration shows exists, and none is left over: read from the source, not from a run."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from homeassistant.components.sensor import SensorEntityDescription
from homeassistant.const import CONF_LLM_HASS_API, CONF_PROMPT
from homeassistant.core import HomeAssistant
from homeassistant.helpers.icon import async_get_icons
from homeassistant.helpers.translation import async_get_translations

import custom_components
from custom_components.meadowlark import ISSUES, client, config_flow
from custom_components.meadowlark.binary_sensor import CONNECTED, TURN
from custom_components.meadowlark.client import ClientError
from custom_components.meadowlark.const import CONF_LEND_HOUSE, DOMAIN
from custom_components.meadowlark.sensor import SENSORS

FOLDER = Path(custom_components.__path__[0]) / DOMAIN

CLIENT_KEYS = {
    value.key for value in vars(client).values() if isinstance(value, type) and issubclass(value, ClientError)
}
"""What the client's errors are called."""

ON_SETUP = {"not_ready", "no_memory", "no_such_memory", "no_satellite", "refused"}
"""Errors of the client that a flow cannot meet: it asks only what a server is."""

OF_TOKENS = {"invalid_auth", "weak_token"}
"""Errors of the client after which a flow asks for another token."""

OF_FORMS = {"too_old", "too_new"}
"""Errors of the client that only a flow shows; set-up has an issue with its own key instead."""

HOME_ASSISTANTS_OWN = {"reauth_successful", "reconfigure_successful"}
"""Reasons that Home Assistant translates itself."""

CORES = {"already_configured", "already_in_progress"}
"""Reasons that Home Assistant's helpers give and we translate."""

LANGUAGES = sorted(file.stem for file in (FOLDER / "translations").glob("*.json"))


@pytest.fixture(name="strings", scope="module")
def _strings() -> dict[str, dict[str, object]]:
    return _translated("en")


@pytest.fixture(name="icons", scope="module")
def _icons() -> dict[str, dict[str, object]]:
    return json.loads((FOLDER / "icons.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_only_plain_text(language: str) -> None:
    for path, text in _leaves(_translated(language)):
        assert isinstance(text, str), path
        assert text.strip() == text != "", path
        assert "[%key:" not in text, path
        assert not re.search(r"<[a-z]+>|https?://|'{", text), path  # hassfest refuses them
        assert text.count("{") == text.count("}"), path


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_sentences(strings: dict[str, dict[str, object]], language: str) -> None:
    translated, english = (
        {path: set(re.findall(r"{(\w+)}", str(text))) for path, text in _leaves(sentences)}
        for sentences in (_translated(language), strings)
    )
    assert set(translated) == set(english)
    assert translated == english  # of placeholders


def test_sections_are_those_that_home_assistant_knows(strings: dict[str, object], icons: dict[str, object]) -> None:
    assert set(strings) <= {"config", "options", "entity", "exceptions", "issues", "services", "selector"}
    assert set(icons) <= {"entity", "services"}


def test_steps_of_the_flows(strings: dict[str, dict[str, dict[str, object]]]) -> None:
    source = _parsed("config_flow.py")
    flow, options = (_class(source, name) for name in ("MeadowlarkConfigFlow", "MeadowlarkOptionsFlow"))
    assert set(strings["config"]["step"]) == _keywords(flow, "async_show_form", "step_id")
    assert set(strings["options"]["step"]) == _keywords(options, "async_show_form", "step_id")
    for steps in (strings["config"]["step"], strings["options"]["step"]):
        for name, step in steps.items():
            assert {"title", "data", "data_description"} <= set(step), name
            assert set(step["data"]) == set(step["data_description"]), name


def test_fields_of_the_flows(strings: dict[str, dict[str, dict[str, dict[str, object]]]]) -> None:
    token, preferred, address = (
        {str(key) for key in fields} for fields in (config_flow._TOKEN, config_flow._PREFERRED, config_flow._ADDRESS)
    )
    steps = strings["config"]["step"]
    assert set(steps["user"]["data"]) == address | preferred
    assert set(steps["discovery_confirm"]["data"]) == token | preferred
    assert set(steps["reauth_confirm"]["data"]) == token
    assert set(steps["reconfigure"]["data"]) == address
    options = {CONF_LLM_HASS_API, CONF_PROMPT, CONF_LEND_HOUSE, config_flow.CONF_MAKE_PIPELINE}
    assert set(strings["options"]["step"]["init"]["data"]) == options


def test_errors_and_reasons_of_the_flow(strings: dict[str, dict[str, dict[str, str]]]) -> None:
    flow = _class(_parsed("config_flow.py"), "MeadowlarkConfigFlow")
    from_client = CLIENT_KEYS - ON_SETUP
    literal = {
        node.value.value
        for node in ast.walk(flow)
        if isinstance(node, ast.Assign)
        and "errors" in ast.dump(node.targets[0])
        and isinstance(node.value, ast.Constant)
    }
    assert set(strings["config"]["error"]) == from_client | literal
    reasons = _keywords(flow, "async_abort", "reason") | _keywords(flow, "_abort_if_unique_id_mismatch", "reason")
    told = (from_client - OF_TOKENS) | reasons | CORES
    assert set(strings["config"]["abort"]) == told - HOME_ASSISTANTS_OWN
    for key, text in {**strings["config"]["error"], **strings["config"]["abort"]}.items():
        assert set(re.findall(r"{(\w+)}", text)) == ({"version"} if key in OF_FORMS else set()), key


def test_exceptions(strings: dict[str, dict[str, dict[str, str]]]) -> None:
    used = dict(_raised())
    for key in CLIENT_KEYS - OF_FORMS:  # raised by services with the error's own key
        used.setdefault(key, set()).update({"reason", "url"} if key in ON_SETUP - {"not_ready"} else set())
    used.update({key: {"name", "version", "url"} for key in ISSUES})
    link = "".join((FOLDER / name).read_text(encoding="utf-8") for name in ("link.py", "connection.py", "turn.py"))
    used.update(
        {f"link_{code}": set() for code in re.findall(r'LinkError\("(\w+)"', link)}
    )  # said, not raised to the user
    assert set(strings["exceptions"]) == set(used)
    for key, exception in strings["exceptions"].items():
        assert set(exception) == {"message"}
        assert set(re.findall(r"{(\w+)}", exception["message"])) <= used[key], key


def test_issues(strings: dict[str, dict[str, dict[str, str]]]) -> None:
    assert set(strings["issues"]) == set(ISSUES) | set(_issues_of_the_pipeline())
    for key, issue in strings["issues"].items():
        assert set(issue) == {"title", "description"}, key


def test_services(strings: dict[str, dict], icons: dict[str, dict]) -> None:
    described = yaml.safe_load((FOLDER / "services.yaml").read_text(encoding="utf-8"))
    registered = {
        call.args[0].value
        for call in ast.walk(_parsed("services.py"))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "register"
    }
    assert set(described) == set(strings["services"]) == set(icons["services"]) == registered
    for name, service in described.items():
        told = strings["services"][name]
        assert set(told) == {"name", "description", "fields"}
        assert set(service["fields"]) == set(told["fields"]), name
        for field in told["fields"].values():
            assert set(field) == {"name", "description"}, name


async def test_services_take_what_is_described(hass: HomeAssistant) -> None:
    from custom_components.meadowlark import services

    described = yaml.safe_load((FOLDER / "services.yaml").read_text(encoding="utf-8"))
    services.async_setup_services(hass)
    for name, service in hass.services.async_services_for_domain(DOMAIN).items():
        schema = service.schema.validators[0] if name == "forget" else service.schema
        assert {str(key) for key in schema.schema} == set(described[name]["fields"]), name
        required = {str(key) for key in schema.schema if type(key).__name__ == "Required"}
        assert required == {key for key, field in described[name]["fields"].items() if field.get("required")}, name


def test_entities(strings: dict[str, dict], icons: dict[str, dict]) -> None:
    used: dict[str, set[str]] = {
        "sensor": {description.key for description in SENSORS},
        "binary_sensor": {description.key for description in (TURN, CONNECTED)},
    }
    named = strings["entity"]
    assert set(named["sensor"]) == used["sensor"]
    assert set(named["binary_sensor"]) == used["binary_sensor"]
    for platform in ("stt", "tts", "wake_word", "conversation"):
        used[platform] = _keys_of(platform)
    source = (FOLDER / "notify.py").read_text(encoding="utf-8")
    used["notify"] = set(re.findall(r'_attr_translation_key = "(\w+)"', source))
    assert set(named) <= set(used)
    assert set(icons["entity"]) <= set(used)
    for platform, keys in named.items():
        assert set(keys) <= used[platform], platform
    for platform, keys in icons["entity"].items():
        assert set(keys) <= used[platform], platform
    for description in SENSORS:
        assert isinstance(description, SensorEntityDescription)
        assert description.device_class is not None or description.key in icons["entity"]["sensor"]


async def test_home_assistant_reads_all_of_it(hass: HomeAssistant, strings: dict[str, dict]) -> None:
    for section in strings:
        found = await async_get_translations(hass, "en", section, {DOMAIN})
        expected = {f"component.{DOMAIN}.{section}.{path}" for path, _ in _leaves(strings[section])}
        assert expected <= set(found), section
    icons = await async_get_icons(hass, "services", {DOMAIN})
    assert set(icons[DOMAIN]) == set(strings["services"])


def _translated(language: str) -> dict[str, dict[str, object]]:
    return json.loads((FOLDER / "translations" / f"{language}.json").read_text(encoding="utf-8"))


def _raised() -> Iterator[tuple[str, set[str]]]:
    """Keys of translated exceptions with the placeholders they are given."""
    for file in sorted(FOLDER.glob("*.py")):
        for call in ast.walk(_parsed(file.name)):
            if not isinstance(call, ast.Call):
                continue
            named = {keyword.arg: keyword.value for keyword in call.keywords}
            key = named.get("translation_key")
            if "translation_domain" not in named or not isinstance(key, ast.Constant):
                continue
            given = named.get("translation_placeholders")
            names = (
                {str(name.value) for name in given.keys if isinstance(name, ast.Constant)}
                if isinstance(given, ast.Dict)
                else set()
            )
            yield str(key.value), names


def _issues_of_the_pipeline() -> set[str]:
    from custom_components.meadowlark import pipeline

    return {value for name, value in vars(pipeline).items() if name.startswith("ISSUE_")}


def _keys_of(platform: str) -> set[str]:
    """What a platform's entities are called: the second argument of MeadowlarkEntity's constructor."""
    return {
        str(call.args[1].value)
        for call in ast.walk(_parsed(f"{platform}.py"))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) == "super().__init__"
        and len(call.args) > 1
        and isinstance(call.args[1], ast.Constant)
    }


def _parsed(name: str) -> ast.Module:
    return ast.parse((FOLDER / name).read_text(encoding="utf-8"))


def _class(module: ast.Module, name: str) -> ast.ClassDef:
    return next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)


def _keywords(tree: ast.AST, function: str, keyword: str) -> set[str]:
    """Constants that are given by this keyword in calls of methods of this name."""
    return {
        str(given.value.value)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == function
        for given in call.keywords
        if given.arg == keyword and isinstance(given.value, ast.Constant)
    }


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if not isinstance(value, dict):
        yield path, value
        return
    for key, inner in value.items():
        yield from _leaves(inner, f"{path}.{key}" if path else str(key))
