"""TensorFlow Lite's C library, which both wake word engines bring: what a model file holds, and its fast kernels."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

Tensor = int
"""The library's pointer to it."""

_XNNPACK = ("TfLiteXNNPackDelegateCreate", "TfLiteXNNPackDelegateDelete", "TfLiteInterpreterModifyGraphWithDelegate")
"""Not every build of the library has them."""

_SWAPPING = threading.Lock()
"""Two threads that both put stderr aside would each take the other's for the real one."""


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


def has_xnnpack(lib: ctypes.CDLL) -> bool:
    """Whether the library was built with its fast kernels, XNNPACK, and can be told to use them."""
    return all(hasattr(lib, name) for name in _XNNPACK)


def hand_to_xnnpack(lib: ctypes.CDLL, interpreter: int, ending: contextlib.ExitStack) -> bool:
    """Let XNNPACK run what it can of an interpreter whose tensors are allocated, in the calling thread.

    `ending` deletes what was made for it, so it has to delete the interpreter before. Without success the interpreter
    is not to be used. The tensors may have moved.
    """
    lib.TfLiteXNNPackDelegateCreate.argtypes = [ctypes.c_void_p]
    lib.TfLiteXNNPackDelegateCreate.restype = ctypes.c_void_p
    lib.TfLiteXNNPackDelegateDelete.argtypes = [ctypes.c_void_p]
    lib.TfLiteXNNPackDelegateDelete.restype = None
    lib.TfLiteInterpreterModifyGraphWithDelegate.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    with _quiet():
        delegate = lib.TfLiteXNNPackDelegateCreate(None)  # the options' usual values, of which one is no more threads
        if not delegate:
            return False
        ending.callback(lib.TfLiteXNNPackDelegateDelete, delegate)
        return bool(lib.TfLiteInterpreterModifyGraphWithDelegate(interpreter, delegate) == 0)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's greeting on stderr, which its C interface cannot turn off.

    The variable of the C library is exchanged, not the descriptor: what Python and new processes write is not lost.
    """
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "gnu_get_libc_version"):
        yield  # musl's variable cannot be written
        return
    stderr = ctypes.c_void_p.in_dll(libc, "stderr")
    with _SWAPPING:
        kept = stderr.value
        stderr.value = _nowhere() or kept
        try:
            yield
        finally:
            stderr.value = kept


@functools.cache
def _nowhere() -> int | None:
    """A C stream, never closed: another thread may have taken it for stderr."""
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    stream: int | None = libc.fopen(os.fsencode(os.devnull), b"we")
    return stream
