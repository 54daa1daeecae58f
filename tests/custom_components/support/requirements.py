"""What integrations need:  requirements.py HOMEASSISTANT INTEGRATION...  (for `script/ha lock`).

Prints the requirements that the manifests of the integrations, of their dependencies and of ours name.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

OURS = Path(__file__).parents[3] / "custom_components"


def main(home_assistant: Path, integrations: list[str]) -> None:
    """`home_assistant` is the folder of the package. An integration that it does not have is left out."""
    wanted = [*integrations, *(path.parent.name for path in OURS.glob("*/manifest.json"))]
    seen: set[str] = set()
    requirements: set[str] = set()
    while wanted:
        name = wanted.pop()
        manifests = [folder / name / "manifest.json" for folder in (OURS, home_assistant / "components")]
        manifest_file = next((path for path in manifests if path.is_file()), None)
        if name in seen or manifest_file is None:
            continue
        seen.add(name)
        manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
        requirements |= set(manifest.get("requirements", ()))
        wanted += manifest.get("dependencies", ())
    print("\n".join(sorted(requirements)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
