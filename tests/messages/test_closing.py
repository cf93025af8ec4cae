"""A session with whole messages ends, pings and counts as one with frames does."""

from __future__ import annotations

import sys
from types import ModuleType

from tests.messages.ground import MessageGround
from tests.relay import (
    test_drain,
    test_heartbeat,
    test_inject,
    test_paces,
    test_pump,
    test_session_close,
)
from tests.relay.pumps import GroundTestCase
from tests.relay.support import PythonGround

FRAMES = {
    # What passes is not the frames that came, byte for byte.
    "test_data_goes_both_ways_byte_for_byte",
    "test_controls_go_to_the_owner_and_nowhere_else_in_the_order_of_the_wire",
    "test_half_of_an_early_frame_is_completed_by_the_next_read",
    "test_what_came_early_goes_first",
    "test_messages_payload_and_bytes_are_counted_each_way",
    "test_a_frame_that_is_held_until_it_is_whole_comes_whole_in_the_end",
    "test_an_upstream_that_takes_nothing_holds_up_what_waited_too",
    # A read is handled in several turns of the reactor.
    "test_the_upstream_may_send_as_it_likes",
    "test_a_peer_gets_every_message_whole_and_in_order",
    # A leg that is lost does not wait for the other one without end.
    "test_it_waits_for_an_upstream_that_is_full",
    # Nothing is passed on before its message ends, so nothing waits for the end of a frame.
    "test_a_leg_lost_between_fragments_leaves_the_other_at_a_boundary",
    "test_a_leg_that_is_lost_in_a_streamed_frame_takes_the_other_with_it",
    "test_a_violator_in_the_middle_of_a_frame_for_it_is_told_at_the_frames_end",
    "test_a_violator_inside_a_frame_that_never_ends_is_gone_with_the_timeout",
    "test_a_close_of_the_clients_own_does_not_overtake_the_one_that_waits",
    "test_a_close_waits_for_the_end_of_a_streamed_frame_on_that_leg_only",
    "test_between_fragments_it_need_not_wait_for_the_message",
    "test_inside_a_streamed_frame_it_waits_for_exactly_the_frames_end",
    "test_a_finish_that_waits_for_a_boundary_still_stops_the_other",
    "test_a_streamed_frame_is_completed_before_the_finish",
    "test_cut_is_what_has_got_a_part_of_a_frame_whose_sender_is_gone",
    "test_a_flood_of_the_relays_replies_pauses_the_one_that_causes_it",
    "test_shut_waits_for_what_waits_for_a_boundary",
    "test_a_leg_that_does_not_take_the_relays_replies_is_paused",
    "test_what_waits_for_a_boundary_is_buffered",
    "test_the_relays_own_frames_count_as_sent_when_they_go",
    "test_bytes_can_go_over_inside_a_frame_that_is_passed_on_in_pieces",
    "test_bytes_wait_even_inside_a_frame",
    "test_half_a_second_gives_half_as_much",
    "test_a_client_over_its_bytes_inside_a_frame_takes_the_upstream_with_it",
    "test_a_compressed_message_around_it_stays_as_it_is",
    "test_between_fragments_it_waits_for_exactly_the_messages_end",
    "test_controls_do_not_wait_for_it",
    "test_it_does_not_wait_for_a_read_that_ends_with_a_message",
    "test_told_of_a_control_inside_a_message_an_owner_injects_behind_the_message",
    "test_of_what_waits_for_a_messages_end_there_is_only_so_much",
    "test_a_ping_that_waits_for_the_end_of_a_frame_is_not_late_while_the_frame_moves",
}
"""Tests of what only a pump of frames does."""


def add_twins(module: ModuleType) -> set[str]:
    """Run a module's tests of every pump with that of messages; return the names left out."""
    left_out = set()
    for name, case in vars(module).items():
        if not (isinstance(case, type) and issubclass(case, GroundTestCase)):
            continue
        if case.__module__ != module.__name__ or case.lay_ground is not PythonGround:
            continue  # from elsewhere, or of one pump only
        names = FRAMES & set(vars(case))
        left_out |= names
        without = dict.fromkeys(names)
        facts = {"lay_ground": MessageGround, "__module__": __name__, "__doc__": case.__doc__}
        twin = type(f"Message{name}", (case,), {**without, **facts})
        setattr(sys.modules[__name__], twin.__name__, twin)
    return left_out


LEFT_OUT = set().union(
    *map(
        add_twins,
        (test_drain, test_heartbeat, test_inject, test_paces, test_pump, test_session_close),
    )
)


def test_no_name_is_left_out_that_is_none() -> None:
    assert LEFT_OUT == FRAMES
