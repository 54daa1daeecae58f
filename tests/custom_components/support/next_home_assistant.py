"""Lets the test kit run on a Home Assistant that is one release newer than the one it was made for.

A pytest plugin, given by -p so that it is imported before the kit. When a kit for that release is out, this module and
the overrides in `script/ha lock` can go.
"""

# ruff: noqa: I001, F401  -- the order of these imports is the point

# Home Assistant 2026.11 puts httpx2 in the place of httpx, before anything else may import that.
import homeassistant

# The kit insists that its patches come before Home Assistant's other modules, in this order.
from pytest_homeassistant_custom_component import patch_json
from pytest_homeassistant_custom_component import patch_recorder
from pytest_homeassistant_custom_component import patch_time

from homeassistant.components import logger
from homeassistant.components.logger import helpers

# A name that the kit takes from the package, and that 2026.11 leaves in the module.
if not hasattr(logger, "_clear_logger_overwrites"):
    setattr(logger, "_clear_logger_overwrites", helpers._clear_logger_overwrites)  # noqa: B010
