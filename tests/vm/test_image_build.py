"""The image is small, holds nothing that it does not need, and is the same whenever the same things go into it."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import subprocess

import pytest

from images.builder import commands, disk, kernel, main, tree
from tests.vm.conftest import REPOSITORY

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1200)]
MOST = 70e6


def test_it_is_small(image_folder: pathlib.Path) -> None:
    assert (image_folder / "amphora.qcow2").stat().st_size <= MOST


def test_its_packages_are_listed_with_their_versions(image_folder: pathlib.Path) -> None:
    listed = dict(line.split(" ", 1) for line in (image_folder / "amphora.packages").read_text().splitlines())
    assert listed["haproxy"].startswith("3.")
    assert {"keepalived", "nftables", "python3-flask"} <= listed.keys()
    assert {"systemd", "openssh-server", "cloud-init", "apt"}.isdisjoint(listed)


@pytest.mark.skipif(shutil.which("depmod") is None, reason="needs kmod")
def test_a_kernel_may_lack_modules_with_a_question_mark_only(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of Debian 12, which an image can be made of, lacks one of them."""
    (tmp_path / "lib/modules/6.1").mkdir(parents=True)
    subprocess.run(["depmod", "-b", tmp_path, "6.1"], check=True, capture_output=True)
    monkeypatch.setattr(tree, "HERE", tmp_path)
    (tmp_path / "modules.txt").write_text("initrd wanted\nroot liked?\n")
    bare = kernel.Kernel(tmp_path, "6.1")
    assert bare.modules("root") == []
    with pytest.raises(commands.BuildError, match="wanted not found"):
        bare.modules("initrd")


@pytest.mark.skipif(
    not all(shutil.which(name) for name in ("syslinux", "mcopy", "mkfs.vfat")), reason="needs syslinux, mtools and dosfstools"
)
def test_what_boots_lies_in_one_order_wherever_it_was_put_together(tmp_path: pathlib.Path) -> None:
    """File systems list a folder in orders of their own: an image made in memory had other bits than one made on a disk."""
    for name in ("kernel", "initrd"):
        (tmp_path / name).write_bytes(bytes(6 * disk.MIB))
    made = disk._boot_partition(tmp_path / "kernel", tmp_path / "initrd", tmp_path)
    listed = subprocess.run(["mdir", "-b", "-i", made, "::loader"], check=True, capture_output=True, text=True).stdout.split()
    assert listed == ["::/loader/entries/", "::/loader/loader.conf"]


def test_an_image_that_machines_run_from_stays_theirs_and_a_build_that_fails_leaves_it(tmp_path: pathlib.Path) -> None:
    (tmp_path / "amphora.qcow2").write_text("old")

    def fail(made: pathlib.Path) -> None:
        (made / "amphora.qcow2").write_text("half")
        raise commands.BuildError("the disk is full")

    with pytest.raises(commands.BuildError), main.whole(tmp_path) as made:
        fail(made)
    assert (tmp_path / "amphora.qcow2").read_text() == "old"
    with (tmp_path / "amphora.qcow2").open() as in_use:
        with main.whole(tmp_path) as made:
            (made / "amphora.qcow2").write_text("new")
        assert in_use.read() == "old"
    assert (tmp_path / "amphora.qcow2").read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["amphora.qcow2"]


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bits_whoever_builds(image_folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    others = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_", "LANG"))}
    if "PYTHONDONTWRITEBYTECODE" not in os.environ:
        others["PYTHONDONTWRITEBYTECODE"] = "1"
    build: list[str | pathlib.Path] = [REPOSITORY / "images" / "build", "--output", tmp_path / "again"]
    subprocess.run(build, check=True, env={**others, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"})
    names = ("vmlinuz", "initrd.img", "amphora.packages", "amphora.qcow2")
    assert [_digest(tmp_path / "again" / name) for name in names] == [_digest(image_folder / name) for name in names]


def _digest(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
