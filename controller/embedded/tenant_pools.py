"""Subnet pools of tenants, with the Networking API's semantics: each new subnet gets a part of the pool's ranges that no other one has."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from controller.embedded import networking, rows, tables
from controller.embedded.contents import Contents

Cidr = ipaddress.IPv4Network | ipaddress.IPv6Network

_DETAILS = ("description", "tags", "default_quota")
_LENGTHS = ("default_prefixlen", "min_prefixlen", "max_prefixlen")
_SMALLEST = {4: 8, 6: 64}
"""The shortest prefix that a pool gives out by itself, by version of IP."""
_UNIT = {4: 32, 6: 64}
"""What a `default_quota` counts: addresses of IPv4, and networks of IPv6 with this prefix."""


def create(contents: Contents, values: Mapping[str, Any]) -> str:
    """:raises NetworkInvalid: the prefixes are none, or of two versions; the lengths don't fit; it would be a second default."""
    prefixes = _prefixes(values["prefixes"])
    version = prefixes[0].version
    lengths = _lengths(version, {name: values.get(name) for name in _LENGTHS})
    columns = {name: values[name] for name in ("name", "project_id", "shared")} | {"is_default": bool(values.get("is_default"))}
    if columns["is_default"]:
        _refuse_second_default(contents, version)
    columns |= {"ip_version": version, "prefixes": [str(one) for one in prefixes]}
    return contents.rows.add(tables.subnet_pools, {**values, **lengths}, (*_DETAILS, *_LENGTHS), **columns)


def update(contents: Contents, pool_id: str, values: Mapping[str, Any]) -> None:
    """:raises NotFound: no such pool; :raises NetworkInvalid: prefixes would go, lengths don't fit, or it would be a second default."""
    pool = _pool(contents, pool_id)
    if "prefixes" in values:
        wanted = _prefixes(values["prefixes"])
        kept = all(any(old.version == new.version and old.subnet_of(new) for new in wanted) for old in pool.prefixes)  # type: ignore[arg-type]
        if not kept:
            raise networking.NetworkInvalid("IllegalSubnetPoolPrefixUpdate", f"Subnet pool {pool_id} keeps the prefixes that it has.")
        contents.rows.set(tables.subnet_pools, {"id": pool_id}, prefixes=[str(one) for one in wanted])
    if values.get("is_default"):
        _refuse_second_default(contents, pool.version, pool_id)
    lengths = _lengths(pool.version, {**pool.lengths, **{name: values[name] for name in _LENGTHS if values.get(name) is not None}})
    contents.rows.change(tables.subnet_pools, pool_id, {**values, **lengths}, ("name", "is_default"), (*_DETAILS, *_LENGTHS))


def delete(contents: Contents, pool_id: str) -> None:
    """:raises NotFound: no such pool; :raises NetworkInvalid: subnets are parts of it."""
    if _allocated(contents, _pool(contents, pool_id).id):
        raise networking.NetworkInvalid("SubnetPoolDeleteError", f"Subnet pool {pool_id} has given parts to subnets: delete them first.")
    contents.rows.delete(tables.subnet_pools, id=pool_id)


class _Pool:
    def __init__(self, row: rows.Row) -> None:
        self.id, self.version = row.id, row.ip_version
        self.prefixes = [ipaddress.ip_network(one) for one in row.prefixes]
        self.lengths: dict[str, int] = {name: row.details[name] for name in _LENGTHS}
        self.quota: int | None = row.details.get("default_quota")


def _pool(contents: Contents, pool_id: str) -> _Pool:
    return _Pool(contents.rows.get(tables.subnet_pools, pool_id))


def _prefixes(given: Iterable[str]) -> list[Cidr]:
    """In their order, those that touch each other as one."""
    wanted = [ipaddress.ip_network(one) for one in given]
    if not wanted:
        raise networking.NetworkInvalid("HTTPBadRequest", "A subnet pool needs prefixes.")
    if len({one.version for one in wanted}) > 1:
        raise networking.NetworkInvalid("PrefixVersionMismatch", "The prefixes of a subnet pool are of one version of IP.")
    return list(ipaddress.collapse_addresses(wanted))  # type: ignore[type-var]


def _lengths(version: int, given: Mapping[str, int | None]) -> dict[str, int]:
    """Least, greatest and usual length of a prefix that the pool gives out."""
    longest = 32 if version == 4 else 128
    least, greatest = given["min_prefixlen"], given["max_prefixlen"]
    least = _SMALLEST[version] if least is None else least
    greatest = longest if greatest is None else greatest
    usual = given["default_prefixlen"]
    usual = least if usual is None else usual
    if not 0 < least <= usual <= greatest <= longest:
        words = f"The lengths of a prefix are in order: 0 < {least} (least) <= {usual} (usual) <= {greatest} (greatest) <= {longest}."
        raise networking.NetworkInvalid("IllegalSubnetPoolPrefixBounds", words)
    return {"min_prefixlen": least, "max_prefixlen": greatest, "default_prefixlen": usual}


