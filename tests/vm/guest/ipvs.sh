#!/bin/busybox sh
# In the amphora: keepalived tells IPVS of services, and a client's packets reach a member through them. Last line: what was seen, in JSON.
folder=/tmp/ipvs
mkdir -p $folder && chown figlina $folder

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
ip netns exec router $as_keepalived keepalived -C -l -f $folder/keepalived.conf -p $folder/parent.pid -r $folder/vrrp.pid -b $folder/bfd.pid -c $folder/checkers.pid

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
listed() { ip netns exec router $as_keepalived ipvsadm -L -n "$@"; }
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
