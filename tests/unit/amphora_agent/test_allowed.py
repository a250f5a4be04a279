"""What may stand in a configuration: all that is rendered, and nothing that runs programs or reads files."""

from __future__ import annotations

import pathlib

import hypothesis
import pytest
from hypothesis import strategies

from amphora_agent import allowed

GOLDEN = pathlib.Path(__file__).parents[2] / "golden"
HTTP = (GOLDEN / "http-single.cfg").read_text()
PING = (GOLDEN / "ping.cfg").read_text()
L7 = (GOLDEN / "l7.cfg").read_text()
VRRP = (GOLDEN / "vrrp-ipv4-master.conf").read_text()


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.cfg")), ids=lambda path: path.name)
def test_what_is_rendered_for_haproxy_is_taken(path: pathlib.Path) -> None:
    allowed.check_haproxy(path.read_text())


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.conf")), ids=lambda path: path.name)
def test_what_is_rendered_for_keepalived_is_taken(path: pathlib.Path) -> None:
    allowed.check_keepalived(path.read_text())


@pytest.mark.parametrize(
    "lines",
    [
        "global",
        "global\n    lua-load /tmp/x.lua",
        "  \tglobal",
        '"global"',
        "glo\\bal",
        "'glo'bal",
        "program x\n    command /bin/sh",
        "listen x",
        "ring x\n    backing-file /tmp/x",
        "ring x\n    server s 10.0.0.1:514 ssl crt /etc/shadow",
        "ring x\n    server s /run/s.sock",
        "log-forward x",
        "frontend x\n    log /dev/log local0",
        "frontend x\n    log fd@1 local0",
        "frontend x\n    log stdout format raw local0",
        "frontend x\n    log global",
        "frontend x\n    log-format %[env(HOME)]",
        "frontend x\n    log-format '{\"x\":%{+Q}[src,map(/etc/shadow)]}'",
        "frontend x\n    http-request set-var(proc.x) rand",
        "frontend x\n    tcp-request content lua.x",
        "frontend x\n    capture response header x len 3",
        "resolvers x",
        "http-errors x",
        "fcgi-app x",
        "userlist x",
        "cache x",
        "mailers x",
        "defaults\n    errorfile 503 /etc/shadow",
        "backend x\n    http-request lua.x",
        "backend x\n    http-request return status 200 content-type text/plain file /etc/shadow",
        "backend x\n    http-errors x",
        "frontend x\n    http-error status 503 content-type text/plain file /etc/shadow",
        "frontend x\n    http-error status 503 content-type text/plain lf-string %[env(HOME)]",
        "frontend x\n    http-error status 503 content-type text/plain string x hdr a %[env(HOME)]",
        "frontend x\n    http-error status 503 hdr string %[env(HOME)]",
        "frontend x\n    http-request return status 200 content-type text/plain lf-string %[env(HOME)]",
        "frontend x\n    http-request return status 200 hdr string %[env(HOME)]",
        "frontend x\n    http-request return status 200 content-type string lf-string %[env(HOME)]",
        "frontend x\n    http-request return status 200 content-type a string b hdr c %[env(HOME)]",
        "frontend x\n    http-request return status 200 content-type a string b if { path -f /etc/shadow }",
        "frontend x\n    http-request return lf-file /etc/shadow",
        "frontend x\n    http-request deny status 200 content-type a string %[env(HOME)]",
        "backend x\n    log /dev/log local0",
        "backend x\n    external-check command /bin/sh",
        "backend x\n    external-check path /tmp",
        "backend x\n    server s unix@/run/x",
        "backend x\n    server s /run/x",
        "backend x\n    server s 10.0.0.1:80 crt /etc/ssl/private/key.pem",
        "backend x\n    server s 10.0.0.1:80 ca-file @system-ca",
        "backend x\n    server s web.example:80 resolvers y",
        "backend x\n    filter spoe engine e config /tmp/x",
        "backend x\n    load-server-state-from-file local",
        "backend x\n    http-request deny if { path -f /etc/shadow }",
        'backend x\n    http-request deny if { path "-f" /etc/shadow }',
        "backend x\n    http-request deny if { path -\\f /etc/shadow }",
        "backend x\n    http-request deny file /etc/shadow",
        "backend x\n    http-request set-header X %[src,map(/etc/shadow)]",
        "backend x\n    http-request set-header X '%[src,map_beg(/etc/shadow)]'",
        "backend x\n    http-request set-header X %[env(HOME)]",
        "backend x\n    http-request set-header X %[lua.x]",
        "backend x\n    stick on src,map(/etc/shadow)",
        "frontend x\n    use_backend y if { src,map(/etc/shadow) -m found }",
        "frontend x\n    acl a src,map(/etc/shadow) -m str -- x",
        "frontend x\n    acl -- src,map(/etc/shadow) -m str -- x",
        'frontend x\n    acl location "src,map(/etc/shadow)" -m str -- x',
        "backend x\n    http-request set-header X %[src,\\x6dap(/etc/shadow)]",
        "backend x\n    http-request set-header X \\x25[src,map(/etc/shadow)]",
        "backend x\n    http-request set-header X %{+Q}[src,map(/etc/shadow)]",
        "backend x\n    http-request set-header X '%[str(\"]\"),map(/etc/shadow)]'",
        "backend x\n    http-request set-header -- %[src,map(/etc/shadow)]",
        "backend x\n    http-request deny \\x65rrorfile /etc/shadow",
        'backend x\n    http-request deny if { path -- /x } { "src,map(/etc/shadow)" -m found }',
        'backend x\n    http-request redirect location /a if { "src,map(/etc/shadow)" -m found }',
        'backend x\n    stick on "src,map(/etc/shadow)"',
        "backend x\n    stick on src,lua.x",
        "backend x\n    stick on req.cook(a),lua.x",
        "backend x\n    stick on req.cook(a),map(/etc/shadow)",
        'backend x\n    server s 10.0.0.1:80 ssl sni "req.hdr(a),map(/etc/shadow)"',
        "backend x\n    server -- 10.0.0.1:80 ssl sni req.hdr(a),map(/etc/shadow)",
        "backend x\n    server s 10.0.0.1:80 check-sni check-sni sni req.hdr(a),map(/etc/shadow)",
        "backend x\n    http-check send uri-lf %[src,map(/etc/shadow)]",
        'frontend x\n    maxconn 10 "',
        "backend x\n    use-server s if { path -f /etc/shadow }",
        "frontend x\n    bind unix@/run/x",
        "frontend x\n    bind fd@3",
        "frontend x\n    bind 10.0.0.1:80 crt /etc/ssl/private/key.pem",
        "frontend x\n    bind 10.0.0.1:80 user root",
        "frontend x\n    acl a path -f /etc/shadow",
        "frontend x\n    acl a path -f /etc/shadow -- x",
        "frontend x\n    unique-id-format %[env(HOME)]",
        "frontend x\n    monitor-uri /x",
        "frontend x\n    stats enable",
        "frontend x\n    option httplog",
        "frontend x\n    description \x00",
        "frontend x\r    bind 10.0.0.1:80",
        "frontend x\n    maxconn 10\\\n global",
        ".if 1",
        "peers x\n    bind 10.0.0.1:1",
    ],
)
@pytest.mark.parametrize("before", ["", HTTP, PING, L7], ids=["alone", "http", "ping", "l7"])
def test_nothing_that_runs_or_reads_anything_is_taken(lines: str, before: str) -> None:
    with pytest.raises(allowed.NotAllowed):
        allowed.check_haproxy(f"{before}\n{lines}\n")


