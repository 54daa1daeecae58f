"""What a model file holds, asked of TensorFlow Lite's C library, which both wake word engines bring."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

Tensor = int
"""The library's pointer to it."""


def holds_model(lib: ctypes.CDLL, path: Path, fits: Callable[[Tensor, Tensor], bool]) -> bool:
    """Whether the file is a model, and `fits` says so of its first input and output. The library answers a damaged
    file with NULL, which would crash whoever uses it."""
    model = lib.TfLiteModelCreateFromFile(str(path).encode())
    if not model:
        return False
    interpreter = lib.TfLiteInterpreterCreate(model, None)
    try:
        if not interpreter or lib.TfLiteInterpreterAllocateTensors(interpreter) != 0:
            return False
        first = lib.TfLiteInterpreterGetInputTensor(interpreter, 0)
        return fits(first, lib.TfLiteInterpreterGetOutputTensor(interpreter, 0))
    except RuntimeError:  # it has no input or no output
        return False
    finally:
        if interpreter:
            lib.TfLiteInterpreterDelete(interpreter)
        lib.TfLiteModelDelete(model)


def shape_of(lib: ctypes.CDLL, tensor: Tensor) -> list[int]:
    """Its dimensions."""
    return [lib.TfLiteTensorDim(tensor, axis) for axis in range(lib.TfLiteTensorNumDims(tensor))]
