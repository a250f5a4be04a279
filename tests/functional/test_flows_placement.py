"""What flavor and availability zone say reaches the machines: at the first boot, and as it says by then at a failover."""

from __future__ import annotations

import datetime
import json
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from controller import exceptions, jobs
from controller.db import tables
from controller.drivers.network import fake as fake_network
from controller.model.status import Role, Topology
from tests.functional import flow_site

FLAVOR = {"compute_flavor": "large", "amp_image_tag": "amphora-next"}


def placed(site: flow_site.Site, flavor: dict[str, Any], zone: dict[str, Any]) -> str:
    """A load balancer that chose a flavor and a zone that mean this."""
    load_balancer_id = site.accept_load_balancer()
    now = datetime.datetime.now(datetime.UTC)
    profile = {"name": "p", "provider_name": "amphora", "created_at": now}
    with site.db.begin() as tx:
        for table, name, data in (
            (tables.flavor_profiles, "flavor_data", flavor),
            (tables.availability_zone_profiles, "availability_zone_data", zone),
        ):
            tx.connection.execute(sa.insert(table).values(profile | {"id": name, name: json.dumps(data)}))
        tx.flavors.add({"id": "gold", "name": "gold", "flavor_profile_id": "flavor_data"})
        tx.availability_zones.add({"name": "east", "availability_zone_profile_id": "availability_zone_data"})
        chosen = sa.update(tables.load_balancers).where(tables.load_balancers.c.id == load_balancer_id)
        tx.connection.execute(chosen.values(flavor_id="gold", availability_zone="east"))
    return load_balancer_id


def booted(site: flow_site.Site, load_balancer_id: str) -> tuple[str | None, str | None, str | None]:
    (amphora_id,) = site.amphorae(load_balancer_id).values()
    request = site.compute.request_of(amphora_id)
    return request.flavor, request.image_tag, request.zone


def test_machines_are_booted_as_flavor_and_zone_say_and_their_rows_tell(site: flow_site.Site) -> None:
    management = fake_network.network_id(fake_network.MANAGEMENT_NETWORK)
    load_balancer_id = placed(site, FLAVOR, {"compute_zone": "west", "management_network": management})
    site.succeed(flow_site.a_create(load_balancer_id, Topology.SINGLE))
    assert booted(site, load_balancer_id) == ("large", "amphora-next", "west")
    (amphora,) = site.snapshot(load_balancer_id).amphorae
    assert (amphora.compute_flavor, amphora.cached_zone) == ("large", "west")
    assert amphora.image_id == str(uuid.uuid5(uuid.NAMESPACE_OID, "amphora-next"))
    assert [call[:2] for call in site.network.script.calls_of("ensure_management_port")] == [(amphora.id, management)]


def test_a_failover_follows_what_the_profiles_say_by_then(site: flow_site.Site) -> None:
    load_balancer_id = placed(site, FLAVOR, {"compute_zone": "west"})
    site.succeed(flow_site.a_create(load_balancer_id, Topology.SINGLE))
    with site.db.begin() as tx:
        tx.connection.execute(sa.update(tables.flavor_profiles).values(flavor_data='{"compute_flavor": "small"}'))
    amphora_id = site.amphorae(load_balancer_id)[Role.STANDALONE]
    replacement_id = str(uuid.uuid4())
    site.succeed(
        jobs.FailoverAmphora(load_balancer_id=load_balancer_id, amphora_id=amphora_id, replacement_id=replacement_id, role=Role.STANDALONE)
    )
    assert booted(site, load_balancer_id) == ("small", None, "west")


def test_without_a_choice_the_deployment_decides(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    assert booted(site, load_balancer_id) == (None, None, None)


def test_what_is_in_use_can_not_be_deleted_under_it(site: flow_site.Site) -> None:
    load_balancer_id = placed(site, FLAVOR, {})
    for name in ("flavors", "availability_zones"):
        with site.db.begin() as tx, pytest.raises(exceptions.Conflict, match="in use"):
            getattr(tx, name).delete("gold" if name == "flavors" else "east")
    assert site.snapshot(load_balancer_id).load_balancer.flavor_id == "gold"


def groups(site: flow_site.Site, load_balancer_id: str) -> set[str | None]:
    return {site.compute.request_of(amphora_id).server_group_id for amphora_id in site.amphorae(load_balancer_id).values()}


def test_a_pair_is_kept_apart_by_a_group_as_long_as_it_lives(site: flow_site.Site) -> None:
    pair = site.built(Topology.ACTIVE_STANDBY)
    assert list(site.compute.list_server_groups()) == [pair]
    (group,) = groups(site, pair)
    assert group is not None
    backup = site.amphorae(pair)[Role.BACKUP]
    site.succeed(jobs.FailoverAmphora(load_balancer_id=pair, amphora_id=backup, replacement_id=str(uuid.uuid4()), role=Role.BACKUP))
    assert site.amphorae(pair)[Role.BACKUP] != backup
    assert groups(site, pair) == {group}, "the replacement joins the group"
    site.accept_delete(pair)
    site.succeed(flow_site.a_deletion(pair))
    assert list(site.compute.list_server_groups()) == []


def test_one_alone_has_no_group_and_asks_for_none(site: flow_site.Site) -> None:
    single = site.built(Topology.SINGLE)
    assert groups(site, single) == {None}
    site.accept_delete(single)
    site.succeed(flow_site.a_deletion(single))
    assert [name for name, _ in site.compute.script.calls if "group" in name] == []
