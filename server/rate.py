"""How often somebody may do something: token buckets, one for each key."""

from __future__ import annotations

import time
from collections import OrderedDict

_MOST_KEYS = 4096
"""Keys that are remembered; of those that come least, the bucket is full again before they are forgotten."""

_MINUTE = 60.0


class Rates:
    """So many a minute for each key, and as many at once by somebody who has paused for a minute."""

    def __init__(self, a_minute: int) -> None:
        """0 is as many as anybody likes."""
        self._most = a_minute
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when it was

    def wait(self, key: str) -> float:
        """Seconds until there is one more for this key; 0 where there is one now."""
        if not self._most:
            return 0.0
        return max(0.0, 1.0 - self._left(key)) * _MINUTE / self._most

    def take(self, key: str) -> None:
        """Count one, whether there was one or not."""
        if not self._most:
            return
        self._buckets[key] = (max(0.0, self._left(key) - 1.0), time.monotonic())
        self._buckets.move_to_end(key)
        while len(self._buckets) > _MOST_KEYS:
            self._buckets.popitem(last=False)

    def _left(self, key: str) -> float:
        left, at = self._buckets.get(key, (float(self._most), 0.0))
        return min(float(self._most), left + (time.monotonic() - at) * self._most / _MINUTE)
