"""The command line of the build, and its steps."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

from images.builder import commands, disk, kernel, sources, tree


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `images/build`."""
    options = _parser().parse_args(arguments)
    try:
        commands.check_host()
        with _work(options.work) as work:
            _build(options, work)
    except (commands.BuildError, OSError) as exc:
        print(f"The image was not built: {exc}", file=sys.stderr)
        return 1
    return 0


def _build(options: argparse.Namespace, work: pathlib.Path) -> None:
    release = sources.RELEASES[options.debian]
    options.output.mkdir(parents=True, exist_ok=True)
    with _step(f"Debian {options.debian} ({release}) and the agent"):
        root = tree.make(release, work, options.package, options.overlay)
    with _step("kernel and modules"):
        linux = kernel.unpack(work)
        kernel.install_modules(linux, root)
        initrd = kernel.make_initrd(linux, root, work)
    with _step("root file system"):
        packed = disk.make_root(root, work)
    with whole(options.output) as made:
        with _step("disk"):
            disk.compress(disk.make(linux.image, initrd, packed, work), made / "amphora.qcow2")
        for source, name in ((linux.image, "vmlinuz"), (initrd, "initrd.img"), (root / "usr/share/figlina/packages", "amphora.packages")):
            shutil.copyfile(source, made / name)
        digest = hashlib.sha256((made / "amphora.qcow2").read_bytes()).hexdigest()
        (made / "amphora.qcow2.sha256").write_text(f"{digest}  amphora.qcow2\n")
    image = options.output / "amphora.qcow2"
    print(f"{image}: {image.stat().st_size / 1e6:.1f} MB, sha256 {digest}")


@contextlib.contextmanager
def whole(output: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder whose files come to the output folder when all of them are there. What was there before may be in use by machines that
    run: they keep it, and a build that fails leaves it.
    """
    with tempfile.TemporaryDirectory(prefix=".new-", dir=output) as folder:
        yield pathlib.Path(folder)
        for made in pathlib.Path(folder).iterdir():
            made.replace(output / made.name)


@contextlib.contextmanager
def _step(name: str) -> Iterator[None]:
    print(f"{name} ...", flush=True)
    started = time.monotonic()
    yield
    print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


@contextlib.contextmanager
def _work(kept: pathlib.Path | None) -> Iterator[pathlib.Path]:
    """An empty folder for what is made on the way: one that is named stays."""
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="figlina-image-") as folder:
            pathlib.Path(folder).chmod(0o755)
            yield pathlib.Path(folder)
        return
    kept.mkdir(parents=True, exist_ok=True)
    if any(kept.iterdir()):
        raise commands.BuildError(f"{kept} is not empty: name another folder, or remove what is in it.")
    yield kept.resolve()


def _parser() -> argparse.ArgumentParser:
    here = pathlib.Path.cwd()
    parser = argparse.ArgumentParser(
        prog="images/build", description="Build the amphora image from Debian packages and this repository's agent."
    )
    parser.add_argument("--output", type=pathlib.Path, default=here / "build" / "image", help="where the image goes (build/image)")
    parser.add_argument("--debian", choices=sorted(sources.RELEASES), default="13", help="release of Debian (13)")
    parser.add_argument("--package", action="append", default=[], metavar="NAME", help="one more package; may be repeated")
    parser.add_argument(
        "--overlay", action="append", default=[], type=pathlib.Path, metavar="DIR", help="files to copy over the root; may be repeated"
    )
    parser.add_argument("--work", type=pathlib.Path, metavar="DIR", help="keep what is made on the way in this empty folder")
    return parser
