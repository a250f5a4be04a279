"""The kernel, its modules, and the first file system that finds the others."""

from __future__ import annotations

import dataclasses
import lzma
import os
import pathlib
import shutil

from images.builder import commands, tree


@dataclasses.dataclass(frozen=True, slots=True)
class Kernel:
    """Debian's kernel for virtual machines, unpacked."""

    folder: pathlib.Path
    version: str

    @property
    def image(self) -> pathlib.Path:
        """What a boot loader loads."""
        return self.folder / "boot" / f"vmlinuz-{self.version}"

    def modules(self, kind: str) -> list[pathlib.Path]:
        """The files of the modules of `modules.txt`, each after what it needs, as paths from the root.

        :raises BuildError: the kernel has no such module, and it is one that has to be there.
        """
        found: dict[pathlib.Path, None] = {}
        for line in tree.words("modules.txt"):
            of, *names = line.split()
            if of == kind:
                for name in names:
                    found |= dict.fromkeys(self._with_needs(name.removesuffix("?"), optional=name.endswith("?")))
        return list(found)

    def _with_needs(self, name: str, *, optional: bool) -> list[pathlib.Path]:
        try:
            shown = commands.run(["modprobe", "-d", self.folder, "-S", self.version, "--show-depends", name]).decode()
        except commands.BuildError:
            if optional:
                return []
            raise
        files = [line.split()[1] for line in shown.splitlines() if line.startswith("insmod ")]
        return [pathlib.Path(file).relative_to(self.folder) for file in files]


def unpack(work: pathlib.Path) -> Kernel:
    """The kernel whose package lies in `work/kernel`."""
    (package,) = (work / "kernel").glob("*.deb")
    folder = work / "kernel" / "unpacked"
    commands.run(["dpkg-deb", "-x", package, folder])
    if not (folder / "lib").exists():
        (folder / "lib").symlink_to("usr/lib")
    (modules,) = (folder / "lib/modules").iterdir()
    for packed in modules.rglob("*.ko.xz"):  # the image is compressed as a whole: so they are unpacked once, not at each boot
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
        packed.unlink()
    commands.run(["depmod", "-b", folder, modules.name])
    made = Kernel(folder, modules.name)
    for path in {*made.modules("initrd"), *made.modules("root")}:
        # At each load of a module the kernel reads its types for BPF, which nothing here uses, and verifies its signature, which goes, too.
        commands.run(["objcopy", "--remove-section=.BTF", "--remove-section=.BTF.base", folder / path])
    return made


def install_modules(kernel: Kernel, root: pathlib.Path) -> None:
    """Copy the modules of the image, and the index by which they are found."""
    _copy(kernel, [*kernel.modules("initrd"), *kernel.modules("root")], root)
    for name in ("modules.builtin", "modules.order"):
        shutil.copy2(kernel.folder / "lib/modules" / kernel.version / name, root / "lib/modules" / kernel.version / name)
    commands.run(["depmod", "-b", root, kernel.version])


def make_initrd(kernel: Kernel, root: pathlib.Path, work: pathlib.Path) -> pathlib.Path:
    """The first file system: busybox, the modules without which no disk is found, and `initrd/init`."""
    folder, made = work / "initrd", work / "initrd.img"
    for name in ("bin", "dev", "proc", "sys", "lower", "upper", "root"):
        (folder / name).mkdir(parents=True)
    shutil.copy2(root / "usr/bin/busybox", folder / "bin/busybox")
    shutil.copy2(tree.HERE / "initrd/init", folder / "init")
    (folder / "init").chmod(0o755)
    modules = kernel.modules("initrd")
    _copy(kernel, modules, folder)
    commands.run(["depmod", "-b", folder, kernel.version])
    (folder / "modules").write_text(" ".join(path.stem for path in modules) + "\n")
    stamp(folder)
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    packed = commands.run(
        ["sh", "-c", 'cd "$1" && cpio --quiet --reproducible -R 0:0 -o -H newc | lz4 -l -12 -c', "cpio", folder],
        stdin="\n".join(names).encode(),
    )
    made.write_bytes(packed)
    return made


def stamp(folder: pathlib.Path) -> None:
    """Give everything below a folder the same time."""
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (commands.EPOCH, commands.EPOCH), follow_symlinks=False)


def _copy(kernel: Kernel, modules: list[pathlib.Path], root: pathlib.Path) -> None:
    for path in modules:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(kernel.folder / path, root / path)
