"""Builds the page (server/web) into the wheel."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_WITHOUT = "MEADOWLARK_PAGE"
"""With the value `none` there is no page in the wheel: a satellite needs none, and not every system has a Node."""


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs script/page. An installation to develop in takes the page from where it is built, later."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or os.environ.get(_WITHOUT) == "none":
            return
        root = Path(self.root)
        page = root / "server" / "web" / "dist"  # one that is there already does where there is no Node
        built = subprocess.run(["bash", root / "script" / "page"], stdin=subprocess.DEVNULL, check=False)
        if built.returncode and not (page / "index.html").is_file():
            raise RuntimeError(
                "The page could not be built (see above): install Node 20.19 or 22.12 or newer with npm, "
                f"or set {_WITHOUT}=none for a wheel without the page (a satellite needs none)"
            )
        build_data["force_include"][str(page)] = "server/web/dist"
