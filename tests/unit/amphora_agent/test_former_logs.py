"""Who is told of connections of before a reload, by the configuration that HAProxy has."""

from __future__ import annotations

import pytest

from amphora_agent import former_logs
from controller.model import load_balancer as model
from tests import builders
from tests.unit.controller.render import tools


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (None, None),
        (model.AccessLog(protocol="UDP", address="198.19.10.99", port=514), None),
        (model.AccessLog(protocol="TCP", address="fd00::9", port=601), ("fd00::9", 601, None, None)),
        (
            model.AccessLog(
                protocol="TLS", address="198.19.10.99", port=6514, ca_tls_container_ref="https://s/secrets/1", host_name="logs.example"
            ),
            ("198.19.10.99", 6514, "access-log-ca.pem", "logs.example"),
        ),
        (
            model.AccessLog(protocol="TLS", address="198.19.10.99", port=6514, ca_tls_container_ref="https://s/secrets/1"),
            ("198.19.10.99", 6514, "access-log-ca.pem", None),
        ),
    ],
)
def test_it_is_who_the_present_configuration_names(
    log: model.AccessLog | None, told: tuple[str, int, str | None, str | None] | None
) -> None:
    text = tools.haproxy_config(_snapshot(log))
    assert former_logs.target(text) == (None if told is None else former_logs.Target("access-log", *told))


def _snapshot(log: model.AccessLog | None) -> model.Snapshot:
    listener = builders.a_listener()
    return builders.a_snapshot(load_balancer=builders.a_load_balancer(access_log=log), listeners=[listener])