def _refuse_second_default(contents: Contents, version: int, pool_id: str | None = None) -> None:
    row = contents.rows.first(tables.subnet_pools, is_default=True, ip_version=version)
    if row is not None and row.id != pool_id:
        raise networking.NetworkInvalid("InvalidInput", f"The default subnet pool of IPv{version} is {row.id}: there can be only one.")


# Subnets of a pool


def default_of(contents: Contents, version: int | None) -> str:
    """The id of the pool that is used where none is named.

    :raises NetworkInvalid: there is none.
    """
    row = contents.rows.first(tables.subnet_pools, is_default=True, ip_version=version or 4)
    if row is None:
        raise networking.NetworkInvalid("HTTPBadRequest", f"There is no default subnet pool of IPv{version or 4}: name a subnetpool_id.")
    return str(row.id)


def allocate(contents: Contents, pool_id: str, values: Mapping[str, Any]) -> Cidr:
    """The range of a new subnet: the `cidr` that is asked for, or a free one of `prefixlen`.

    :raises NotFound: no such pool; :raises NetworkInvalid: the pool does not give such a range; :raises NetworkConflict: it has none left.
    """
    pool = _pool(contents, pool_id)
    if values.get("ip_version") not in (None, pool.version):
        raise networking.NetworkInvalid("BadRequest", f"Subnet pool {pool_id} is not one of IP version {values['ip_version']}.")
    wanted = ipaddress.ip_network(values["cidr"], strict=False) if values.get("cidr") else None
    length = wanted.prefixlen if wanted else values.get("prefixlen") or pool.lengths["default_prefixlen"]
    if not pool.lengths["min_prefixlen"] <= length <= pool.lengths["max_prefixlen"]:
        kind = "MinPrefixSubnetAllocationError" if length < pool.lengths["min_prefixlen"] else "MaxPrefixSubnetAllocationError"
        words = f"Subnet pool {pool_id} gives prefixes of length {pool.lengths['min_prefixlen']} to {pool.lengths['max_prefixlen']}."
        raise networking.NetworkInvalid(kind, words)
    used = _allocated(contents, pool_id)
    found = wanted if wanted and _has(pool, wanted, used) else None if wanted else _free(pool, length, used)
    if found is None:
        words = f"Subnet pool {pool_id} can't give {wanted or f'another prefix of length {length}'}: it is not in it, or not free."
        raise networking.NetworkConflict("SubnetAllocationError", words)
    _check_quota(contents, pool, found, values["project_id"])
    return found


def _allocated(contents: Contents, pool_id: str, project_id: str | None = None) -> list[Cidr]:
    known = contents.rows.all(tables.subnets, **({} if project_id is None else {"project_id": project_id}))
    return [ipaddress.ip_network(row.cidr) for row in known if row.details.get("subnetpool_id") == pool_id]


def _has(pool: _Pool, wanted: Cidr, used: Iterable[Cidr]) -> bool:
    inside = any(wanted.version == one.version and wanted.subnet_of(one) for one in pool.prefixes)  # type: ignore[arg-type]
    return inside and not any(wanted.overlaps(one) for one in used)


def _free(pool: _Pool, length: int, used: Iterable[Cidr]) -> Cidr | None:
    """The first range of this length that overlaps with none that is used; goes from used range to used range."""
    taken = sorted((int(one[0]), int(one[-1])) for one in used)
    kind = ipaddress.IPv4Network if pool.version == 4 else ipaddress.IPv6Network
    for prefix in pool.prefixes:
        size = 1 << (prefix.max_prefixlen - length)
        place, last = int(prefix[0]), int(prefix[-1])
        for first, end in taken:
            if end >= place and first <= place + size - 1:
                place = -(-(end + 1) // size) * size
        if length >= prefix.prefixlen and place + size - 1 <= last:
            return kind((place, length))
    return None


def _check_quota(contents: Contents, pool: _Pool, wanted: Cidr, project_id: str) -> None:
    if pool.quota is None:
        return
    units = sum(2.0 ** (_UNIT[pool.version] - one.prefixlen) for one in [*_allocated(contents, pool.id, project_id), wanted])
    if units > pool.quota:
        words = f"Project {project_id} may have {pool.quota} units of subnet pool {pool.id}, and would have {units:g}."
        raise networking.NetworkConflict("SubnetPoolQuotaExceeded", words)
