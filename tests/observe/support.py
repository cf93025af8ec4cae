"""Sessions whose numbers a test says, and what a page of metrics says."""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.task import Clock

from wsrelay.observe.traffic import NOTHING
from wsrelay.relay.causes import Cause
from wsrelay.relay.facts import Facts
from wsrelay.relay.pump import Totals


@define(eq=False)
class StillPump:
    """A pump that moves nothing, and has counted what a test says."""

    numbers: Totals = NOTHING
    questions: int = 0

    def totals(self) -> Totals:
        self.questions += 1
        return self.numbers


@define(eq=False)
class StillSession:
    """As much of a session as observers look at."""

    facts: Facts
    reactor: Clock = field(factory=Clock)
    pump: StillPump = field(factory=StillPump)
    cause: Cause | None = None
    opened_at: float = 0.0


def still_session(
    route: str = "chat", pool: str = "pool", upstream: str = "a", **numbers: int
) -> Any:
    """Make a session of a route on an upstream, with numbers."""
    facts = Facts("1", "web", "192.0.2.7:50123", route=route, pool=pool, upstream=upstream)
    return StillSession(facts, pump=StillPump(NOTHING._replace(**numbers)))


@define(eq=False)
class StillExchange:
    """A plain request under way, of which something has passed."""

    place: tuple[str, str, str]
    passed: tuple[int, int]

    def break_off(self) -> None:
        raise AssertionError("who counts requests does not end them")


def still_exchange(
    route: str = "chat", pool: str = "pool", upstream: str = "a", up: int = 0, down: int = 0
) -> StillExchange:
    """Make a plain request of a route to an upstream, with bytes."""
    return StillExchange((route, pool, upstream), (up, down))


@frozen
class Page:
    """What a page of metrics says."""

    kinds: dict[str, str]
    helps: dict[str, str]
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float]

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of one sample, None if there is none."""
        return self.samples.get((name, tuple(sorted(labels.items()))))

    def labels_of(self, name: str) -> list[dict[str, str]]:
        """Return the labels of all samples of a name."""
        return [dict(labels) for each, labels in self.samples if each == name]


def read(page: bytes) -> Page:
    """Parse a page; a sample that stands there twice is an error."""
    kinds, helps, samples = {}, {}, {}
    for family in text_string_to_metric_families(page.decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        kinds[name], helps[name] = family.type, family.documentation
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in samples, f"{key} stands there twice"
            samples[key] = sample.value
    return Page(kinds, helps, samples)
