#!/bin/busybox sh
# In the amphora: keepalived tells IPVS of services, and a client's packets reach a member through them. Last line: what was seen, in JSON.
set -e
exec 3>&1 >&2
folder=/tmp/ipvs
mkdir -p $folder && chown figlina $folder
as_keepalived="setpriv --reuid=figlina --regid=figlina --clear-groups --no-new-privs"
as_keepalived="$as_keepalived --inh-caps=-all,+net_admin,+net_raw --ambient-caps=-all,+net_admin,+net_raw --bounding-set=-all,+net_admin,+net_raw"
for name in client lvs member; do
    ip netns add $name
    ip -n $name link set lo up
done
for name in client member; do
    ip link add to-$name netns lvs type veth peer name eth0 netns $name
done
ip -n lvs address add 198.51.100.1/24 dev to-client
ip -n lvs address add 203.0.113.1/24 dev to-member
ip -n client address add 198.51.100.2/24 dev eth0
ip -n member address add 203.0.113.2/24 dev eth0
for link in "lvs to-client" "lvs to-member" "client eth0" "member eth0"; do
    ip -n "${link% *}" link set "${link#* }" up
done
ip -n member route add default via 203.0.113.1
ip netns exec lvs $as_keepalived busybox sysctl -q -w net.ipv4.ip_forward=1

service() { # protocol, port, scheduler
    echo "virtual_server 198.51.100.1 $2 {
  protocol $1
  lvs_sched $3
  lvs_method NAT
  real_server 203.0.113.2 $2 {
    weight 1
  }
}"
}
{
    service UDP 5300 rr
    service SCTP 5300 rr
    port=6000
    for scheduler in wrr lc wlc sh mh sed nq; do
        service UDP $port $scheduler
        port=$((port + 1))
    done
} >$folder/keepalived.conf
ip netns exec lvs $as_keepalived keepalived -C -l -f $folder/keepalived.conf -p $folder/parent.pid -r $folder/vrrp.pid -b $folder/bfd.pid -c $folder/checkers.pid

cat >$folder/traffic.py <<'END'
import json, socket, sys

def server():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("203.0.113.2", 5300))
    sctp = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    sctp.bind(("203.0.113.2", 5300))
    sctp.listen()
    for _ in range(3):
        data, client = udp.recvfrom(100)
        assert client[0] == "198.51.100.2", client
        udp.sendto(data.upper(), client)
    connection, client = sctp.accept()
    assert client[0] == "198.51.100.2", client
    connection.sendall(connection.recv(100).upper())
    connection.recv(100)

def client():
    answers = {}
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.settimeout(20)
    udp.connect(("198.51.100.1", 5300))
    for _ in range(3):
        udp.send(b"a datagram")
        answers["udp"] = udp.recv(100) == b"A DATAGRAM"
    sctp = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    sctp.settimeout(20)
    sctp.connect(("198.51.100.1", 5300))
    sctp.sendall(b"a message")
    answers["sctp"] = sctp.recv(100) == b"A MESSAGE"
    print(json.dumps(answers))

{"server": server, "client": client}[sys.argv[1]]()
END
ip netns exec member python3 $folder/traffic.py server &
server=$!
listed() { ip netns exec lvs $as_keepalived ipvsadm -L -n "$@"; }
for try in $(busybox seq 60); do
    [ "$(listed | grep -c ' 203.0.113.2:')" = 9 ] && break
    sleep 0.5
done
listed
sleep 1
answers=$(ip netns exec client python3 $folder/traffic.py client)
wait $server
# Columns: protocol, address, connections, packets in, packets out, bytes in, bytes out. The kernel sums them up every two seconds.
packets() { listed --stats --exact | busybox awk -v kind="$1" '$1 == kind && $2 == "198.51.100.1:5300" {print $4}'; }
for try in $(busybox seq 60); do
    [ "$(packets UDP)" = 3 ] && [ "$(packets SCTP)" != 0 ] && break
    sleep 0.5
done
schedulers=$(listed | busybox awk '$1 == "UDP" || $1 == "SCTP" {print $3}' | sort -u | busybox tr '\n' ' ')
echo "{\"answers\": $answers, \"schedulers\": \"$schedulers\", \"packets\": {\"udp\": $(packets UDP), \"sctp\": $(packets SCTP)}}" >&3
kill "$(cat $folder/parent.pid)"
for name in client lvs member; do
    ip netns delete $name
done
