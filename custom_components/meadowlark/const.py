"""Names and numbers that several modules of the integration share."""

from __future__ import annotations

import logging
from typing import Final

DOMAIN: Final = "meadowlark"
NAME: Final = "Meadowlark"
LOGGER = logging.getLogger(__package__)

HTTP_PORT: Final = 10680
"""Where a server's page and API are, unless its owner has chosen another port."""

HOUSE_PROTOCOL: Final = 1
"""The version of the messages of /api/v1/house that this integration speaks."""

CONF_PREFERRED: Final = "preferred"
"""In the set-up form: make the Assist pipeline the preferred one."""

CONF_LEND_HOUSE: Final = "lend_house"
"""Option: whether the server's own satellites may use this house, too."""

DEFAULT_LLM_APIS: Final = ("assist",)
"""Home Assistant's tools that the agent gets, until the owner chooses others."""

TXT_ID: Final = "id"
TXT_HTTP: Final = "http"
TXT_VERSION: Final = "version"
TXT_WYOMING: Final = "wyoming"
"""Keys of the server's zeroconf announcement."""
