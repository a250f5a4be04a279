"""From rows to the nouns of `model`, and nothing else."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model import status

Row = Mapping[str, Any]


def _resource(row: Row, tags: Sequence[str], fault: model.Fault | None) -> dict[str, Any]:
    return {
        "id": row["id"],
        "project_id": row["project_id"],
        "name": row["name"],
        "description": row["description"],
        "admin_state_up": row["admin_state_up"],
        "provisioning_status": status.ProvisioningStatus(row["provisioning_status"]),
        "operating_status": status.OperatingStatus(row["operating_status"]),
        "generation": row["generation"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "tags": tuple(tags),
        "fault": fault,
    }


def _tls_options(row: Row) -> dict[str, Any]:
    return {
        "tls_ciphers": row["tls_ciphers"],
        "tls_versions": None if row["tls_versions"] is None else tuple(row["tls_versions"]),
        "alpn_protocols": None if row["alpn_protocols"] is None else tuple(row["alpn_protocols"]),
    }


def load_balancer(
    row: Row,
    tags: Sequence[str] = (),
    fault: model.Fault | None = None,
    listener_ids: Sequence[str] = (),
    pool_ids: Sequence[str] = (),
) -> model.LoadBalancer:
    """A load balancer; tags, fault and the ids of its children come from their own tables."""
    return model.LoadBalancer(
        **_resource(row, tags, fault),
        applied_generation=row["applied_generation"],
        failures=row["failures"],
        next_try_at=_time(row["next_try_at"] or None),
        provider=row["provider"],
        topology=status.Topology(row["topology"]),
        additional_vips=tuple(model.AdditionalVip(**one) for one in row["additional_vips"]),
        flavor_id=row["flavor_id"],
        availability_zone=row["availability_zone"],
        vip=model.Vip(
            address=row["vip_address"],
            port_id=row["vip_port_id"],
            subnet_id=row["vip_subnet_id"],
            network_id=row["vip_network_id"],
            qos_policy_id=row["vip_qos_policy_id"],
            sg_ids=tuple(row["vip_sg_ids"]),
            vnic_type=row["vip_vnic_type"],
            port_is_ours=row["vip_port_is_ours"],
        ),
        vip_generation=row["vip_generation"],
        listener_ids=tuple(listener_ids),
        pool_ids=tuple(pool_ids),
    )


def listener(row: Row, tags: Sequence[str] = (), fault: model.Fault | None = None, l7policy_ids: Sequence[str] = ()) -> model.Listener:
    """A listener; the ids of its policies come from their own table."""
    return model.Listener(
        **_resource(row, tags, fault),
        load_balancer_id=row["load_balancer_id"],
        protocol=row["protocol"],
        protocol_port=row["protocol_port"],
        connection_limit=row["connection_limit"],
        default_pool_id=row["default_pool_id"],
        insert_headers=row["insert_headers"],
        timeout_client_data=row["timeout_client_data"],
        timeout_member_connect=row["timeout_member_connect"],
        timeout_member_data=row["timeout_member_data"],
        timeout_tcp_inspect=row["timeout_tcp_inspect"],
        allowed_cidrs=tuple(row["allowed_cidrs"]),
        default_tls_container_ref=row["default_tls_container_ref"],
        sni_container_refs=tuple(row["sni_container_refs"]),
        client_ca_tls_container_ref=row["client_ca_tls_container_ref"],
        client_authentication=row["client_authentication"],
        client_crl_container_ref=row["client_crl_container_ref"],
        **_tls_options(row),
        hsts_max_age=row["hsts_max_age"],
        hsts_include_subdomains=row["hsts_include_subdomains"],
        hsts_preload=row["hsts_preload"],
        l7policy_ids=tuple(l7policy_ids),
    )


def pool(
    row: Row,
    tags: Sequence[str] = (),
    fault: model.Fault | None = None,
    listener_ids: Sequence[str] = (),
    member_ids: Sequence[str] = (),
    health_monitor_id: str | None = None,
) -> model.Pool:
    """A pool; the ids of what surrounds it come from their own tables."""
    persistence = row["session_persistence"]
    return model.Pool(
        **_resource(row, tags, fault),
        load_balancer_id=row["load_balancer_id"],
        protocol=row["protocol"],
        lb_algorithm=row["lb_algorithm"],
        session_persistence=None if persistence is None else model.SessionPersistence(**persistence),
        tls_enabled=row["tls_enabled"],
        tls_container_ref=row["tls_container_ref"],
        ca_tls_container_ref=row["ca_tls_container_ref"],
        crl_container_ref=row["crl_container_ref"],
        **_tls_options(row),
        listener_ids=tuple(listener_ids),
        member_ids=tuple(member_ids),
        health_monitor_id=health_monitor_id,
    )


def member(row: Row, tags: Sequence[str] = (), fault: model.Fault | None = None) -> model.Member:
    """A member."""
    return model.Member(
        **_resource(row, tags, fault),
        pool_id=row["pool_id"],
        address=row["address"],
        protocol_port=row["protocol_port"],
        weight=row["weight"],
        backup=row["backup"],
        subnet_id=row["subnet_id"],
        monitor_address=row["monitor_address"],
        monitor_port=row["monitor_port"],
        vnic_type=row["vnic_type"],
    )


def health_monitor(row: Row, tags: Sequence[str] = (), fault: model.Fault | None = None) -> model.HealthMonitor:
    """A health monitor."""
    return model.HealthMonitor(
        **_resource(row, tags, fault),
        pool_id=row["pool_id"],
        type=row["type"],
        delay=row["delay"],
        timeout=row["timeout"],
        max_retries=row["max_retries"],
        max_retries_down=row["max_retries_down"],
        http_method=row["http_method"],
        url_path=row["url_path"],
        expected_codes=row["expected_codes"],
        http_version=row["http_version"],
        domain_name=row["domain_name"],
    )


def l7policy(row: Row, tags: Sequence[str] = (), fault: model.Fault | None = None, rule_ids: Sequence[str] = ()) -> model.L7Policy:
    """An L7 policy; the ids of its rules come from their own table."""
    return model.L7Policy(
        **_resource(row, tags, fault),
        load_balancer_id=row["load_balancer_id"],
        listener_id=row["listener_id"],
        action=row["action"],
        redirect_pool_id=row["redirect_pool_id"],
        redirect_url=row["redirect_url"],
        redirect_prefix=row["redirect_prefix"],
        redirect_http_code=row["redirect_http_code"],
        position=row["position"],
        rule_ids=tuple(rule_ids),
    )


def l7rule(row: Row, tags: Sequence[str] = (), fault: model.Fault | None = None) -> model.L7Rule:
    """An L7 rule."""
    return model.L7Rule(
        **_resource(row, tags, fault),
        l7policy_id=row["l7policy_id"],
        type=row["type"],
        compare_type=row["compare_type"],
        key=row["key"],
        value=row["value"],
        invert=row["invert"],
    )


def fault(row: Row) -> model.Fault:
    """Why an object is in ERROR."""
    return model.Fault(
        code=row["code"],
        message=row["message"],
        step=row["step"],
        request_id=row["request_id"],
        occurred_at=row["occurred_at"],
        next_try_at=row["next_try_at"],
    )


def amphora(row: Row) -> amphora_model.Amphora:
    """An amphora, of a row of `amphorae` joined with `amphora_health`."""
    return amphora_model.Amphora(
        id=row["id"],
        load_balancer_id=row["load_balancer_id"],
        status=status.AmphoraStatus(row["status"]),
        role=None if row["role"] is None else status.Role(row["role"]),
        compute_id=row["compute_id"],
        management_address=row["management_address"],
        management_port_id=row["management_port_id"],
        vrrp_ip=row["vrrp_ip"],
        vrrp_port_id=row["vrrp_port_id"],
        vrrp_mac=row["vrrp_mac"],
        ha_ip=row["ha_ip"],
        ha_port_id=row["ha_port_id"],
        vrrp_interface=row["vrrp_interface"],
        vrrp_id=row["vrrp_id"],
        vrrp_priority=row["vrrp_priority"],
        cert_expiration=row["cert_expiration"],
        cert_busy=row["cert_busy"],
        cached_zone=row["cached_zone"],
        image_id=row["image_id"],
        compute_flavor=row["compute_flavor"],
        applied_generation=row["applied_generation"],
        first_heartbeat_at=_time(row["first_heartbeat_at"]),
        last_heartbeat_at=_time(row["last_heartbeat_at"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _time(seconds: float | None) -> datetime.datetime | None:
    return None if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC)
