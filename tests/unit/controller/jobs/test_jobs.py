"""Jobs as the board keeps them."""

from __future__ import annotations

import json

import pytest

from controller import exceptions, jobs
from controller.model import status

ALL = [
    jobs.CreateLoadBalancer(load_balancer_id="lb", topology=status.Topology.ACTIVE_STANDBY, amphora_ids=("a", "b")),
    jobs.UpdateLoadBalancer(load_balancer_id="lb"),
    jobs.RepairLoadBalancer(load_balancer_id="lb"),
    jobs.DeleteLoadBalancer(load_balancer_id="lb"),
    jobs.FailoverAmphora(load_balancer_id="lb", amphora_id="a", replacement_id="c", role=status.Role.MASTER),
    jobs.FailoverLoadBalancer(load_balancer_id="lb", topology=status.Topology.SINGLE, replacement_ids=("c",)),
    jobs.ConfigureAmphora(load_balancer_id="lb", amphora_id="a"),
    jobs.RenewCertificate(load_balancer_id="lb", amphora_id="a"),
]


def test_every_kind_of_job_is_here() -> None:
    assert {type(job) for job in ALL} == set(jobs.KINDS.values())


@pytest.mark.parametrize("job", ALL, ids=lambda job: job.kind)
def test_a_job_survives_the_board(job: jobs.Job) -> None:
    again = jobs.load(job.kind, json.loads(json.dumps(jobs.dump(job))))
    assert again == job
    assert [type(getattr(again, name)) for name in jobs.dump(job)] == [type(getattr(job, name)) for name in jobs.dump(job)]


def test_a_field_of_a_newer_version_is_passed_over() -> None:
    assert jobs.load("update-load-balancer", {"load_balancer_id": "lb", "colour": "red"}) == jobs.UpdateLoadBalancer(load_balancer_id="lb")


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("polish-load-balancer", {"load_balancer_id": "lb"}),
        ("failover-amphora", {"load_balancer_id": "lb"}),
        ("create-load-balancer", {"load_balancer_id": "lb", "topology": "TRIPLE", "amphora_ids": []}),
    ],
)
def test_a_job_that_can_not_be_understood_says_so(kind: str, details: dict[str, object]) -> None:
    with pytest.raises(exceptions.NotSupported, match=kind):
        jobs.load(kind, details)


def test_the_first_amphorae_have_the_same_ids_whoever_asks() -> None:
    pair = jobs.amphora_ids("lb", status.Topology.ACTIVE_STANDBY)
    assert pair == jobs.amphora_ids("lb", status.Topology.ACTIVE_STANDBY)
    assert len({*pair, *jobs.amphora_ids("lb", status.Topology.SINGLE), *jobs.amphora_ids("other", status.Topology.ACTIVE_STANDBY)}) == 5
    assert not set(pair) & set(jobs.amphora_ids("lb", status.Topology.ACTIVE_STANDBY, attempt=1))
