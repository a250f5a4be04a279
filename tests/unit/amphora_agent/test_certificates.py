"""Names of certificates on the agent's side: what is a name, what a text notes, and which commands lead from one set to the next."""

from __future__ import annotations

import datetime
import hashlib
import os
import pathlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes

from amphora_agent import allowed, certificates, haproxy_config, haproxy_runtime, system
from amphora_agent.protocol import rest
from controller.drivers.secrets import bundles
from tests import tls_material

_A, _B = (f"{letter * 64}.pem" for letter in "ab")


def _wanted(names: dict[str, str], lists: dict[str, tuple[str, ...]] | None = None) -> rest.WantedState:
    return rest.WantedState(load_balancer_id="lb", generation=1, certificates=(_A, _B), names=names, lists=lists or {})


def test_a_text_with_other_certificates_is_another_text_and_the_same_configuration() -> None:
    text = "frontend f\n    bind 10.0.0.1:443 ssl crt x.pem\n"
    one, other = (certificates.noted(text, _wanted({"x.pem": file}, {"l.list": ("x.pem",)})) for file in (_A, _B))
    assert certificates.of(one) == certificates.Manifest({"x.pem": _A}, {"l.list": ("x.pem",)})
    assert one != other
    assert certificates.noted(text, _wanted({})) == text
    plan = haproxy_config.plan(one, other)
    assert plan is not None
    assert (plan.added, plan.removed, plan.weighed) == ((), (), ())
    assert not haproxy_config.differ_plainly(one, other)


@pytest.mark.parametrize(
    ("name", "by_reload"), [("l-ca.pem", True), ("l-crl.pem", True), ("access-log-ca.pem", True), ("p.pem", True), ("l.pem", False)]
)
def test_who_is_let_in_is_asked_anew_when_authorities_and_revocations_change(name: str, by_reload: bool) -> None:
    """A worker would remember sessions of those whom it let in before, and go on with connections to members that were shown `p.pem`."""
    text = "frontend f\n    bind 10.0.0.1:443 ssl crt x.pem\n"
    one, other = (certificates.noted(text, _wanted({"l.pem": _A, name: file}, {"l.list": ("l.pem",)})) for file in (_A, _B))
    assert (haproxy_config.plan(one, other) is None) is by_reload
    assert haproxy_config.plan(one, one) is not None


@pytest.mark.parametrize("name", ["../x.pem", "x/y.pem", "x.pem\n", "X.pem", ".pem", "x", "x.list", "x.pem y", _A])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(rest.Malformed):
        certificates.refuse_malformed(_wanted({name: _A}))


