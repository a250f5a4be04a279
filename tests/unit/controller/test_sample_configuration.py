"""The sample files of the configuration and of the policies are what the code says."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

ETC = pathlib.Path(__file__).parents[3] / "etc"


def _written(tmp_path: pathlib.Path, generator: str, *arguments: str) -> str:
    written = tmp_path / "sample"
    program = pathlib.Path(sys.executable).with_name(generator)
    subprocess.run([program, *arguments, "--output-file", written], check=True, capture_output=True)
    return written.read_text()


@pytest.mark.lengthy
def test_the_sample_lists_every_option_as_it_is_now(tmp_path: pathlib.Path) -> None:
    written = _written(tmp_path, "oslo-config-generator", "--config-file", str(ETC / "sample.conf"))
    assert (ETC / "figlina.conf.sample").read_text() == written, "an option has changed: make sample"


def test_the_sample_lists_every_policy_rule_as_it_is_now(tmp_path: pathlib.Path) -> None:
    written = _written(tmp_path, "oslopolicy-sample-generator", "--namespace", "figlina")
    assert (ETC / "policy.yaml.sample").read_text() == written, "a policy rule has changed: make sample"
