"""Lends llama.cpp the OpenMP library that it needs, where the system has none.

xllamacpp's wheel links to the system's `libgomp.so.1`, which a minimal Debian or a slim container lacks. The wheel
of CTranslate2, which is installed beside it, carries the same library under a name of its own. It is loaded once more
from memory, under the name that is asked for; the dynamic linker then finds it by that name.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from pathlib import Path


def provide_openmp(name: str = "libgomp.so.1") -> None:
    """Make sure that the library can be found by what is imported next. Does nothing where that cannot be done."""
    try:
        ctypes.CDLL(name)
        return
    except OSError:
        pass
    source = _bundled()
    if source is None or not hasattr(os, "memfd_create"):
        return
    library = source.read_bytes()
    own_name = source.name.encode() + b"\0"
    library = library.replace(own_name, name.encode().ljust(len(own_name), b"\0"))
    descriptor = os.memfd_create("libgomp")
    try:
        os.write(descriptor, library)
        ctypes.CDLL(f"/proc/self/fd/{descriptor}", mode=ctypes.RTLD_GLOBAL)  # stays loaded as long as the process
    except OSError:
        return  # the import that needs it says what is missing
    finally:
        os.close(descriptor)


def _bundled() -> Path | None:
    spec = importlib.util.find_spec("ctranslate2")  # found, not imported
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]).parent / "ctranslate2.libs"
    return next(iter(sorted(folder.glob("libgomp-*.so*"))), None)
