"""The reader of configuration drives: what Nova writes is read, and what makes no sense is named."""

from __future__ import annotations

import base64
import json
import pathlib
from typing import Any

import pytest

from amphora_agent import config_drive
from amphora_agent.protocol import boot


def a_drive(place: pathlib.Path, about: Any = None, user_data: str | None = None, network: Any = None) -> pathlib.Path:
    latest = place / "openstack" / "latest"
    latest.mkdir(parents=True)
    (place / "openstack" / "content").mkdir()
    (place / "openstack" / "content" / "0000").write_bytes(b"{}")
    (latest / "meta_data.json").write_text(json.dumps({"name": "amphora-1"} if about is None else about))
    if user_data is not None:
        (latest / "user_data").write_text(user_data)
    if network is not None:
        (latest / "network_data.json").write_text(json.dumps(network))
    return place


def cloud_config(**one: str) -> str:
    return "#cloud-config\n" + json.dumps({"write_files": [one]})


def test_files_come_by_personality_and_by_user_data(tmp_path: pathlib.Path) -> None:
    about = {"name": "amphora-1", "files": [{"path": boot.CONFIG_PATH, "content_path": "/content/0000"}]}
    encoded = cloud_config(path=boot.SERVER_PEM_PATH, content=base64.b64encode(b"pem").decode(), encoding="b64")
    drive = config_drive.read(a_drive(tmp_path, about, encoded))
    assert drive.name == "amphora-1"
    assert drive.files == {boot.CONFIG_PATH: b"{}", boot.SERVER_PEM_PATH: b"pem"}


def test_secrets_are_not_in_what_a_log_would_show(tmp_path: pathlib.Path) -> None:
    drive = config_drive.read(a_drive(tmp_path, user_data=cloud_config(path=boot.SERVER_PEM_PATH, content="the key")))
    assert "the key" not in repr(drive)


def test_who_may_log_in_stands_with_the_names_of_keys(tmp_path: pathlib.Path) -> None:
    about = {"name": "amphora-1", "public_keys": {"operator": "ssh-ed25519 AAAA me@home\n"}}
    assert config_drive.read(a_drive(tmp_path, about)).keys == ("ssh-ed25519 AAAA me@home",)


@pytest.mark.parametrize("keys", [["ssh-ed25519 AAAA"], {"operator": 1}, {"operator": "ssh-ed25519 AAAA\nssh-ed25519 BBBB"}, "ssh-ed25519"])
def test_a_key_is_a_line(tmp_path: pathlib.Path, keys: object) -> None:
    with pytest.raises(config_drive.NoDrive, match="public_keys"):
        config_drive.read(a_drive(tmp_path, {"name": "amphora-1", "public_keys": keys}))


def test_user_data_of_another_kind_is_passed_over(tmp_path: pathlib.Path) -> None:
    assert config_drive.read(a_drive(tmp_path, user_data="#!/bin/sh\nreboot\n")).files == {}


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/figlina/../shadow", "etc/figlina/x", "/etc/figlina"])
def test_a_drive_writes_below_our_folder_alone(tmp_path: pathlib.Path, path: str) -> None:
    with pytest.raises(config_drive.NoDrive, match="may not be written"):
        config_drive.read(a_drive(tmp_path, user_data=cloud_config(path=path, content="x")))


def test_a_personality_file_comes_from_the_drive_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "outside").write_text("x")
    about = {"files": [{"path": boot.CONFIG_PATH, "content_path": "/content/../../outside"}]}
    with pytest.raises(config_drive.NoDrive, match="leads out of the drive"):
        config_drive.read(a_drive(tmp_path, about))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("meta_data.json", "{"),
        ("meta_data.json", "[]"),
        ("meta_data.json", '{"files": [{"path": "/etc/figlina/x"}]}'),
        ("user_data", "#cloud-config\nnot: json\n"),
        ("user_data", '#cloud-config\n{"write_files": [{"path": "/etc/figlina/x"}]}'),
        ("user_data", '#cloud-config\n{"write_files": [{"path": "/etc/figlina/x", "content": "?", "encoding": "b64"}]}'),
        ("user_data", "#cloud-config\n[]"),
        ("network_data.json", '{"links": [{"id": "a", "ethernet_mac_address": "x"}], "networks": [{"link": "a"}]}'),
        ("network_data.json", '{"links": 7}'),
    ],
)
def test_what_makes_no_sense_is_told_as_such(tmp_path: pathlib.Path, name: str, content: str) -> None:
    place = a_drive(tmp_path)
    (place / "openstack" / "latest" / name).write_text(content)
    with pytest.raises(config_drive.NoDrive):
        config_drive.read(place)