@pytest.mark.parametrize(
    "lines",
    [
        "vrrp_script x {\n    script /bin/sh\n}",
        "global_defs {\n    script_user root\n}",
        "include /etc/shadow",
        "static_ipaddress {\n}",
        "virtual_server 10.0.0.1 80 {\n}",
        "vrrp_instance x {\n    notify /bin/sh\n}",
        "vrrp_instance x {\n    notify_master /bin/sh\n}",
        "vrrp_instance x {\n    track_script {\n        other\n    }\n}",
        "vrrp_instance x {\n    track_file {\n        /etc/shadow\n    }\n}",
        "vrrp_instance x {\n    track_process {\n        sh\n    }\n}",
        "vrrp_instance x {\n    state $X\n}",
        "$X=1",
        "@x vrrp_instance x {\n}",
        "vrrp_instance x {\n    virtual_ipaddress {\n        10.0.0.1/24 dev eth1 label /x\n    }\n}",
        "}",
    ],
)
@pytest.mark.parametrize("before", ["", VRRP], ids=["alone", "instance"])
def test_keepalived_is_told_of_vrrp_alone(lines: str, before: str) -> None:
    with pytest.raises(allowed.NotAllowed):
        allowed.check_keepalived(f"{before}{lines}\n")


@pytest.mark.parametrize(
    "line",
    [
        "acl a path -m str -- '-f'",
        "acl a path -m str -- 'map(x) %[env(HOME)] file'",
        "http-request redirect location 'https://a.example/map(x)%%[env(HOME)]%%5B' code 302 if a",
    ],
)
def test_what_a_tenant_writes_is_no_keyword(line: str) -> None:
    allowed.check_haproxy(f"frontend x\n    {line}\n")


