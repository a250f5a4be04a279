"""Options that the sections of all services of a cloud have: how each is found in the catalog."""

from __future__ import annotations

from oslo_config import cfg, types

_INTERFACES = ["public", "internal", "admin"]
PLAIN = {"barbican": "Barbican", "glance": "Glance", "neutron": "Neutron"}
"""Sections with no other options, and the names of their services."""


def options(service: str) -> list[cfg.Opt]:
    """The options of one service of the cloud."""
    return [
        cfg.StrOpt("region_name", help=f"The region of {service}'s endpoint; default is that of [service_auth]."),
        cfg.ListOpt(
            "valid_interfaces",
            default=["public"],
            deprecated_name="endpoint_type",
            item_type=_Interface(),
            help=f"Which endpoint of {service} is asked: public, internal or admin. The first one counts.",
        ),
        cfg.URIOpt(
            "endpoint_override",
            deprecated_name="endpoint",
            help=f"Where {service} is, if the catalog of Keystone does not say so, or says something else.",
        ),
    ]


class _Interface(types.String):
    """`publicURL`, as older configurations have it, is `public`."""

    def __init__(self) -> None:
        super().__init__(choices=_INTERFACES)

    def __call__(self, value: str) -> str:
        return str(super().__call__(str(value).removesuffix("URL")))
