"""Nothing on the way to ACTIVE waits until some process of ours looks: all looks are a minute apart here. VMs boot side by side."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.cloud import moments
from tests.cloud.site import Site

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(1800)]

LOOK = 60.0
_HOUSEKEEPING = ("sweep", "cleanup", "orphan", "compare", "cert")
OPTIONS = {
    "task_flow": {"poll_interval": str(LOOK)},
    "health_manager": {"health_check_interval": str(LOOK)},
    "house_keeping": {f"{name}_interval": str(LOOK) for name in _HOUSEKEEPING},
}


@pytest.fixture
def beats(site: Site) -> Iterator[moments.Beats]:
    with moments.Beats(site) as made:
        yield made


def _waits_for_nothing(made: moments.Creation) -> None:
    """Neither for a look of ours, nor by asking the compute service again and again whether a server has come up."""
    parts = made.parts()
    print(f"\n{made.load_balancer_id}: {parts}")
    assert parts["before"] - parts["before_in_calls"] < LOOK / 4, parts
    assert parts["reaction"] < LOOK / 4, parts
    for one in made.amphorae:
        looks = [call.at for call in made.calls if call.method == "GET" and call.path.endswith(f"/servers/{one.server_id}")]
        assert all(later - earlier > 9 for earlier, later in itertools.pairwise([one.ordered, *looks])), (one, looks)


def test_one_amphora(site: Site, beats: moments.Beats) -> None:
    made = moments.creation(site, beats)
    _waits_for_nothing(made)
    site.delete(made.load_balancer_id)


def test_the_halves_of_a_pair_boot_side_by_side(site: Site, beats: moments.Beats) -> None:
    made = moments.creation(site, beats, flavor_id=site.pair)
    assert len(made.amphorae) == 2
    _waits_for_nothing(made)
    assert max(one.run for one in made.amphorae) < min(one.heard for one in made.amphorae), "one booted after the other"
    site.delete(made.load_balancer_id)


def test_five_that_are_made_together_boot_together(site: Site, beats: moments.Beats) -> None:
    made = moments.creations(site, beats, 5)
    ways = [one for each in made for one in each.amphorae]
    orders, runs, beats_at = ([getattr(one, moment) for one in ways] for moment in ("ordered", "run", "heard"))
    print(f"\nfive: ordered within {max(orders) - min(orders):.1f} s, run within {max(runs) - min(runs):.1f} s")
    for one in made:
        print(f"{one.load_balancer_id}: {one.parts()}")
    assert max(orders) < min(beats_at), "one was ordered when another was up"
    for one in made:
        site.delete(one.load_balancer_id)
