"""When WireGuard is pointed at a path again, and when a path counts as dead."""

from agent.wireguard.config import PeerStatus
from agent.wireguard.watch import AFTERCARE, FIRST_SILENCE, SILENCE, PeerWatch

KEY = bytes(32)
RELAY, DIRECT = ("198.51.100.10", 5000), ("203.0.113.7", 4500)


def said(endpoint: tuple[str, int] | None, rx: int, tx: int, handshake: float = 1e9) -> PeerStatus:
    return PeerStatus(KEY, endpoint, handshake, rx, tx)


def aimed(endpoint: tuple[str, int] = DIRECT, now: float = 100.0) -> PeerWatch:
    watch = PeerWatch()
    watch.aim(endpoint, now)
    watch.done()
    return watch


def test_a_path_that_was_found_is_to_be_set_once() -> None:
    watch = PeerWatch()
    assert not watch.due
    watch.aim(DIRECT, 100.0)
    assert watch.due
    watch.done()
    watch.observe(said(DIRECT, 10, 10), 100.1)
    assert not watch.due


def test_an_endpoint_that_late_datagrams_moved_back_is_set_again_until_both_use_the_path() -> None:
    watch = aimed()
    for now in (100.1, 100.2):
        watch.observe(said(RELAY, 10, 10), now)
        assert watch.due
        watch.done()
    watch.settle(100.2)
    watch.observe(said(RELAY, 15, 15), 100.2 + AFTERCARE - 0.1)
    assert watch.due, "the last ones may still be on their way"
    watch.done()
    watch.observe(said(DIRECT, 20, 20), 100.2 + AFTERCARE)
    assert not watch.urgent
    watch.observe(said(("203.0.113.7", 4999), 20, 20), 100.3 + AFTERCARE)
    assert not watch.due, "from now on it may roam, as after a NAT that was restarted"


def test_relays_that_were_left_are_redirected_from_until_both_use_the_path() -> None:
    watch = PeerWatch()
    watch.aim(DIRECT, 100.0, [RELAY])
    watch.done()
    assert watch.late == (RELAY,)
    watch.settle(101.0)
    assert watch.due
    assert watch.late == ()


def test_a_path_that_replaced_no_relay_is_set_once() -> None:
    watch = aimed()
    watch.settle(101.0)
    assert not watch.due


def test_a_path_is_dead_when_we_send_and_hear_nothing() -> None:
    watch = aimed()
    assert not watch.observe(said(DIRECT, 500, 500), 100.5)
    assert not watch.observe(said(DIRECT, 500, 900), 100.5 + SILENCE - 0.1)
    assert watch.observe(said(DIRECT, 500, 900), 100.5 + SILENCE)


def test_it_is_said_once_for_every_such_time() -> None:
    watch = aimed()
    watch.observe(said(DIRECT, 500, 500), 100.5)
    assert watch.observe(said(DIRECT, 500, 900), 103.0)
    assert not watch.observe(said(DIRECT, 500, 1000), 103.5)
    assert watch.observe(said(DIRECT, 500, 1300), 103.0 + SILENCE)


def test_who_sends_nothing_waits_for_nothing() -> None:
    watch = aimed()
    watch.observe(said(DIRECT, 500, 500), 100.5)
    assert not watch.observe(said(DIRECT, 500, 500), 200.0)


def test_a_new_path_gets_its_own_time() -> None:
    watch = aimed()
    watch.observe(said(DIRECT, 500, 500), 100.5)
    assert watch.observe(said(DIRECT, 500, 900), 103.0)
    watch.aim(RELAY, 103.1)
    assert not watch.observe(said(RELAY, 500, 1200), 103.1 + SILENCE - 0.1)
    assert watch.observe(said(RELAY, 500, 1200), 103.1 + SILENCE)


def test_a_first_handshake_may_be_repeated_before_anything_is_wrong() -> None:
    watch = aimed()
    assert not watch.observe(said(DIRECT, 0, 148, handshake=0.0), 100.1)
    assert not watch.observe(said(DIRECT, 0, 296, handshake=0.0), 100.1 + FIRST_SILENCE - 0.1)
    assert watch.observe(said(DIRECT, 0, 296, handshake=0.0), 100.1 + FIRST_SILENCE)


def test_nothing_is_said_before_there_is_a_path() -> None:
    watch = PeerWatch()
    assert not watch.observe(said(None, 0, 0, handshake=0.0), 100.0)
    assert not watch.observe(said(None, 0, 148, handshake=0.0), 200.0)
    assert not watch.due
