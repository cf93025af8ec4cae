"""Which sessions an operator means."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from wsrelay.admin import relay_view
from wsrelay.relay.facts import Facts


@pytest.mark.parametrize(
    ("wanted", "is_meant"),
    [
        ({}, True),
        ({"tag": "user:7"}, True),
        ({"tag": "user"}, False),
        ({"client": "192.0.2."}, True),
        ({"client": "2.7"}, False),
        ({"pool": "pool", "tag": "room:1"}, True),
        ({"pool": "other", "tag": "room:1"}, False),
    ],
)
def test_a_session_matches_all_that_is_asked(wanted: dict[str, str], is_meant: bool) -> None:
    facts = Facts("1f", "web", "192.0.2.7:5", pool="pool", tags=frozenset({"user:7", "room:1"}))
    session: Any = SimpleNamespace(facts=facts)
    assert relay_view._matches(session, wanted) is is_meant
