"""
What a plugin's author tests with: fakes, and the contract that every plugin of a kind keeps.

.. code-block:: python

    def test_my_balancer_keeps_the_contract() -> None:
        check_balancer_contract(plugin)
"""

from wsrelay.testing.balancers import check_balancer_contract
from wsrelay.testing.fakes import FakeHandshake, FakeSession, FakeUpstream
from wsrelay.testing.filters import check_filter_contract
from wsrelay.testing.policies import check_policy_contract

__all__ = [
    "FakeHandshake",
    "FakeSession",
    "FakeUpstream",
    "check_balancer_contract",
    "check_filter_contract",
    "check_policy_contract",
]
