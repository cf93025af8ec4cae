"""What is passed around while a configuration is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import Factory, define, frozen

from wsrelay.config.checks import Checks
from wsrelay.config.errors import ConfigError, Place

__all__ = ["Block", "Job", "Setting"]


@define
class Job:
    """What is known while one configuration is read, and what was found wrong so far."""

    file: str
    folder: Path
    env: Mapping[str, str]
    checks: Checks
    errors: list[ConfigError] = Factory(list)

    def report(self, place: Place, message: str) -> None:
        """Note an error."""
        self.errors.append(place.error(message))

    def ask(self, place: Place, check: Callable[..., None], *about: Any) -> None:
        """Let one of the checks judge; what it refuses is an error at *place*."""
        try:
            check(*about)
        except ValueError as error:
            self.report(place, str(error))


@frozen
class Setting:
    """An option's value; a list's is a tuple, of which ``items`` are the places."""

    value: Any
    items: tuple[Place, ...] = ()

    def pairs(self) -> Iterable[tuple[Any, Place]]:
        """Return each item of a list with its place."""
        return zip(self.value, self.items, strict=True)


@frozen
class Block:
    """
    One section with its values.

    ``settings`` has the good options only, ``written`` the places of bad ones
    too, so that nobody is told that what was written wrongly is missing.
    """

    kind: str
    name: str
    place: Place
    settings: Mapping[str, Setting]
    written: Mapping[str, Place]

    def get(self, option: str, default: Any = None) -> Any:
        """Return an option's value, or *default* if there is no good one."""
        setting = self.settings.get(option)
        return default if setting is None else setting.value

    def at(self, option: str) -> Place:
        """Return where an option is, or where it should have been."""
        return self.written.get(option) or self.place.on(option)

    def items(self, option: str) -> Iterable[tuple[Any, Place]]:
        """Return each item of a list with its place."""
        setting = self.settings.get(option)
        return () if setting is None else setting.pairs()
