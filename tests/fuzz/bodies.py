"""Bodies that the API takes (mostly), for every resource, below objects that exist."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controller.model import protocols
from controller.resources import kinds, listener, pool

Body = dict[str, Any]

ADDRESSES = ("10.0.0.9", "10.1.2.3", "2001:db8::7", "::ffff:192.0.2.1", "192.0.2.255")
WORDS = ("", "shop", "Ω amphora 🏺", "a b", "x" * 255, "o'clock", '100 % "cotton"', "#1", "$HOME")
PATHS = ("/", "/health", "/a?b=c&d=%20", "/~x/;y=(z)", "/a%2Fb", "/it's", "/$HOME")
VALUES = ("/api", "index", "www.example.org", "^/(a|b)+$", "jpg", "x=y", "a:b,c", 'say\\"hi', "it's", "ü", "$HOME", "%[src]", "#1")
HOSTS = ("example.org", "a_b.example", "x", "www.example.org.")
CIPHERS = (
    "", "ECDHE-RSA-AES128-GCM-SHA256", "TLS_AES_256_GCM_SHA384:ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_AES_128_GCM_SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256:!aNULL", "ECDHE-RSA-AES256-GCM-SHA384:-MD5",
)  # fmt: skip
URLS = ("http://example.org", "https://example.org/a?b=%20c#d", "HTTP://[2001:db8::1]:80/$HOME", "http://u:p@x/~'!*()", "https://x/%25%5b")

PAGES = ("x", "<h1>it's</h1>\n\t#1", '{"a": "%[env(HOME)]"}', "Ω 🏺 $HOME \\x22", "a\r\nserver s 10.0.0.1:80", "lua.x map(/etc/passwd)")
TYPES = ("text/plain", "text/html; charset=utf-8", "application/lua.x", "application/env+json")


class Bodies:
    """`find` finds an object of a kind (or None), `references` are what the secret store has: `bundle`, `authorities`, `revocations`."""

    def __init__(
        self, rng: random.Random, find: Callable[[str], str | None], subnet_id: str, references: Mapping[str, Sequence[str]]
    ) -> None:
        self.rng = rng
        self._find = find
        self._subnet_id = subnet_id
        self._references = references
        self._makers: dict[str, Callable[[], Body]] = {
            "loadbalancer": self._load_balancer, "listener": self._listener, "pool": self._pool, "member": self.member,
            "healthmonitor": self._monitor, "l7policy": self._policy, "rule": self._rule, "quota": self._quota, "flavor": self._flavor,
            "flavorprofile": self._flavor_profile, "availability_zone": self._zone, "availability_zone_profile": self._zone_profile,
        }  # fmt: skip

    def kinds(self) -> list[str]:
        """The keys of all envelopes."""
        return list(self._makers)

    def new(self, kind: str) -> Body:
        """What a POST sends."""
        return {kind: self._makers[kind]()}

    def change(self, kind: str) -> Body:
        """What a PUT sends: some of the fields that may be changed, sometimes as null."""
        made = {name: value for name, value in self._makers[kind]().items() if name not in _FIXED.get(kind, _FIXED["*"])}
        kept = {name: value for name, value in made.items() if self.rng.random() < 0.5}
        return {kind: {name: None if self.rng.random() < 0.05 else value for name, value in kept.items()}}

    def graph(self) -> Body:
        """A load balancer with everything below it."""
        rng = self.rng
        body = self._load_balancer()
        if rng.random() < 0.4:
            return {"loadbalancer": body | self._of_datagrams()}
        pools = []
        for number in range(rng.randint(1, 3)):
            made = {name: value for name, value in self._pool().items() if name not in ("loadbalancer_id", "listener_id")}
            made |= {
                "name": f"pool-{number}",
                "protocol": rng.choice(("HTTP", "HTTP", "PROXYV2")),
                "members": [self.member() for _ in range(rng.randint(0, 3))],
            }
            if rng.random() < 0.5:
                made["healthmonitor"] = {name: value for name, value in self._monitor().items() if name != "pool_id"}
            pools.append(made)
        listeners = []
        for number in range(rng.randint(0, 3)):
            made = {name: value for name, value in self._listener().items() if name not in ("loadbalancer_id", "default_pool_id")}
            if made["protocol"] != "TERMINATED_HTTPS":
                made = {name: value for name, value in made.items() if name != "insert_headers"} | {"protocol": "HTTP"}
            made |= {"protocol_port": 8000 + number, "default_pool": {"name": rng.choice(pools)["name"]}}
            if rng.random() < 0.6:
                policy = {name: value for name, value in self._policy().items() if name not in ("listener_id", "redirect_pool_id", "split")}
                policy |= {"redirect_pool": {"name": "pool-0"}} if policy["action"] == "REDIRECT_TO_POOL" else {}
                made["l7policies"] = [policy | {"rules": [self._rule() for _ in range(rng.randint(0, 2))]}]
            listeners.append(made)
        return {"loadbalancer": body | {"pools": pools, "listeners": listeners}}

    def _of_datagrams(self) -> Body:
        """Listeners of UDP or SCTP with a pool."""
        rng = self.rng
        protocol = rng.choice(("UDP", "SCTP"))
        made: Body = {"name": "pool", "protocol": protocol, "lb_algorithm": rng.choice(pool.ALGORITHMS)}
        made["members"] = [self.member() for _ in range(rng.randint(0, 8))]
        if rng.random() < 0.5:
            made["session_persistence"] = self._persistence_of_datagrams()
        if rng.random() < 0.5:
            kind = rng.choice(("UDP-CONNECT", "TCP", "HTTP") if protocol == "UDP" else ("SCTP", "TCP", "HTTP"))
            made["healthmonitor"] = {"type": kind, "delay": self._number(0, 2147483), "timeout": self._number(0, 2147483)}
            made["healthmonitor"] |= {name: self._number(1, 10) for name in ("max_retries", "max_retries_down")}
        listeners = [
            {"protocol": protocol, "protocol_port": 8000 + at, "default_pool": {"name": "pool"}} for at in range(rng.randint(1, 3))
        ]
        for one in listeners:
            one |= self._sometimes(connection_limit=lambda: self._number(-1, 2147483647))
        return {"pools": [made], "listeners": listeners}

    def _persistence_of_datagrams(self) -> Body:
        masks = ("255.255.255.255", "255.255.0.0", "0.0.0.0", "ffff:ffff:ffff:ffff::", "::")
        return {"type": "SOURCE_IP"} | self._sometimes(
            persistence_timeout=lambda: self._number(0, 2147483647), persistence_granularity=lambda: self.rng.choice(masks)
        )

    def batch(self) -> Body:
        """A pool's members."""
        return {"members": [self.member() for _ in range(self.rng.randint(0, 6))]}

    def _common(self, *more: str) -> Body:
        rng = self.rng
        made: Body = {name: rng.choice(WORDS) for name in ("name", *more) if rng.random() < 0.3}
        if rng.random() < 0.2:
            made["tags"] = [rng.choice(WORDS[1:]) for _ in range(rng.randint(0, 3))]
        if rng.random() < 0.1:
            made["admin_state_up"] = rng.choice((True, False, True, "true"))
        return made

    def _sometimes(self, **fields: Callable[[], Any]) -> Body:
        return {name: make() for name, make in fields.items() if self.rng.random() < 0.2}

    def _number(self, lowest: int, highest: int) -> int:
        return self.rng.choice((lowest, highest, self.rng.randint(lowest, highest), self.rng.randint(lowest, min(highest, lowest + 10))))

    def _load_balancer(self) -> Body:
        made = self._common("description") | {"vip_subnet_id": self._subnet_id}
        made |= self._sometimes(access_log=self._access_log)
        found = {"flavor_id": self._find("flavor"), "availability_zone": self._find("availability_zone")}
        return made | {name: value for name, value in found.items() if value and self.rng.random() < 0.1}

    def _access_log(self) -> Body:
        target = {"protocol": self.rng.choice(("UDP", "TCP", "TLS")), "address": "10.8.7.6", "port": self._number(1, 65535)}
        if target["protocol"] != "TLS":
            return target
        return target | {"ca_tls_container_ref": self._reference("authorities")} | self._sometimes(host_name=lambda: self.rng.choice(HOSTS))

    def _listener(self) -> Body:
        rng = self.rng
        protocol = rng.choice(("HTTP", "HTTP", "HTTP", "TCP", "HTTPS", "TERMINATED_HTTPS", "TERMINATED_HTTPS", *protocols.OF_LISTENERS))
        made = self._common("description") | {
            "loadbalancer_id": self._find("loadbalancer"), "protocol": protocol, "protocol_port": rng.randint(1, 65535)
        }  # fmt: skip
        made |= self._sometimes(
            connection_limit=lambda: self._number(-1, 2147483647),
            allowed_cidrs=lambda: rng.sample(["10.0.0.0/8", "192.0.2.1/32", "0.0.0.0/0", "198.51.100.7/24"], rng.randint(0, 3)),
            default_pool_id=lambda: self._find("pool"),
            **{name: lambda: self._number(0, 2073600000) for name in listener.SCHEMA.operators},
        )
        headers = protocols.PROTOCOLS[protocol].headers
        if headers and rng.random() < 0.3:
            made["insert_headers"] = {rng.choice(headers): rng.choice(("true", "false", "True", "x"))}
        if protocols.PROTOCOLS[protocol].has_requests:
            made |= self._sometimes(error_page=lambda: {"body": rng.choice(PAGES), "content_type": rng.choice(TYPES)})
            made |= self._sometimes(rate_limit=lambda: {"requests": self._number(1, 1_000_000), "period": self._number(1, 3600)})
        return made | self._ending_tls() if protocol == "TERMINATED_HTTPS" else made

    def _ending_tls(self) -> Body:
        rng = self.rng
        made = {"default_tls_container_ref": self._reference("bundle")} | self._tls()
        made |= self._sometimes(
            sni_container_refs=lambda: [self._reference("bundle") for _ in range(rng.randint(0, 3))],
            hsts_max_age=lambda: self._number(0, 2147483647),
        )
        if "hsts_max_age" in made:
            made |= self._sometimes(hsts_include_subdomains=lambda: True, hsts_preload=lambda: True)
        if rng.random() < 0.3:
            made |= {
                "client_ca_tls_container_ref": self._reference("authorities"),
                "client_authentication": rng.choice(("NONE", "OPTIONAL", "MANDATORY")),
            }
            made |= self._sometimes(client_crl_container_ref=lambda: self._reference("revocations"))
        return made

    def _tls(self) -> Body:
        rng = self.rng
        return self._sometimes(
            tls_ciphers=lambda: rng.choice(CIPHERS),
            tls_versions=lambda: rng.sample(kinds.TLS_VERSIONS, rng.randint(1, 3)),
            alpn_protocols=lambda: rng.sample(kinds.ALPN_PROTOCOLS, rng.randint(1, 3)),
        )

    def _reference(self, kind: str) -> str:
        return self.rng.choice(self._references[kind])

    def _pool(self) -> Body:
        rng = self.rng
        made = self._common("description") | {
            "loadbalancer_id": self._find("loadbalancer"), "protocol": rng.choice(("HTTP", "HTTP", "TCP", *protocols.OF_POOLS)),
            "lb_algorithm": rng.choice(pool.ALGORITHMS),
        }  # fmt: skip
        if rng.random() < 0.2:
            made |= {"loadbalancer_id": None, "listener_id": self._find("listener")}
        if rng.random() < 0.3:
            made |= {"tls_enabled": True} | self._tls()
            made |= self._sometimes(
                tls_container_ref=lambda: self._reference("bundle"), ca_tls_container_ref=lambda: self._reference("authorities")
            )
            if "ca_tls_container_ref" in made:
                made |= self._sometimes(crl_container_ref=lambda: self._reference("revocations"))
        if rng.random() < 0.4:
            made["session_persistence"] = rng.choice(
                (
                    self._persistence_of_datagrams() if made["protocol"] in ("UDP", "SCTP") else {"type": "SOURCE_IP"},
                    {"type": "HTTP_COOKIE"},
                    {"type": "APP_COOKIE", "cookie_name": rng.choice(("JSESSIONID", "a.b|c", "$x'%"))},
                )
            )
        if made["protocol"] in ("UDP", "SCTP"):
            made |= self._sometimes(preserve_client_ip=lambda: rng.random() < 0.5)
        return made | self._sometimes(slow_start=lambda: self._number(1, 86400), drain_timeout=lambda: self._number(1, 86400))

    def member(self) -> Body:
        """A member, with a server that is new, mostly."""
        address = self.rng.choice(ADDRESSES) if self.rng.random() < 0.3 else f"10.9.{self.rng.randint(0, 255)}.{self.rng.randint(1, 254)}"
        return (
            self._common()
            | {"address": address, "protocol_port": self._number(1, 65535)}
            | self._sometimes(
                weight=lambda: self._number(0, 256),
                backup=lambda: self.rng.random() < 0.5,
                subnet_id=lambda: self._subnet_id,
                monitor_address=lambda: self.rng.choice(ADDRESSES),
                monitor_port=lambda: self._number(1, 65535),
            )
        )

    def _monitor(self) -> Body:
        rng = self.rng
        kind = rng.choice(("HTTP", "HTTP", "HTTPS", "TCP", "PING", "TLS-HELLO", "UDP-CONNECT", "SCTP"))
        made = self._common() | {
            "pool_id": self._find("pool"),
            "type": kind,
            "delay": self._number(0, 86400),
            "timeout": self._number(0, 86400),
        }
        made |= {"max_retries": self._number(1, 10)} | self._sometimes(max_retries_down=lambda: self._number(1, 10))
        if kind.startswith("HTTP"):
            made |= self._sometimes(
                http_method=lambda: rng.choice(("GET", "HEAD", "POST", "OPTIONS", "CONNECT", "TRACE")),
                url_path=lambda: rng.choice(PATHS),
                expected_codes=lambda: rng.choice(("200", "200,201", "200-299", "204, 301", "599")),
            )
            if rng.random() < 0.3:
                made |= {"http_version": rng.choice((1.1, "1.1")), "domain_name": rng.choice(HOSTS)}
            if rng.random() < 0.3:
                made["grpc_service"] = rng.choice(("", "shop.Cart", *HOSTS, *PATHS))
        return made

    def _policy(self) -> Body:
        rng = self.rng
        made = self._common("description") | {"listener_id": self._find("listener"), "action": rng.choice(("REJECT", *_TARGETS))}
        target = _TARGETS.get(made["action"])
        if target is not None:
            fixed = {"status": rng.choice((200, 204, 404, 599)), "body": rng.choice(("", *PAGES)), "content_type": rng.choice(TYPES)}
            others = {"redirect_pool_id": self._find("pool"), "fixed_response": fixed}
            made[target] = others[target] if target in others else rng.choice(URLS)
        if made["action"] == "REDIRECT_TO_POOL" and rng.random() < 0.3:
            shares = [{"pool_id": self._find("pool"), "weight": self._number(0, 1000)} for _ in range(rng.randint(1, 3))]
            made["split"] = {"pools": shares, "by": rng.choice(("REQUEST", "SOURCE_IP"))}
        return made | self._sometimes(
            position=lambda: self._number(1, 2147483647), redirect_http_code=lambda: rng.choice((301, 302, 303, 307, 308))
        )

    def _rule(self) -> Body:
        rng = self.rng
        kind = rng.choice(("PATH", "HOST_NAME", "HEADER", "COOKIE", "FILE_TYPE", "SSL_CONN_HAS_CERT", "SSL_VERIFY_RESULT", "SSL_DN_FIELD"))
        if kind in ("SSL_CONN_HAS_CERT", "SSL_VERIFY_RESULT"):
            return {"type": kind, "compare_type": "EQUAL_TO", "value": "True" if kind == "SSL_CONN_HAS_CERT" else str(self._number(0, 90))}
        compare = rng.choice(
            ("EQUAL_TO", "REGEX") if kind == "FILE_TYPE" else ("CONTAINS", "ENDS_WITH", "EQUAL_TO", "REGEX", "STARTS_WITH")
        )
        made = {**self._common(), "type": kind, "compare_type": compare, "value": rng.choice(VALUES), "invert": rng.random() < 0.3}
        made.pop("name", None)
        if kind == "HEADER" and rng.random() < 0.3:
            made["value"] = rng.choice(('"two words"', '"a, b"', 'x"y'))
        if kind == "SSL_DN_FIELD":
            made["key"] = rng.choice(("CN", "O", "OU", "emailAddress", "C-1"))
        return made | ({"key": rng.choice(("X-Shop", "a.b", "it's", "$x", "x%y#z"))} if kind in ("HEADER", "COOKIE") else {})

    def _quota(self) -> Body:
        kinds = ("loadbalancer", "load_balancer", "listener", "pool", "member", "healthmonitor", "health_monitor", "l7policy", "l7rule")
        return {kind: self.rng.choice((-1, 2000000000)) for kind in kinds if self.rng.random() < 0.3}

    def _flavor(self) -> Body:
        return self._offer("flavor", "flavor_profile_id", "flavorprofile")

    def _zone(self) -> Body:
        return self._offer("zone", "availability_zone_profile_id", "availability_zone_profile")

    def _offer(self, word: str, name: str, kind: str) -> Body:
        made = {"name": f"{word}-{self.rng.getrandbits(40)}", name: self._find(kind), "enabled": self.rng.random() < 0.9}
        return made | self._sometimes(description=lambda: self.rng.choice(WORDS))

    def _flavor_profile(self) -> Body:
        data = self.rng.choice(({"loadbalancer_topology": "SINGLE"}, {"loadbalancer_topology": "ACTIVE_STANDBY"}, {}))
        return {"name": self.rng.choice(WORDS[1:]), "provider_name": "amphora", "flavor_data": json.dumps(data)}

    def _zone_profile(self) -> Body:
        return {"name": self.rng.choice(WORDS[1:]), "provider_name": "amphora", "availability_zone_data": "{}"}


_TARGETS = {
    "FIXED_RESPONSE": "fixed_response",
    "REDIRECT_TO_POOL": "redirect_pool_id",
    "REDIRECT_TO_URL": "redirect_url",
    "REDIRECT_PREFIX": "redirect_prefix",
}
_FIXED = {
    "*": {"loadbalancer_id", "listener_id", "pool_id", "protocol", "protocol_port", "vip_subnet_id", "flavor_id", "availability_zone",
          "flavor_profile_id", "availability_zone_profile_id"},
    "healthmonitor": {"pool_id", "type"},
    "member": {"address", "protocol_port", "subnet_id"},
    "availability_zone": {"name", "availability_zone_profile_id"},
}  # fmt: skip
