"""The manifest, as Home Assistant loads it and hassfest wants it; and what the Marketplace reads."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

import homeassistant.components
import pytest
from awesomeversion import AwesomeVersion
from homeassistant import loader
from homeassistant.const import Platform, __version__
from homeassistant.core import HomeAssistant
from packaging.requirements import Requirement
from PIL import Image

import custom_components
from custom_components.meadowlark import PLATFORMS
from custom_components.meadowlark.const import DOMAIN, NAME

FOLDER = Path(custom_components.__path__[0]) / DOMAIN
ROOT = FOLDER.parents[1]
CORE = Path(homeassistant.components.__path__[0])

BASE = frozenset({"homeassistant", "diagnostics", "hassio", "persistent_notification", "repairs"})
"""Components that are always there, so that nobody names them."""


@pytest.fixture(name="manifest")
def _manifest() -> dict[str, object]:
    return json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))


def test_keys_are_in_order(manifest: dict[str, object]) -> None:
    keys = list(manifest)
    assert keys[:2] == ["domain", "name"]
    assert keys[2:] == sorted(keys[2:])
    for value in manifest.values():
        if isinstance(value, list):
            assert value == sorted(value, key=str)


def test_what_a_custom_integration_must_say(manifest: dict[str, object]) -> None:
    assert (manifest["domain"], manifest["name"]) == (DOMAIN, NAME)
    assert FOLDER.name == DOMAIN
    assert {"codeowners", "documentation", "issue_tracker", "version", "config_flow", "iot_class"} <= set(manifest)
    assert str(manifest["documentation"]).startswith("https://")
    assert AwesomeVersion(str(manifest["version"])).valid
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert project is not None
    assert manifest["version"] == project[1]


async def test_home_assistant_loads_it(hass: HomeAssistant) -> None:
    integration = await loader.async_get_integration(hass, DOMAIN)
    assert integration.file_path == FOLDER
    assert integration.config_flow
    assert integration.integration_type == "service"
    assert await integration.resolve_dependencies()
    assert not integration.disabled
    matchers = await loader.async_get_zeroconf(hass)
    assert [matcher["domain"] for matcher in matchers["_meadowlark._tcp.local."]] == [DOMAIN]
    assert DOMAIN not in loader.BLOCKED_CUSTOM_INTEGRATIONS


def test_every_component_it_imports_is_named(manifest: dict[str, object]) -> None:
    named = {*_list(manifest, "dependencies"), *_list(manifest, "after_dependencies")}
    imported = {name for file in FOLDER.glob("*.py") for name in _components(file)}
    platforms = {str(platform) for platform in Platform}
    assert imported - BASE - platforms <= named
    assert named <= imported | platforms


def test_requirements_leave_what_core_pins(manifest: dict[str, object]) -> None:
    """Else two integrations of one Home Assistant would install one over the other."""
    core = json.loads((CORE / "wyoming" / "manifest.json").read_text(encoding="utf-8"))
    pinned = {Requirement(text).name: Requirement(text) for text in _list(core, "requirements")}
    for text in _list(manifest, "requirements"):
        ours = Requirement(text)
        [pin] = pinned[ours.name].specifier
        assert ours.specifier.contains(pin.version)


def test_nothing_of_the_server_is_imported() -> None:
    for file in FOLDER.rglob("*.py"):
        roots = {name.split(".")[0] for name in _imports(file)}
        assert not roots & {"handlers", "server", "satellite", "tests"}, file.name
        known = {"homeassistant", "aiohttp", "hassil", "probatio", "voluptuous", "wyoming", "yarl"}
        assert roots <= known | sys.stdlib_module_names, file.name


def test_every_platform_has_its_module() -> None:
    assert list(PLATFORMS) == sorted(PLATFORMS)
    for platform in PLATFORMS:
        assert (FOLDER / f"{platform}.py").is_file()


def test_what_the_marketplace_reads() -> None:
    told = json.loads((ROOT / "hacs.json").read_text(encoding="utf-8"))
    assert told["name"] == NAME
    assert AwesomeVersion(told["homeassistant"]) <= AwesomeVersion(__version__)
    assert not told.get("content_in_root")
    assert [path.parent.name for path in (ROOT / "custom_components").glob("*/manifest.json")] == [DOMAIN]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("icon", (256, 256)),
        ("icon@2x", (512, 512)),
        ("logo", None),
        ("logo@2x", None),
        ("dark_icon", (256, 256)),
        ("dark_icon@2x", (512, 512)),
        ("dark_logo", None),
        ("dark_logo@2x", None),
    ],
)
def test_brand_images(name: str, size: tuple[int, int] | None) -> None:
    path = FOLDER / "brand" / f"{name}.png"
    assert path.stat().st_size < 100_000
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.mode in ("RGBA", "P")
        assert image.getchannel("A").getextrema()[0] == 0 if image.mode == "RGBA" else "transparency" in image.info
        if size is not None:
            assert image.size == size
        else:
            shortest = 256 if name.endswith("@2x") else 128
            assert shortest <= min(image.size) <= 2 * shortest
            assert image.width > image.height


def _list(manifest: dict[str, object], key: str) -> list[str]:
    value = manifest.get(key, [])
    assert isinstance(value, list)
    return [str(item) for item in value]


def _imports(file: Path) -> set[str]:
    """Absolute names of all modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return found


def _components(file: Path) -> set[str]:
    """Core's components among them."""
    parts = [name.split(".") for name in _imports(file)]
    return {part[2] for part in parts if part[:2] == ["homeassistant", "components"] and len(part) > 2}
