"""The programs of an amphora are a list: a load balancer treats each of them alike, whatever it is."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import pathlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from amphora_agent import errors, load_balancer, program, programs, report
from amphora_agent.protocol import boot, rest


class Told(program.Program):
    """A program that writes down what it is asked to do."""

    def __init__(self, name: str, said: list[str], brings_clients: bool = False) -> None:
        self.name = name  # type: ignore[misc]
        self.said, self.brings_clients = said, brings_clients
        self.text: str | None = None
        self.refuses = False
        self.breaks = ""  # what raises an error that nobody expects
        self.state = programs.RUNS
        self.while_asked: Callable[[], object] = lambda: None  # happens while it is asked for its part of a report
        self.heard: list[program.Part] = []
        self.waits = False

    def _does(self, what: str) -> None:
        if self.breaks == what:
            raise RuntimeError(f"{what} of {self.name}")

    @property
    def configured(self) -> bool:
        self._does("configured")
        return self.text is not None

    @property
    def awaits(self) -> bool:
        self._does("awaits")
        return self.waits

    def tend(self) -> None:
        self._does("tend")

    def told(self, part: program.Part) -> None:
        self._does("told")
        self.heard.append(part)

    def save(self) -> None:
        self._does("save")

    def resume(self) -> None:
        self._does("resume")

    def go_back_to(self, wanted: rest.WantedState | None) -> None:
        self._does("go_back_to")

    def live_by(self, config: boot.AgentConfig) -> None:
        self._does("live_by")

    def is_set_to(self, wanted: rest.WantedState) -> bool:
        self._does("is_set_to")
        return self.text == wanted.programs.get(self.name)

    def refuse(self, text: str) -> None:
        if "harm" in text:
            raise rest.Malformed(f"{self.name} takes no harm")

    def check(self, text: str, wanted: rest.WantedState) -> None:
        self.said.append(f"check {self.name}")
        if self.refuses:
            raise errors.ConfigRefused(self.name, "no")

    def apply(self, text: str, wanted: rest.WantedState) -> str:
        self.said.append(f"apply {self.name}")
        self.text = text
        return program.RELOAD

    def runs(self, text: str, wanted: rest.WantedState) -> bool:
        return self.text == text

    def ensure_running(self) -> str:
        self._does("ensure_running")
        return self.state

    def stop(self) -> None:
        self.said.append(f"stop {self.name}")
        self.text = None

    def report(self, state: str | None) -> program.Part | None:
        self._does("report")
        self.while_asked()
        return None if self.state == "mute" else program.Part({f"l-{self.name}": {"status": "OPEN"}} if state == programs.RUNS else {})


class Nics:
    """NICs that are there."""

    namespace = ""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self._said.append(name)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def config() -> boot.BootConfig:
    return boot.BootConfig(
        amphora_id="00000000-0000-4000-8000-000000000001",
        management_address="192.0.2.1/24",
        management_mac="02:00:00:00:00:01",
        management_mtu=1500,
        health_managers=(("192.0.2.2", 5555),),
        heartbeat_key="00" * 32,
    )


@pytest.fixture
def balancer(tmp_path: pathlib.Path, said: list[str], config: boot.BootConfig) -> load_balancer.LoadBalancer:
    made = load_balancer.LoadBalancer(config, tmp_path / "state", tmp_path / "run", Nics(said))  # type: ignore[arg-type]
    made._programs = (Told("one", said), Told("two", said), Told("bringer", said, brings_clients=True))
    return made


def wanted(generation: int, **texts: str) -> rest.WantedState:
    nic = rest.Interface(mac="02:00:00:00:00:02", name="eth1", mtu=1500, addresses=("10.0.0.2/24",), vips=("10.0.0.9/32",))
    return rest.WantedState(load_balancer_id="lb", generation=generation, programs=texts, interfaces=(nic,))


def test_all_are_checked_before_any_is_changed(balancer: load_balancer.LoadBalancer, said: list[str]) -> None:
    balancer.apply(wanted(1, one="a", bringer="a", two="a"))
    assert said == [
        *("admit", "ensure", "check one", "check two", "check bringer", "apply one", "apply two", "apply bringer"),
        *("take_vips", "drop", "admit"),
    ]
    said.clear()
    balancer._programs[2].refuses = True  # type: ignore[attr-defined]
    with pytest.raises(errors.ConfigRefused):
        balancer.apply(wanted(2, one="b", bringer="b", two="b"))
    assert [one.text for one in balancer._programs] == ["a", "a", "a"]  # type: ignore[attr-defined]


def test_clients_are_sent_away_before_those_who_serve_them_end(balancer: load_balancer.LoadBalancer, said: list[str]) -> None:
    balancer.apply(wanted(1, one="a", two="a", bringer="a"))
    said.clear()
    balancer.remove("lb")
    assert said == ["stop bringer", "drop_vips", "stop two", "stop one", "drop", "admit"]


def test_one_that_is_no_longer_wanted_is_stopped_alone(balancer: load_balancer.LoadBalancer, said: list[str]) -> None:
    balancer.apply(wanted(1, one="a", two="a"))
    said.clear()
    assert balancer.apply(wanted(2, one="a")).applied == program.RELOAD
    assert "stop two" in said
    assert "stop one" not in said
    assert list((balancer.look() or {})["listeners"]) == ["l-one"]


def test_changes_go_on_though_there_was_no_thread_to_look_closely(
    balancer: load_balancer.LoadBalancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    balancer.apply(wanted(1, one="a"))
    balancer._programs[0].waits = True  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert list((balancer.look() or {})["listeners"]) == ["l-one"]
    balancer._programs[0].waits = False  # type: ignore[attr-defined]
    _change_in_another_thread(balancer, lambda: balancer.apply(wanted(2, one="b")))


def _change_in_another_thread(balancer: load_balancer.LoadBalancer, change: Callable[[], object]) -> None:
    changing = threading.Thread(target=change, daemon=True)
    changing.start()
    changing.join(5)
    assert not changing.is_alive(), "it waits for the report"


@pytest.mark.parametrize("how", ["apply", "remove", "refused"])
def test_a_change_does_not_wait_for_a_report_and_is_not_told_of_what_was_before(balancer: load_balancer.LoadBalancer, how: str) -> None:
    balancer.apply(wanted(1, one="a", two="a"))
    first: Told = balancer._programs[0]  # type: ignore[assignment]
    balancer.look()
    assert len(first.heard) == 1

    def refused() -> None:
        with pytest.raises(rest.Malformed):
            balancer.apply(wanted(2, one="harm", two="b"))

    changes: dict[str, Callable[[], object]] = {
        "apply": lambda: balancer.apply(wanted(2, one="b", two="b")),
        "remove": lambda: balancer.remove("lb"),
        "refused": refused,
    }
    first.while_asked = lambda: _change_in_another_thread(balancer, changes[how])
    found = balancer.look()
    assert found is not None
    assert found["generation"] == 1, "what is reported is what was seen"
    assert len(first.heard) == 1, "somebody changed it meanwhile"
    first.while_asked = lambda: None
    balancer.look()
    assert len(first.heard) == 2


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_amphora_claims_to_serve_while_all_run(balancer: load_balancer.LoadBalancer, place: int) -> None:
    balancer.apply(wanted(1, one="a", two="a", bringer="a"))
    balancer._programs[place].state = programs.DOWN  # type: ignore[attr-defined]
    found = balancer.look()
    assert found is not None
    assert len(found["listeners"]) == 2
    assert balancer.generations() == {}
    balancer._programs[place].state = "mute"  # type: ignore[attr-defined]
    assert balancer.look() is None


def _states(report: dict[str, Any] | None) -> list[str]:
    assert report is not None
    return [report["programs"][name]["state"] for name in ("one", "two", "bringer")]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("method", ["configured", "ensure_running", "tend", "report", "told", "save"])
def test_a_program_that_raises_an_error_is_told_to_be_down_and_the_others_go_on(
    balancer: load_balancer.LoadBalancer, caplog: pytest.LogCaptureFixture, place: int, method: str
) -> None:
    balancer.apply(wanted(1, one="a", two="a", bringer="a"))
    assert _states(balancer.look()) == [programs.RUNS] * 3
    faulty: Told = balancer._programs[place]  # type: ignore[assignment]
    faulty.breaks = method
    for _ in range(4):
        balancer.save()
        found = balancer.look()
    assert _states(found) == [programs.DOWN if number == place else programs.RUNS for number in range(3)]
    assert {f"l-{one.name}" for one in balancer._programs if one is not faulty} <= set((found or {})["listeners"])
    assert not report.claims_life(found or {}), "so nothing is sent after the one report: it is failed over"
    assert balancer.generations() == {}
    assert [f"{method} of {faulty.name}" in (line.exc_text or "") for line in caplog.records if line.levelname == "ERROR"] == [True]
    faulty.breaks = ""
    balancer.save()
    assert _states(balancer.look()) == [programs.RUNS] * 3
    assert balancer.generations() == {"lb": 1}


@pytest.mark.parametrize("method", ["awaits", "live_by"])
def test_an_error_beside_a_programs_work_is_outlived(
    balancer: load_balancer.LoadBalancer, config: boot.BootConfig, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    balancer.apply(wanted(1, one="a", two="a", bringer="a"))
    balancer._programs[1].breaks = method  # type: ignore[attr-defined]
    for _ in range(3):
        balancer.live_by(config.agent)
        assert _states(balancer.look()) == [programs.RUNS] * 3
    assert caplog.text.count(f"RuntimeError: {method} of two") == 1


@pytest.mark.parametrize(("method", "state"), [("resume", programs.DOWN), ("go_back_to", programs.DOWN), ("is_set_to", programs.RUNS)])
def test_an_agent_begins_though_a_program_raises_an_error(
    balancer: load_balancer.LoadBalancer, method: str, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    balancer.apply(wanted(1, one="a", two="a", bringer="a"))
    balancer._programs[1].breaks = method  # type: ignore[attr-defined]
    balancer.resume()
    assert _states(balancer.look()) == [programs.RUNS, state, programs.RUNS]
    assert f"RuntimeError: {method} of two" in caplog.text
    balancer.apply(wanted(2, one="a", two="a", bringer="a"))
    assert _states(balancer.look()) == [programs.RUNS] * 3, "brought to a state anew"


def test_what_no_program_here_knows_is_refused_with_a_sentence(balancer: load_balancer.LoadBalancer, said: list[str]) -> None:
    with pytest.raises(rest.Malformed, match="no program 'three'"):
        balancer.apply(wanted(1, one="a", three="a"))
    with pytest.raises(rest.Malformed, match="two takes no harm"):
        balancer.apply(wanted(1, one="a", two="harm"))
    assert said == []


def test_older_controllers_and_agents_read_the_programs_that_they_know() -> None:
    data = json.loads(wanted(4, haproxy="a").dump())
    hashed = data.pop("hash")
    assert (data["haproxy_config"], data["keepalived_config"]) == ("a", None)
    del data["generation"]
    assert set(data) == {"load_balancer_id", "haproxy_config", "keepalived_config", "peer_name", "interfaces", "certificates"}
    assert hashed == hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    other = wanted(4, haproxy="a", another="b")
    assert rest.WantedState.parse(other.dump()) == other
    assert other.hash != hashed, "an agent that does not know the program sees that something is missing"


def test_the_load_balancer_names_no_program() -> None:
    named = {
        str(word).lower()
        for node in ast.walk(ast.parse(pathlib.Path(load_balancer.__file__).read_text()))
        for word in (getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "name", ""))
    }
    assert "roster" in named
    assert not [word for word in named if "haproxy" in word or "keepalived" in word]


def test_a_certificate_that_the_disk_has_lost_is_asked_for_again(balancer: load_balancer.LoadBalancer, tmp_path: pathlib.Path) -> None:
    """As a machine may come back whose agent gave files their names before the disk had them."""
    pem = b"a certificate and its key"
    name = f"{hashlib.sha256(pem).hexdigest()}.pem"
    asked_for = dataclasses.replace(wanted(1, one="a"), certificates=(name,))
    path = tmp_path / "state" / "certificates" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    with pytest.raises(errors.MissingCertificates):
        balancer.apply(asked_for)
    with pytest.raises(ValueError, match="SHA-256"):
        balancer.store_certificates({name: b"another one"})
    balancer.store_certificates({name: pem})
    balancer.apply(asked_for)
    assert path.read_bytes() == pem
