"""The files in `etc/` for deployments: systemd takes the units, and finds them well closed; HAProxy takes the proxy; options are known."""

from __future__ import annotations

import configparser
import pathlib
import re
import shutil
import subprocess

import pytest

from controller import conf as configuration
from controller.deployment import own, report
from controller.deployment.site import Site
from controller.drivers.ca import local

ROOT = pathlib.Path(__file__).parents[2]
ETC = ROOT / "etc"
UNITS = sorted(path.name for path in (ETC / "systemd" / "system").glob("*.service"))
EXPOSURE = 1.2
"""What `systemd-analyze security` may find at most; 10 is a unit that may do everything."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder that looks like a host on which all is installed: systemd is asked about it without running there."""
    folder = tmp_path_factory.mktemp("host")
    shutil.copytree(ETC / "systemd" / "system", folder / "etc/systemd/system")
    shutil.copytree("/usr/lib/systemd/system", folder / "usr/lib/systemd/system", symlinks=True)
    programs = folder / "opt/figlina/bin"
    programs.mkdir(parents=True)
    for name in _programs():
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    return folder


def _programs() -> set[str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return {line.split("=")[0].strip() for line in parser["options.entry_points"]["console_scripts"].strip().splitlines()}


def _run(*words: str | pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)


def test_every_process_of_a_controller_has_a_unit_that_starts_it() -> None:
    modules = {
        path.stem for path in (ROOT / "controller/cmd").glob("*.py") if "def serve" in path.read_text() or "gunicorn" in path.read_text()
    }
    started = {}
    for name in UNITS:
        text = (ETC / "systemd/system" / name).read_text()
        started[name.removesuffix(".service")] = re.findall(r"^ExecStart=/opt/figlina/bin/(\S+)", text, re.MULTILINE)
    assert started == {name: [name] for name in started}
    assert set(started) <= _programs()
    assert {name.removeprefix("figlina-").replace("-", "_") for name in started} >= modules - {"api_worker", "process"}


@needs_systemd
def test_systemd_takes_the_units(root: pathlib.Path) -> None:
    done = _run("systemd-analyze", f"--root={root}", "verify", "figlina.target", *UNITS)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_units_may_do_little(root: pathlib.Path, unit: str) -> None:
    threshold = f"--threshold={round(EXPOSURE * 10)}"
    done = _run("systemd-analyze", f"--root={root}", "security", "--offline=true", threshold, unit)
    assert done.returncode == 0, done.stdout[-600:] + done.stderr
    assert (ROOT / "docs/operations/install.md").read_text().count(f"{_exposure(done.stdout)} of 10"), done.stdout[-100:]


def _exposure(told: str) -> str:
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
    assert found is not None, told
    return found[1]


@needs_systemd
def test_users_and_folders_are_made(tmp_path: pathlib.Path) -> None:
    (tmp_path / "etc").mkdir()
    made = _run("systemd-sysusers", f"--root={tmp_path}", ETC / "systemd/sysusers.d/figlina.conf")
    assert made.returncode == 0, made.stderr
    assert "figlina:x:" in (tmp_path / "etc/passwd").read_text()
    dry = _run("systemd-tmpfiles", "--create", f"--root={tmp_path}", ETC / "systemd/tmpfiles.d/figlina.conf")
    assert not re.search("Unknown|Failed to parse", dry.stderr), dry.stderr


def test_haproxy_takes_the_proxy_before_the_api(tmp_path: pathlib.Path) -> None:
    if shutil.which("haproxy") is None:
        pytest.skip("HAProxy is not installed")
    authority = local.LocalCertificateAuthority(tmp_path / "ca", create=True)
    (tmp_path / "api.pem").write_bytes(authority.issue_amphora_certificate("api").pem)
    text = (ETC / "haproxy/figlina-api.cfg").read_text().replace("/etc/haproxy/api.pem", str(tmp_path / "api.pem"))
    (tmp_path / "proxy.cfg").write_text(re.sub(r"^    (user|group) .*\n", "", text, flags=re.MULTILINE))
    done = _run("haproxy", "-c", "-f", tmp_path / "proxy.cfg")
    assert done.returncode == 0, done.stderr


def test_the_options_of_the_sample_for_openstack_are_known_and_fit() -> None:
    sample = ETC / "figlina-openstack.conf.sample"
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(sample)
    known = {(group, option.dest) for group, options in configuration.list_opts() for option in options}
    theirs = {("healthcheck", "backends")}
    assert {(section, name) for section in parser.sections() for name in parser[section]} <= known | theirs
    conf = configuration.load(["--config-file", str(sample)])
    assert [one.found for one in own.options(Site(conf)) if one.level is not report.Level.OK] == []
