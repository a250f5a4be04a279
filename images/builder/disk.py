"""The disk: a GPT with a boot partition (BIOS and UEFI), the root (erofs, read only) and a small state partition (ext4).

Partitions are known by their names: `figlina-boot`, `figlina-root`, `figlina-state`. Ids are fixed, so that the same inputs give the same
bits.
"""

from __future__ import annotations

import pathlib
import shutil

from images.builder import commands, kernel

MIB = 1024 * 1024
STATE_MIB = 32
COMMAND_LINE = (
    "console=tty0 console=ttyS0,115200 loglevel=4 panic=5 audit=0 cryptomgr.notests net.ifnames=0 8250.nr_uarts=1 noreplace-smp"
    " no_timer_check psi=0 cgroup_disable=memory lsm=lockdown,capability,landlock,yama"
    " initcall_blacklist=jent_mod_init,i8042_init,crypto_kdf108_init,trace_eval_init"
    ",load_system_certificate_list,bpf_tcp_ca_kfunc_init,bpf_dummy_struct_ops_init"
)
"""What each boot would pay for and nobody has (admin-guide/kernel-parameters): without `noreplace-smp`, a kernel with one processor takes
each lock prefix out of its code by a mapping of memory; broken timers (`no_timer_check`) are those of old boards; nobody reads what waits
for how long (`psi`), or limits memory by control groups; `lsm` names the security modules that do something without a policy; of the last
ones, jent and kdf108 test themselves for FIPS 140 (the kernel's own random numbers are others), i8042 are keyboards, trace_eval holds names
for tracing, the list of certificates would verify signatures of modules, which have none here, and the others offer functions to programs
of BPF, of which there are none. Mitigations of processors' faults stay on."""

_ID = "f1611a00-0000-4000-8000-{:012d}"
_EFI_SYSTEM = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_ROOT_X86_64 = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
_VARIABLE_DATA = "4D21B016-B534-45C2-A9FB-5C16E091FD2D"


def make_root(root: pathlib.Path, work: pathlib.Path) -> pathlib.Path:
    """The root as one compressed file system; everything in it is root's."""
    made = work / "root.erofs"
    options = ["-zlz4hc,12", "-C65536", f"-T{commands.EPOCH}", "-U", _ID.format(6), "--all-root"]
    commands.run(["mkfs.erofs", *options, made, root])
    return made


def make(image: pathlib.Path, initrd: pathlib.Path, root: pathlib.Path, work: pathlib.Path) -> pathlib.Path:
    """Put kernel, initrd and root onto one raw disk."""
    boot = _boot_partition(image, initrd, work)
    state = _state_partition(work)
    parts = [
        (boot, "figlina-boot", _EFI_SYSTEM, ', attrs="LegacyBIOSBootable"'),
        (root, "figlina-root", _ROOT_X86_64, ""),
        (state, "figlina-state", _VARIABLE_DATA, ""),
    ]
    disk = work / "amphora.raw"
    table = ["label: gpt", f"label-id: {_ID.format(0)}", "unit: sectors"]
    start, places = 1, []
    for number, (part, name, kind, more) in enumerate(parts, 1):
        size = -(-part.stat().st_size // MIB)
        table.append(f"start={start * 2048}, size={size * 2048}, type={kind}, name={name}, uuid={_ID.format(number)}{more}")
        places.append((part, start))
        start += size
    with disk.open("wb") as file:
        file.truncate((start + 1) * MIB)
    commands.run(["sfdisk", "-q", "--no-reread", disk], stdin="\n".join(table).encode())
    with disk.open("r+b") as file:
        file.write(pathlib.Path("/usr/lib/syslinux/mbr/gptmbr.bin").read_bytes()[:440])
        for part, place in places:
            file.seek(place * MIB)
            with part.open("rb") as source:
                shutil.copyfileobj(source, file, MIB)
    return disk


def _boot_partition(image: pathlib.Path, initrd: pathlib.Path, work: pathlib.Path) -> pathlib.Path:
    """FAT, as UEFI asks for it: systemd-boot there, and syslinux for a BIOS."""
    files, made = work / "boot", work / "boot.fat"
    (files / "EFI/BOOT").mkdir(parents=True)
    (files / "loader/entries").mkdir(parents=True)
    shutil.copyfile(image, files / "vmlinuz")
    shutil.copyfile(initrd, files / "initrd")
    shutil.copyfile("/usr/lib/systemd/boot/efi/systemd-bootx64.efi", files / "EFI/BOOT/BOOTX64.EFI")
    entry = f"DEFAULT amphora\nPROMPT 0\nTIMEOUT 0\nLABEL amphora\n  LINUX /vmlinuz\n  INITRD /initrd\n  APPEND {COMMAND_LINE}\n"
    (files / "syslinux.cfg").write_text(entry)
    (files / "loader/loader.conf").write_text("default amphora.conf\ntimeout 0\neditor no\n")
    (files / "loader/entries/amphora.conf").write_text(f"title amphora\nlinux /vmlinuz\ninitrd /initrd\noptions {COMMAND_LINE}\n")
    kernel.stamp(files)
    size = sum(path.stat().st_size for path in files.rglob("*") if path.is_file()) // MIB + 2
    with made.open("wb") as file:
        file.truncate(size * MIB)
    commands.run(["mkfs.vfat", "-F", "16", "-i", "f1611a00", "-n", "BOOT", "--invariant", made])
    for path in sorted(files.rglob("*")):  # one by one: of a folder, mcopy takes what is in it as the file system lists it
        place = f"::{path.relative_to(files)}"
        commands.run(["mmd", "-i", made, place] if path.is_dir() else ["mcopy", "-m", "-i", made, path, place])
    commands.run(["syslinux", "-i", made])
    return made


def _state_partition(work: pathlib.Path) -> pathlib.Path:
    made = work / "state.ext4"
    with made.open("wb") as file:
        file.truncate(STATE_MIB * MIB)
    features = "^resize_inode,^huge_file,^metadata_csum_seed"
    extended = f"lazy_itable_init=1,hash_seed={_ID.format(5)}"
    words = ["-q", "-t", "ext4", "-m", "0", "-L", "figlina-state", "-O", features, "-E", extended, "-U", _ID.format(4)]
    commands.run(["mke2fs", *words, made], environment={"E2FSPROGS_FAKE_TIME": str(commands.EPOCH)})
    return made


def compress(disk: pathlib.Path, made: pathlib.Path) -> None:
    """The disk as Glance takes it."""
    commands.run(["qemu-img", "convert", "-c", "-o", "compression_type=zstd", "-O", "qcow2", disk, made])