def test_a_drive_without_meta_data_is_told(tmp_path: pathlib.Path) -> None:
    with pytest.raises(config_drive.NoDrive, match=r"meta_data\.json can't be read: No such file"):
        config_drive.read(tmp_path)


def test_addresses_and_routes_of_both_versions_are_read(tmp_path: pathlib.Path) -> None:
    network = {
        "links": [{"id": "tap1", "ethernet_mac_address": "FA:16:3E:00:00:01", "mtu": 1450}, {"id": "tap2", "ethernet_mac_address": "b"}],
        "networks": [
            {
                "link": "tap1",
                "network_id": "N1",
                "type": "ipv4",
                "ip_address": "192.0.2.5",
                "netmask": "255.255.255.0",
                "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}],
            },
            {
                "link": "tap1",
                "type": "ipv6",
                "ip_address": "2001:db8::5/64",
                "routes": [{"network": "::", "netmask": "::", "gateway": "2001:db8::1"}],
            },
            {"link": "tap2", "type": "ipv4_dhcp"},
        ],
    }
    first, second = config_drive.read(a_drive(tmp_path, network=network)).links
    assert (first.mac, first.mtu, first.dhcp, first.networks) == ("fa:16:3e:00:00:01", 1450, False, ("N1",))
    assert first.addresses == ("192.0.2.5/24", "2001:db8::5/64")
    assert first.routes == (("0.0.0.0/0", "192.0.2.1"), ("::/0", "2001:db8::1"))
    assert (second.addresses, second.dhcp) == ((), True)


@pytest.mark.parametrize("kind", ["ipv6", "ipv6_slaac", "ipv6_dhcpv6-stateless", "ipv6_dhcpv6-stateful"])
def test_an_address_is_taken_however_the_subnet_would_give_it(tmp_path: pathlib.Path, kind: str) -> None:
    """Nova (`nova/virt/netutils.py`) writes it for each mode of IPv6, and leaves it out only where DHCP gives it."""
    address = {"ip_address": "2001:db8::5", "netmask": "ffff:ffff:ffff:ffff::"}
    routes = [{"network": "::", "netmask": "::", "gateway": "2001:db8::1"}]
    networks = [{"link": "tap1", "type": "ipv4_dhcp"}, {"link": "tap1", "type": kind, **address, "routes": routes}]
    network = {"links": [{"id": "tap1", "ethernet_mac_address": "fa:16:3e:00:00:01"}], "networks": networks}
    (link,) = config_drive.read(a_drive(tmp_path, network=network)).links
    assert (link.addresses, link.routes, link.dhcp) == (("2001:db8::5/64",), (("::/0", "2001:db8::1"),), True)


def test_a_drive_is_known_by_its_label(tmp_path: pathlib.Path) -> None:
    iso = bytearray(40 * 1024)
    iso[32769:32774], iso[32808:32840] = b"CD001", b"config-2".ljust(32)
    fat16, fat32 = bytearray(40 * 1024), bytearray(40 * 1024)
    for fat, offset in ((fat16, 43), (fat32, 71)):
        fat[510:512], fat[offset : offset + 11] = b"\x55\xaa", b"CONFIG-2   "
    other = bytearray(iso)
    other[32808:32840] = b"cidata".ljust(32)
    found = {}
    for name, content in (("iso", iso), ("fat16", fat16), ("fat32", fat32), ("other", other), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        found[name] = config_drive.kind_of(tmp_path / name)
    assert found == {"iso": "iso9660", "fat16": "vfat", "fat32": "vfat", "other": None, "empty": None}
    assert config_drive.kind_of(tmp_path / "missing") is None