@pytest.mark.parametrize(
    ("names", "lists"),
    [
        ({"x.pem": "c" * 64 + ".pem"}, {}),
        ({"x.pem": "/etc/passwd"}, {}),
        ({"x.pem": _A}, {"l.list": ()}),
        ({"x.pem": _A}, {"l.list": ("y.pem",)}),
        ({"x.pem": _A}, {"../l.list": ("x.pem",)}),
        ({"x.pem": _A}, {"l.pem": ("x.pem",)}),
    ],
)
def test_what_stands_for_nothing_is_refused(names: dict[str, str], lists: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(rest.Malformed):
        certificates.refuse_malformed(_wanted(names, lists))


def test_a_text_can_not_bring_notes_of_its_own() -> None:
    with pytest.raises(rest.Malformed):
        certificates.refuse_notes("frontend f\n# certificate ../../etc/x.pem y\n")


@pytest.mark.parametrize(
    ("line", "is_taken"),
    [
        ('bind 10.0.0.1:443 ssl crt-list "${FIGLINA_CERTIFICATES}/a-1.list" verify optional ca-file a-ca.pem', True),
        ("bind 10.0.0.1:443 ssl crt-list /etc/passwd", False),
        ('bind 10.0.0.1:443 ssl crt-list "${FIGLINA_CERTIFICATES}/../x.list"', False),
        ('bind 10.0.0.1:443 ssl crt-list "${HOME}/x.list"', False),
        ("bind 10.0.0.1:443 ssl crt /etc/shadow", False),
        ("bind 10.0.0.1:443 ssl crt ../x.pem", False),
        ("bind 10.0.0.1:443 ssl ca-file @system-ca verify required", False),
    ],
)
def test_only_files_that_were_sent_are_read(line: str, is_taken: bool) -> None:
    text = f"frontend f\n    {line}\n"
    if is_taken:
        allowed.check_haproxy(text)
        return
    with pytest.raises(allowed.NotAllowed):
        allowed.check_haproxy(text)


def test_no_secret_is_in_what_is_said_of_a_command_that_failed(tmp_path: pathlib.Path) -> None:
    content = bundles.pem(tls_material.issue("web.example").bundle)
    file = f"{hashlib.sha256(content).hexdigest()}.pem"
    (tmp_path / file).write_bytes(content)

    class Refusing(haproxy_runtime.RuntimeApi):
        def ask(self, command: str, timeout: float | None = None) -> str:
            return "unknown command"

    lead: Callable[..., None] = certificates.Certificates(tmp_path).lead
    with pytest.raises(haproxy_runtime.RuntimeFailed) as failed:
        lead(Refusing(tmp_path / "socket"), certificates.Manifest({"x.pem": _A}), certificates.Manifest({"x.pem": file}))
    assert "PRIVATE" not in str(failed.value)
    assert "x.pem" in str(failed.value)


def test_links_change_in_place_and_what_nobody_wants_goes(tmp_path: pathlib.Path) -> None:
    for name in (_A, _B):
        (tmp_path / name).write_text(name)
    kept = certificates.Certificates(tmp_path)
    kept.put(certificates.Manifest({"x.pem": _A}, {"l.list": ("x.pem",)}))
    kept.put(certificates.Manifest({"x.pem": _B, "y.pem": _A}, {"l.list": ("x.pem", "y.pem")}))
    assert (tmp_path / "x.pem").read_text() == _B
    assert (tmp_path / "l.list").read_text() == "x.pem\ny.pem\n"
    kept.keep(rest.WantedState(load_balancer_id="lb", generation=1, certificates=(_B,), names={"x.pem": _B}))
    assert {path.name for path in tmp_path.iterdir()} == {_B, "x.pem"}


def test_the_end_of_the_first_certificate_of_a_listener_is_told_once_haproxy_has_it(tmp_path: pathlib.Path) -> None:
    ends = {days: tls_material.issue("web.example", ends=datetime.timedelta(days=days)) for days in (3, 9, 5)}
    files = {days: f"{days:064}.pem" for days in ends}
    for days, issued in ends.items():
        (tmp_path / files[days]).write_bytes(bundles.pem(issued.bundle))
    names = {"a.pem": files[9], "sni-b.pem": files[5]}
    manifest = certificates.Manifest(names, {"one.list": ("a.pem", "sni-b.pem"), "two.list": ("a.pem",)})
    worker = {"a.pem": ends[9], "sni-b.pem": ends[3]}  # of the latter it is still to be told
    asked: list[str] = []

    class Runtime(haproxy_runtime.RuntimeApi):
        def ask(self, command: str, timeout: float | None = None) -> str:
            asked.append(command)
            own = worker[pathlib.Path(command.split()[-1]).name].certificate
            end = own.not_valid_after_utc.strftime("%b %e %H:%M:%S %Y GMT")
            return f"Status: Used\nnotAfter: {end}\nSHA1 FingerPrint: {own.fingerprint(hashes.SHA1()).hex().upper()}\n"

    known = certificates.Certificates(tmp_path)
    nine, five = (ends[days].certificate.not_valid_after_utc.timestamp() for days in (9, 5))
    assert known.ends(Runtime(tmp_path), manifest) == {"one": nine, "two": nine}
    worker["sni-b.pem"] = ends[5]
    assert known.ends(Runtime(tmp_path), manifest) == {"one": five, "two": nine}
    assert known.ends(Runtime(tmp_path), manifest) == {"one": five, "two": nine}
    assert len(asked) == 3


class Failing(haproxy_runtime.RuntimeApi):
    """Answers about one certificate, and then no more for once; what it says of another makes no sense."""

    def __init__(self, folder: pathlib.Path, said: dict[str, str]) -> None:
        super().__init__(folder)
        self.said, self.asked, self.fails_at = said, 0, 2

    def ask(self, command: str, timeout: float | None = None) -> str:
        self.asked += 1
        if self.asked == self.fails_at:
            raise haproxy_runtime.RuntimeFailed("HAProxy does not answer")
        return self.said[pathlib.Path(command.split()[-1]).name]


def test_ends_that_were_found_are_not_asked_again_after_a_failure_and_one_without_sense_hides_none(tmp_path: pathlib.Path) -> None:
    names, said, ends = {}, {}, {}
    for number in range(4):
        own = (issued := tls_material.issue(f"n{number}.example")).certificate
        names[name := f"n{number}.pem"] = file = f"{number:064}.pem"
        (tmp_path / file).write_bytes(b"" if number == 2 else bundles.pem(issued.bundle))  # that one is lost
        end = own.not_valid_after_utc.strftime("%b %e %H:%M:%S %Y GMT")
        said[name] = f"notAfter: {end}\nSHA1 FingerPrint: {own.fingerprint(hashes.SHA1()).hex().upper()}\n"
        ends[f"l{number}"] = own.not_valid_after_utc.timestamp()
    manifest = certificates.Manifest(names, {f"l{number}.list": (f"n{number}.pem",) for number in range(4)})
    known, runtime = certificates.Certificates(tmp_path), Failing(tmp_path, said)
    with pytest.raises(haproxy_runtime.RuntimeFailed):
        known.ends(runtime, manifest)
    runtime.asked, runtime.fails_at = 0, -1
    del ends["l2"]
    assert known.ends(runtime, manifest) == ends
    assert runtime.asked == 3, "the first one is known"


def test_files_that_come_together_have_their_names_once_the_disk_has_them(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that dies in between comes back without them, or with them: not with empty ones under their names."""
    done: list[tuple[str, str]] = []
    fsync, replace = os.fsync, pathlib.Path.replace

    def noted_fsync(descriptor: int) -> None:
        done.append(("on disk", pathlib.Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def noted_replace(path: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
        done.append(("named", path.name))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(pathlib.Path, "replace", noted_replace)
    contents = {f"{number}.pem": f"{number}".encode() * 1000 for number in range(200)}
    system.write_files(tmp_path / "new", contents, system.FOR_PROGRAMS)
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == contents
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()} == {system.FOR_PROGRAMS}
    before = {name for what, name in done[:200] if what == "on disk"}
    assert [what for what, _ in done[200:]] == ["named"] * 200 + ["on disk"]
    assert {name for what, name in done if what == "named"} == before
    assert done[-1] == ("on disk", "new")


def test_a_full_disk_leaves_nothing_half_written(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0.pem").write_bytes(b"before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        system.write_files(tmp_path, {"0.pem": b"0", "1.pem": b"1"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"0.pem": b"before"}


@pytest.mark.parametrize("left", [b"", b"-----BEGIN CERT", None])
def test_what_is_not_as_it_was_sent_is_missing(tmp_path: pathlib.Path, left: bytes | None) -> None:
    whole, other = (certificates.file_name(content) for content in (b"whole", b"other"))
    (tmp_path / whole).write_bytes(b"whole")
    if left is not None:
        (tmp_path / other).write_bytes(left)
    known = certificates.Certificates(tmp_path)
    assert known.missing((whole, other)) == [other]
    (tmp_path / other).write_bytes(b"other")
    assert known.missing((whole, other)) == []
    (tmp_path / whole).unlink()
    assert known.missing((whole, other)) == [whole]


@pytest.mark.parametrize("body", ['{"a.pem": "KEY \\ud800"}', '["KEY"]', '{"a.pem": {"KEY": 1}}', '{"a.pem": "KEY'])
def test_what_is_said_of_malformed_certificates_repeats_none_of_them(body: str) -> None:
    with pytest.raises(rest.Malformed) as refused:
        rest.parse_certificates(body.encode())
    assert "KEY" not in str(refused.value)
