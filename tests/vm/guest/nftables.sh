#!/bin/busybox sh
# In the amphora: rules of nftables spread datagrams over two members. Last line: how many of them answered each way of asking, in JSON.
ip -n member address add 203.0.113.3/24 dev eth0
ip netns exec router $as_keepalived nft -f - <<'END'
table ip spread {
    map remembered {
        type ipv4_addr : ipv4_addr
        timeout 1m
    }
    counter seen { }
    chain to {
        type nat hook prerouting priority dstnat
        udp dport 5301 dnat to jhash ip saddr mod 2 seed 0xf1 map { 0 : 203.0.113.2, 1 : 203.0.113.3 }
        udp dport 5302 dnat to numgen inc mod 2 map { 0 : 203.0.113.2, 1 : 203.0.113.3 }
        udp dport 5303 dnat to ip saddr map @remembered
        udp dport 5303 dnat to numgen random mod 2 map { 0 : 203.0.113.2, 1 : 203.0.113.3 }
        sctp dport 5304 dnat to symhash mod 2 map { 0 : 203.0.113.2, 1 : 203.0.113.3 }
    }
    chain from {
        type nat hook postrouting priority srcnat
        oifname "to-member" masquerade
    }
    chain filter {
        type filter hook forward priority filter
        udp dport 5303 update @remembered { ip saddr : ip daddr }
        meta l4proto { udp, sctp } counter name seen
        ct state established,related counter accept
        meta l4proto udp ct original proto-dst 5309 reject
    }
}
END
cat >/tmp/spread.py <<'END'
import json, select, socket, sys

def member():
    sockets = []
    for address in ("203.0.113.2", "203.0.113.3"):
        for port in (5301, 5302, 5303):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind((address, port))
            sockets.append(one)
    while True:
        for one in select.select(sockets, [], [])[0]:
            _, client = one.recvfrom(100)
            one.sendto(one.getsockname()[0].encode(), client)

def asked(port):
    answers = set()
    for _ in range(8):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.settimeout(20)
        one.sendto(b"who", ("198.51.100.1", port))
        answers.add(one.recv(100))
    return len(answers)

if sys.argv[1] == "member":
    member()
print(json.dumps({"one client": asked(5301), "in turns": asked(5302), "remembered": asked(5303)}))
END
ip netns exec member python3 /tmp/spread.py member &
member=$!
sleep 2
answers=$(ip netns exec client python3 /tmp/spread.py client)
ip netns exec router $as_keepalived nft list ruleset
kill $member
echo "$answers" >&3
