"""What operators choose about rendered configurations, as values."""

from __future__ import annotations

import dataclasses

from oslo_config import cfg

from controller.resources import listener


def _operators(name: str) -> int:
    """What listeners have where neither they nor the operator say anything, as it is declared."""
    operator = listener.SCHEMA.fields[name].operator
    return int(operator.default) if operator is not None else 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Defaults of `[haproxy_amphora]` and `[keepalived_vrrp]`; timeouts are milliseconds, intervals and `stick_expire` seconds."""

    stick_size: str = "10k"
    stick_expire: int = 86400
    peer_port: int = 1025
    default_connection_limit: int = 50000
    timeout_client_data: int = _operators("timeout_client_data")
    timeout_member_connect: int = _operators("timeout_member_connect")
    timeout_member_data: int = _operators("timeout_member_data")
    vrrp_advert_interval: float = 0.2
    garp_refresh_interval: int = 5
    garp_refresh_count: int = 2

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Settings:
        """The values of a configuration."""
        haproxy, vrrp = conf.haproxy_amphora, conf.keepalived_vrrp
        return cls(
            stick_size=haproxy.haproxy_stick_size,
            stick_expire=haproxy.haproxy_stick_expire,
            peer_port=haproxy.peer_port,
            default_connection_limit=haproxy.default_connection_limit,
            timeout_client_data=haproxy.timeout_client_data,
            timeout_member_connect=haproxy.timeout_member_connect,
            timeout_member_data=haproxy.timeout_member_data,
            vrrp_advert_interval=vrrp.vrrp_advert_int,
            garp_refresh_interval=vrrp.vrrp_garp_refresh_interval,
            garp_refresh_count=vrrp.vrrp_garp_refresh_count,
        )
