"""Prometheus metrics. Their names are written here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from handlers import __version__
from handlers.timeline import Timeline
from handlers.tts.cache import CachedSynthesizer

_SECONDS = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Fine where a person feels a difference, coarse where everybody is annoyed."""


class Metrics:
    """All metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._stages = Histogram(
            "meadowlark_stage_seconds",
            "Wait between two moments of a turn; 'response' is end of speech to first audio",
            ["stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._turns = Counter(
            "meadowlark_turns",
            "Turns, and uses of single services, by outcome and who answered",
            ["service", "outcome", "route"],
            registry=self._registry,
        )
        self._guesses = Counter(
            "meadowlark_guesses",
            "Transcriptions begun at a pause: kept, discarded because more was said, dropped under load",
            ["outcome"],
            registry=self._registry,
        )
        self._saved = Counter(
            "meadowlark_guess_saved_seconds",
            "Transcription time that nobody waited for, because of guesses",
            registry=self._registry,
        )
        Info("meadowlark_build", "Version of the server", registry=self._registry).info({"version": __version__})
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            self._registry.register(collector)

    def watch_connections(self, connections: Callable[[], float], refused: Callable[[], float]) -> None:
        """Read the number of Wyoming connections whenever metrics are asked for."""
        Gauge("meadowlark_connections", "Open Wyoming connections", registry=self._registry).set_function(connections)
        Gauge(
            "meadowlark_connections_refused", "Connections refused over the limit since start", registry=self._registry
        ).set_function(refused)

    def watch_cache(self, cache: CachedSynthesizer) -> None:
        """Read the counters of the cache of spoken replies whenever metrics are asked for."""
        self._registry.register(_CacheCollector(cache))

    def observe(self, timeline: Timeline) -> None:
        """Count a turn that has ended."""
        kind = timeline.route.partition("/")[0] or "none"
        self._turns.labels(service=timeline.service, outcome=str(timeline.outcome), route=kind).inc()
        for outcome, count in (
            ("kept", timeline.guesses_kept),
            ("discarded", timeline.guesses_discarded),
            ("dropped", timeline.guesses_dropped),
        ):
            self._guesses.labels(outcome=outcome).inc(count)
        self._saved.inc(timeline.saved_seconds)
        for stage, seconds in timeline.stages().items():
            self._stages.labels(stage=stage).observe(max(0.0, seconds))

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)


class _CacheCollector(Collector):
    """The cache counts by itself; this only names the counts."""

    def __init__(self, cache: CachedSynthesizer) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        cache = self._cache
        for name, help_text, value in (
            ("meadowlark_tts_cache_hits", "Short replies that needed no synthesis", cache.hits),
            ("meadowlark_tts_cache_shared_hits", "Those of them that came from Redis", cache.shared_hits),
            ("meadowlark_tts_cache_misses", "Short replies that were synthesised", cache.misses),
        ):
            yield CounterMetricFamily(name, help_text, value=value)
        yield GaugeMetricFamily("meadowlark_tts_cache_bytes", "Memory of the cache in use", value=cache.bytes)
