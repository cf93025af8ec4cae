"""relay.ini -> frozen objects.  Pure: no reactor, no sockets."""

from wsrelay.config.checks import Checks
from wsrelay.config.errors import ConfigError, ConfigErrors, ConfigUnreadable
from wsrelay.config.parsing import load, load_admin, parse, short_form

__all__ = [
    "Checks",
    "ConfigError",
    "ConfigErrors",
    "ConfigUnreadable",
    "load",
    "load_admin",
    "parse",
    "short_form",
]
