"""The table of options agrees with the objects that it fills, and with itself."""

import attrs
import pytest

from wsrelay.config.model import (
    AdminConfig,
    ClusterConfig,
    ListenerConfig,
    LogConfig,
    PoolConfig,
    RelayConfig,
    RouteConfig,
)
from wsrelay.config.options import Option
from wsrelay.config.table import KINDS

from .samples import WHOLE, parsed, with_option

MODELS: dict[str, type[attrs.AttrsInstance]] = {
    "relay": RelayConfig,
    "listener": ListenerConfig,
    "route": RouteConfig,
    "pool": PoolConfig,
    "log": LogConfig,
    "admin": AdminConfig,
    "cluster": ClusterConfig,
}
NAMES = {"relay": "relay", "listener": "listener:web", "route": "route:chat", "pool": "pool:chat"}
EVERY = [(kind.name, option) for kind in KINDS.values() for option in kind.options.values()]
WITH_DEFAULT = [(kind, option) for kind, option in EVERY if option.default]


def shown(each: object) -> str:
    return each.name if isinstance(each, Option) else str(each)


@pytest.mark.parametrize(("kind", "option"), WITH_DEFAULT, ids=shown)
def test_the_default_in_the_table_is_the_one_of_the_model(kind: str, option: Option) -> None:
    fields = attrs.fields_dict(MODELS[kind]) if kind in MODELS else {}
    if option.name in fields:
        default = fields[option.name].default
        if (kind, option.name) in (("admin", "listen"), ("cluster", "redis")):
            assert option.parse(option.default) is None  # without it there is no such config
        elif option.many:
            assert default == ()
        else:
            assert option.parse(option.default) == default


@pytest.mark.parametrize(("kind", "option"), WITH_DEFAULT, ids=shown)
def test_every_default_can_be_written_down_and_changes_nothing(kind: str, option: Option) -> None:
    line = f"{option.name} = {option.default}"
    assert parsed(with_option(NAMES.get(kind, kind), line)) == parsed(WHOLE)


def test_every_field_of_the_model_can_be_written_in_the_file() -> None:
    made_otherwise = {
        "relay": {"listeners", "routes", "pools", "log", "admin", "cluster"},
        "listener": {"name"},
        "route": {"name", "listeners"},
        "pool": {"name"},
        "log": set(),
        "admin": set(),
        "cluster": set(),
    }
    for kind, model in MODELS.items():
        fields = attrs.fields_dict(model).keys() - made_otherwise[kind]
        assert fields <= KINDS[kind].options.keys()


def test_every_option_fills_the_model() -> None:
    """Nothing that is accepted is without effect."""
    spread = {"listen", "upstream", "listener", "drain_close_code", "max_message_size"}
    for kind, option in EVERY:
        fields = attrs.fields_dict(MODELS[kind]) if kind in MODELS else {}
        assert option.name in fields or option.name in spread, option.name


def test_every_option_says_what_it_is_for() -> None:
    assert all(option.help for _, option in EVERY)
