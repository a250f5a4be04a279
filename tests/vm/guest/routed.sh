#!/bin/busybox sh
# Before the other scripts: a client and a member, and a router between them that has the rights of keepalived. The caller's words come last.
set -e
exec 3>&1 >&2
as_keepalived="setpriv --reuid=figlina --regid=figlina --clear-groups --no-new-privs"
as_keepalived="$as_keepalived --inh-caps=-all,+net_admin,+net_raw --ambient-caps=-all,+net_admin,+net_raw --bounding-set=-all,+net_admin,+net_raw"
for name in client router member; do
    ip netns add $name
    ip -n $name link set lo up
done
for name in client member; do
    ip link add to-$name netns router type veth peer name eth0 netns $name
done
ip -n router address add 198.51.100.1/24 dev to-client
ip -n router address add 203.0.113.1/24 dev to-member
ip -n client address add 198.51.100.2/24 dev eth0
ip -n member address add 203.0.113.2/24 dev eth0
for link in "router to-client" "router to-member" "client eth0" "member eth0"; do
    ip -n "${link% *}" link set "${link#* }" up
done
ip -n member route add default via 203.0.113.1
ip netns exec router $as_keepalived busybox sysctl -q -w net.ipv4.ip_forward=1
trap 'for name in client router member; do ip netns delete $name; done' EXIT