@pytest.mark.parametrize(
    "line",
    [
        "http-check send meth GET uri /lua.html?a=map(1)&b=env(x) ver HTTP/1.1 hdr Host www.lua.example",
        "server s 10.0.0.1:80 check check-ssl verify none check-sni www.lua.example",
        "server s 10.0.0.1:80 ssl verify required ca-file x-ca.pem sni str(www.lua.example)",
        "stick match req.cook(my-lua.sid)",
        "stick store-response res.cook(lua.sid)",
    ],
)
def test_nor_is_what_they_call_hosts_pages_and_cookies(line: str) -> None:
    allowed.check_haproxy(f"backend x\n    {line}\n")


@pytest.mark.lengthy
@hypothesis.given(strategies.text(), strategies.booleans())
def test_any_text_is_taken_or_refused(text: str, after: bool) -> None:
    for check, usual in ((allowed.check_haproxy, HTTP), (allowed.check_keepalived, VRRP)):
        try:
            check(usual + text if after else text)
        except allowed.NotAllowed:
            continue
        assert "global" not in text.split("\n")[-1].split()


@pytest.mark.parametrize("text", [HTTP, PING, L7], ids=["http", "ping", "l7"])
def test_what_is_new_beside_what_was_taken_is_looked_at_wherever_it_stands(text: str) -> None:
    lines = text.split("\n")
    for number in range(1, len(lines) + 1):
        for bad in ("    lua-load /tmp/x.lua", "program x", "    http-request deny if { path -f /etc/shadow }"):
            changed = "\n".join([*lines[: number - 1], bad, *lines[number - 1 :]])
            with pytest.raises(allowed.NotAllowed, match=f"line {number} of"):
                allowed.check_haproxy(changed, text)
            with pytest.raises(allowed.NotAllowed, match=f"line {number} of"):
                allowed.check_haproxy(changed)


def test_a_line_of_another_section_may_come_to_one_that_was_taken_and_none_of_a_third() -> None:
    taken = "frontend x\n    maxconn 10\n\nbackend y\n    balance roundrobin\n"
    allowed.check_haproxy(taken.replace("maxconn 10", "maxconn 11"), taken)
    with pytest.raises(allowed.NotAllowed, match="line 5 of"):
        allowed.check_haproxy(taken.replace("balance roundrobin", "default_backend y"), taken)
    with pytest.raises(allowed.NotAllowed, match="line 1 of"):
        allowed.check_haproxy("    maxconn 11\n" + taken, taken)
