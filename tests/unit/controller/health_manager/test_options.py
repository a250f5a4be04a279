"""Keys that could be guessed are refused at the start, and addresses are read as they are written."""

from __future__ import annotations

import pytest

from controller.conf import health_manager
from controller.health_manager import manager


@pytest.mark.parametrize(
    "keys", [[], ["insecure"], ["short"], ["aaaaaaaaaaaaaaaaaaaaaaaa"], ["0123456789abcdef"], ["f1c7" * 8, "insecure"]]
)
def test_a_missing_or_weak_key_is_refused(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="openssl rand"):
        health_manager.deployment_keys(keys)


def test_the_message_does_not_tell_the_key() -> None:
    with pytest.raises(ValueError) as caught:
        health_manager.deployment_keys(["hunter2hunter2"])
    assert "hunter2" not in str(caught.value)


def test_the_first_key_comes_first() -> None:
    assert health_manager.deployment_keys(["8d1f0b6a4c2e9753", "a7c3e1f5092b4d68"]) == (b"8d1f0b6a4c2e9753", b"a7c3e1f5092b4d68")


def test_addresses_are_read_for_both_families() -> None:
    assert health_manager.endpoints(["192.0.2.1:5555", "[2001:db8::1]:5556"]) == (("192.0.2.1", 5555), ("2001:db8::1", 5556))


@pytest.mark.parametrize("value", ["192.0.2.1", "controller:5555", "192.0.2.1:port", ""])
def test_what_is_no_address_and_port_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="address:port"):
        health_manager.endpoints([value])


@pytest.mark.parametrize(("interval", "timeout"), [(10.0, 60.0), (1.0, 4.0), (0.1, 0.6)])
def test_a_row_is_never_as_old_as_the_time_out_while_its_amphora_beats(interval: float, timeout: float) -> None:
    assert manager.record_interval(interval, timeout) + interval < timeout
