"""The sample configuration file is what the options say."""

from __future__ import annotations

import pathlib
import subprocess
import sys

SAMPLE = pathlib.Path(__file__).parents[3] / "etc" / "figlina.conf.sample"


def test_the_sample_lists_every_option_as_it_is_now(tmp_path: pathlib.Path) -> None:
    generator = pathlib.Path(sys.executable).with_name("oslo-config-generator")
    written = tmp_path / "sample"
    subprocess.run([generator, "--namespace", "figlina", "--output-file", written], check=True, capture_output=True)
    assert SAMPLE.read_text() == written.read_text(), "an option has changed: make sample"
