"""The element for diskimage-builder has what the image has: programs, modules, settings; its unit starts what its hooks bring."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

from images.builder import tree

ROOT = pathlib.Path(__file__).parents[2]
ELEMENT = ROOT / "images/elements/figlina-amphora"
UNIT = ELEMENT / "static/etc/systemd/system/figlina-agent.service"
SYSCTLS = ROOT / "images/root/etc/sysctl.d/amphora.conf"
OF_THE_DISTRIBUTION = {"busybox-static", "ca-certificates", "dropbear-bin", "python3-minimal"}
"""Its own init, authorities and SSH server; python3-flask needs Python."""
FOR_THE_DISTRIBUTION = {"dbus", "e2fsprogs"}
"""What its systemd-logind and its root file system need, and some have not of themselves."""
BY_UDEV = {"button", "evdev", "virtio_balloon"}
"""Modules that the image loads itself, and a distribution as it finds the devices."""


def test_it_has_the_programs_of_the_image() -> None:
    packages = set(yaml.safe_load((ELEMENT / "package-installs.yaml").read_text()))
    assert packages == set(tree.words("packages.txt")) - OF_THE_DISTRIBUTION | FOR_THE_DISTRIBUTION


def test_it_loads_the_modules_of_the_image_and_knows_as_many_flows() -> None:
    image, element = (ROOT / "images/root/usr/lib/figlina/startup").read_text(), (ELEMENT / "static/usr/lib/figlina/startup").read_text()
    of_image = [line.split() for line in re.findall(r"modprobe -a (.*nf_conntrack.*) 2>", image)]
    assert [set(re.findall(r"modprobe -a (.*) \|\|", element)[0].split())] == [set(one) - BY_UDEV for one in of_image]
    (option,) = re.findall(r'echo "(options nf_conntrack .*)"', image)
    assert f'echo "{option}"' in element


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder that the hooks take for the machine; `told` there is what systemctl was told."""
    root = tmp_path_factory.mktemp("machine")
    hooks, programs = root / "tmp/in_target.d", root / "programs"
    for folder in (hooks, programs, root / "etc/sysctl.d"):
        folder.mkdir(parents=True)
    shutil.copytree(ELEMENT / "static", root, dirs_exist_ok=True)
    (programs / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {root}/told\n')
    (programs / "systemctl").chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "TMP_HOOKS_PATH": str(hooks), "FIGLINA_REPOSITORY": str(ROOT)}
    subprocess.run([ELEMENT / "extra-data.d/50-figlina-agent"], env=environment, check=True)
    inside = re.sub(r"(?<=[ >])/(?=\w)", f"{root}/", (ELEMENT / "install.d/50-figlina-agent").read_text())
    subprocess.run(["bash", "-c", inside], env=environment, check=True)
    return root


def test_without_a_checkout_it_says_what_it_misses(tmp_path: pathlib.Path) -> None:
    hook = ELEMENT / "extra-data.d/50-figlina-agent"
    done = subprocess.run([hook], env={"PATH": os.environ["PATH"], "TMP_HOOKS_PATH": str(tmp_path)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "FIGLINA_REPOSITORY must name a checkout of Figlina\n")


def test_the_unit_finds_the_agent_and_is_the_only_one_that_starts_programs(machine: pathlib.Path) -> None:
    assert (machine / "told").read_text().splitlines() == [
        "disable haproxy.service keepalived.service",
        "enable figlina-agent.service",
    ]
    unit = UNIT.read_text()
    (before,) = re.findall(r"^ExecStartPre=\+(\S+)$", unit, re.MULTILINE)
    assert os.access(machine / before.removeprefix("/"), os.X_OK)
    (path,) = re.findall(r"^Environment=PYTHONPATH=(\S+)$", unit, re.MULTILINE)
    (module,) = re.findall(r"^ExecStart=/usr/bin/python3 -B -m (\S+)$", unit, re.MULTILINE)
    assert (machine / path.removeprefix("/") / f"{module.replace('.', '/')}.py").exists()


def test_haproxy_may_go_through_the_folders_of_the_agent() -> None:
    """It is another user, and finds the program of PING checks and the exporter's socket there. What tenants keep lies elsewhere (0700)."""
    (umask,) = re.findall(r"^UMask=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert int(umask, 8) == 0o022


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts")
def test_programs_of_the_agent_may_be_started_where_others_of_run_may_not(tmp_path: pathlib.Path) -> None:
    (tmp_path / "modprobe").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "modprobe").chmod(0o755)
    program = "printf '#!/bin/sh\\necho started\\n' >$1/program; chmod 755 $1/program; $1/program || echo not"
    steps = ["mount -t tmpfs -o noexec tmpfs /run", *[str(ELEMENT / "static/usr/lib/figlina/startup")] * 2]
    steps += [f"for folder in /run /run/figlina; do set -- $folder; {program}; done"]
    words = ["unshare", "--mount", "sh", "-ec", "\n".join(steps)]
    done = subprocess.run(words, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True)
    assert done.stdout.split() == ["not", "started"], done.stderr


def test_the_kernel_is_told_what_it_is_told_in_the_image_and_each_card_what_is_said_of_all(machine: pathlib.Path) -> None:
    wanted, told = SYSCTLS.read_text().splitlines(), (machine / "etc/sysctl.d/amphora.conf").read_text().splitlines()
    defaults = [line for line in wanted if ".conf.default." in line]
    assert defaults
    assert sorted(told) == sorted([*wanted, *(line.replace(".default.", ".*.") for line in defaults)])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit(machine: pathlib.Path) -> None:
    shutil.copytree("/usr/lib/systemd/system", machine / "usr/lib/systemd/system", symlinks=True)
    (machine / "usr/bin").mkdir(exist_ok=True)
    shutil.copy2("/bin/true", machine / "usr/bin/python3")
    done = subprocess.run(["systemd-analyze", f"--root={machine}", "verify", UNIT.name], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
