"""The root file system as a folder: Debian's packages, the agent, what starts it, and nothing else."""

from __future__ import annotations

import pathlib
import shutil

from images.builder import commands, sources

HERE = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = HERE.parent

_LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian")
_AGENT = "usr/lib/figlina/python"
_KERNEL = '"$(apt-cache depends linux-image-cloud-amd64 | sed -n "s/^ *Depends: //p" | head -1)"'
# The time stamps of files are no longer theirs in the image; -B: what compiles leaves no byte-code by time stamps of what it imports.
# Tracebacks name lines; the columns, which Python would name besides, would be read at each boot.
_BYTE_CODE = "-B -X no_debug_ranges -m compileall -q -f --invalidation-mode unchecked-hash"
_LINKS = {
    "sbin/init": "/bin/busybox",
    "sbin/poweroff": "/bin/busybox",
    "sbin/reboot": "/bin/busybox",
    "sbin/modprobe": "/bin/busybox",
    "usr/bin/mount": "/bin/busybox",
    "usr/bin/umount": "/bin/busybox",
    "etc/resolv.conf": "/run/resolv.conf",
}


def words(name: str) -> list[str]:
    """The lines of one of our lists, without comments."""
    lines = (HERE / name).read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def make(release: str, work: pathlib.Path, extra_packages: list[str], overlays: list[pathlib.Path]) -> pathlib.Path:
    """Install everything into `work/root`; the kernel's package lies in `work/kernel` then.

    :raises BuildError: a package is not to be had, or did not install.
    """
    listed, options = sources.write(release, work)
    kernel = work / "kernel"
    kernel.mkdir()
    kernel.chmod(0o777)  # apt downloads as a user of its own
    agent = work / "agent"
    _copy_agent(agent)
    hooks = [
        f'mkdir -p "$1/{_AGENT}" "$1/usr/share/figlina"',
        f'cp -r {agent}/. "$1/{_AGENT}"',
        f'cd {kernel} && export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" && apt-get download {_KERNEL}',
        'chroot "$1" dpkg-query -W -f \'${Package} ${Version}\\n\' > "$1/usr/share/figlina/packages"',
        'find "$1/usr" -name __pycache__ -prune -exec rm -r {} +',
        f'chroot "$1" sh -c "python3 {_BYTE_CODE} /usr/lib/python3 /usr/lib/python3.* || :"',  # a test file there is wrong on purpose
        f'chroot "$1" python3 {_BYTE_CODE} /{_AGENT}',
    ]
    packages = ",".join([*words("packages.txt"), *extra_packages])
    archive = work / "root.tar"
    commands.run(
        [
            "mmdebstrap",
            "--variant=essential",
            f"--aptopt={options}",
            "--aptopt=APT::Install-Recommends false",
            *(f"--dpkgopt=path-exclude=/{path}/*" for path in _LEFT_OUT),
            f"--include={packages}",
            *(f"--customize-hook={hook}" for hook in hooks),
            release,
            archive,
            listed,
        ]
    )
    root = work / "root"
    root.mkdir()
    commands.run(["tar", "-C", root, "-x", "--no-same-owner", "--exclude=./dev/*", "-f", archive])
    archive.unlink()
    _trim(root)
    for overlay in (HERE / "root", *overlays):
        shutil.copytree(overlay, root, symlinks=True, dirs_exist_ok=True)
    _finish(root)
    return root


def _copy_agent(folder: pathlib.Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "py.typed")
    shutil.copytree(REPOSITORY / "amphora_agent", folder / "amphora_agent", ignore=ignored)


def _trim(root: pathlib.Path) -> None:
    for pattern in words("trim.txt"):
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _finish(root: pathlib.Path) -> None:
    """Links and files that hold for every machine; no program may give anybody more rights than they have."""
    shutil.copy2(root / "usr/bin/busybox", root / "usr/bin/busybox.new")
    (root / "usr/bin/busybox.new").replace(root / "usr/bin/busybox")
    for name, target in _LINKS.items():
        path = root / name
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    for folder in ("dev", "proc", "sys", "run", "tmp", "var/log", "var/lib/figlina", "etc/figlina"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, line in (("passwd", "figlina:x:990:990::/var/lib/figlina:/usr/sbin/nologin"), ("group", "figlina:x:990:")):
        with (root / "etc" / name).open("a") as file:
            file.write(f"{line}\n")
    (root / "etc/machine-id").write_text("")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o6000:
            path.chmod(path.stat().st_mode & 0o1777)
