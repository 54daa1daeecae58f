"""The stages of a spoken turn, and what they share.

One folder for each stage (`wake`, `asr`, `agent`, `tts`) and one for all of them as a stream (`pipeline`).
Each stage has `stage.py` (what it is), one module an engine, and `handler.py` (how Wyoming clients use it).
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("meadowlark")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0.0.0"
