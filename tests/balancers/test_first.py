from wsrelay.balancers.first import First
from wsrelay.testing import FakeHandshake, FakeUpstream


def test_the_first_on_offer_is_chosen_however_busy_it_is() -> None:
    upstreams = (FakeUpstream("a", active=99), FakeUpstream("b", weight=9))
    assert First().choose(FakeHandshake(), upstreams) is upstreams[0]
    assert First().choose(FakeHandshake(), upstreams[1:]) is upstreams[1]
