"""All pairs of protocols that the API accepts, below a VIP of version 4, through a virtual machine of the image: a real client's bytes
reach a member of either version. What else amphorae do was tried on the image by hand: `FIGLINA_TEST_COMPUTE` (CONTRIBUTING.md).
"""

from __future__ import annotations

import pytest

from tests.integration import test_protocol_matrix as matrix
from tests.integration.conftest import dual, site  # noqa: F401
from tests.integration.dual import Dual
from tests.integration.test_protocol_matrix import vips  # noqa: F401

COMPUTE = "qemu"
CELLS = [cell for cell in matrix.CELLS if (cell.vip_version, cell.topology) == (4, "SINGLE")]
pytestmark = [pytest.mark.vm, pytest.mark.slow, pytest.mark.usefixtures("image_folder")]


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_bytes_of_a_client_reach_a_member_through_a_virtual_machine(
    dual: Dual,  # noqa: F811
    vips: dict[tuple[int, str], str],  # noqa: F811
    cell: matrix.Cell,
) -> None:
    matrix.passes(dual, vips, cell)
