"""How the benchmarks end as commands."""

from __future__ import annotations

import sys
from collections.abc import Callable

from handlers.errors import MeadowlarkError


def exit_code(program: str, work: Callable[[], int]) -> int:
    """What `work` returns; for an error one sentence on standard error, and 2 for bad input, else 1; 130 for Ctrl-C."""
    try:
        return work()
    except (MeadowlarkError, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, MeadowlarkError) else 1
    except KeyboardInterrupt:
        return 130
