"""The same with a pair of amphorae: both halves have the certificates, take changed ones, and one can be lost."""

from __future__ import annotations

import pytest

from tests.integration.test_terminated_https import (  # noqa: F401
    bed,
    test_a_client_sees_the_certificate_of_the_name_that_it_asks_for,
    test_certificates_and_lists_change_without_a_reload_and_without_a_failed_handshake,
    test_failover_and_delete_need_no_secret_store_and_nothing_leaks,
)

pytestmark = [pytest.mark.integration, pytest.mark.slow]
TOPOLOGY = "ACTIVE_STANDBY"
