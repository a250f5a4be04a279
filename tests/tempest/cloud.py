"""What tempest runs against: a whole Figlina in namespaces, behind a real Keystone, and a configuration that says so."""

from __future__ import annotations

import configparser
import contextlib
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Mapping

from controller.providers import amphora_profiles as capabilities
from controller.providers import interface
from tests.integration import keystone
from tests.integration.site import Site

_WAITS = {"build_interval": "0.3", "check_interval": "0.3", "lb_build_interval": "0.3", "check_timeout": "60", "lb_build_timeout": "120"}
"""Seconds. tempest looks every five or ten seconds unless it is told otherwise: in an embedded cloud all is long done by then."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cloud:
    """Where it is."""

    keystone_url: str
    site: Site

    def configuration(self, folder: pathlib.Path, *, ipv6: bool) -> str:
        """The text of `tempest.conf`; `folder` is for its locks. With `ipv6`, VIPs are of IPv6 where a test does not care."""
        file = configparser.ConfigParser(interpolation=None)
        file.read_dict(_sections(self, folder, ipv6=ipv6))
        lines: list[str] = []
        for section in file.sections():
            lines += [f"[{section}]", *(f"{name} = {value}" for name, value in file.items(section)), ""]
        return "\n".join(lines)


def _sections(cloud: Cloud, folder: pathlib.Path, *, ipv6: bool) -> Mapping[str, Mapping[str, str]]:
    return {
        "auth": {
            "admin_username": "admin",
            "admin_password": keystone.PASSWORD,
            "admin_project_name": "admin",
            "admin_domain_name": "Default",
            "use_dynamic_credentials": "true",
        },
        "identity": {"uri_v3": cloud.keystone_url, "auth_version": "v3", "region": "RegionOne", "v3_endpoint_type": "public"},
        "oslo_concurrency": {"lock_path": str(folder / "locks")},
        # The plug-in's API tests ask neither a compute nor an image service, but they want to be told that there is one.
        "service_available": {"load_balancer": "true", "neutron": "true", "nova": "true", "glance": "true", "cinder": "false"}
        | {"swift": "false"},
        "network": {"project_networks_reachable": "true", "endpoint_type": "public"},
        "network-feature-enabled": {"port_security": "true", "ipv6": "true"},
        "validation": {"run_validation": "false"},
        # No availability_zone: the tests of zones name management networks that do not exist, which we refuse.
        "load_balancer": {
            **_WAITS,
            "endpoint_type": "public",
            "provider": "amphora",
            "test_with_ipv6": str(ipv6).lower(),
            "default_ipv6_subnetpool": "",  # the embedded network has no subnet pools
            # What providers can do is told in our own words; the first key of each is looked for, and a comma would end its value.
            "expected_flavor_capability": _described(capabilities.FLAVOR, "compute_flavor"),
            "expected_availability_zone_capability": _described(capabilities.AVAILABILITY_ZONE, "compute_zone"),
        },
    }


def _described(known: Iterable[interface.Capability], name: str) -> str:
    (description,) = [one.about for one in known if one.name == name]
    return f"{name}:{description}"


@contextlib.contextmanager
def running(folder: pathlib.Path) -> Iterator[Cloud]:
    """Put it up; take it down at the end."""
    ground = folder / "keystone"
    ground.mkdir(parents=True)
    site = Site(folder / "site")
    identity = keystone.build_before(ground, site.machine.settings.api_url, threads=1)
    try:
        site.machine.settings = dataclasses.replace(site.machine.settings, options=_options(identity))
        site.up()
        yield Cloud(identity.keystone_url, site)
    finally:
        site.down()
        keystone.down(identity)


def _options(identity: keystone.Cloud) -> dict[str, str]:
    words = identity.credentials("figlina") | {"www_authenticate_uri": identity.keystone_url, "auth_type": "password"}
    return {"api_settings.auth_strategy": "keystone", **{f"keystone_authtoken.{name}": value for name, value in words.items()}}
