"""tempest's tests of load balancing, as they are published, against a whole Figlina and a real Keystone: a cut of `make test-tempest`."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import pytest

from tests.tempest import cloud, expected, run

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(1500),  # the processors may be busy with others, too
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
]

_IPV4 = r"test_(amphora|flavor|l7policy|l7rule|load_balancer|provider)|test_(ipv4_)?HTTP_RR_|_http_listener|RR_(HTTP|UDP)_health.*create"
_IPV6 = r"test_load_balancer|test_ipv6_HTTP_|test_HTTP_RR_|_http_listener|_tcp_listener"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cloud.Cloud]:
    try:
        run.install()
    except run.NotInstalled as exc:
        pytest.skip(f"tempest can't be installed here: {exc}")
    with cloud.running(pathlib.Path(tmp_path_factory.mktemp("tempest"))) as made:
        yield made


@pytest.mark.parametrize(("ipv6", "select", "least"), [(False, _IPV4, 60), (True, _IPV6, 40)], ids=["ipv4", "ipv6"])
def test_tempest_passes_but_for_what_is_listed(
    there: cloud.Cloud, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, ipv6: bool, select: str, least: int
) -> None:
    monkeypatch.setenv("PYTHON", "python3")  # as make does
    found = run.run(
        tmp_path / "run", there.configuration(tmp_path, ipv6=ipv6), select=rf"^octavia_tempest_plugin\.tests\.api\..*({select})"
    )
    wrong = expected.complaints(found, expected.read(expected.LIST.read_text()), whole=False)
    log = (tmp_path / "run" / "run.log").read_text(errors="replace")
    assert not wrong, "\n".join([*wrong, log[-20000:]])
    assert sum(one.status == "success" for one in found) >= least, log[-3000:]
