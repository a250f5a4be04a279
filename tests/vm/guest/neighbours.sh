#!/bin/busybox sh
# In the amphora: a machine beside three thousand others in one subnet. Last line: how many of them answered, and how many it still knows the
# way to afterwards, in JSON.
set -e
exec 3>&1 >&2
for name in here beside; do
    ip netns add $name
    ip -n $name link set lo up
done
trap 'for name in here beside; do ip netns delete $name; done' EXIT
ip link add to-others netns here type veth peer name to-here netns beside
ip -n here link set to-others up
ip -n beside link set to-here up
ip -n here address add 10.99.0.1/16 dev to-others
ip -n beside address add 10.99.0.2/16 dev to-here
ip -n beside route add local 10.99.16.0/20 dev lo
cat >/tmp/neighbours.py <<'END_OF_PYTHON'
import errno, json, select, socket

addresses = [f"10.99.{16 + number // 250}.{1 + number % 250}" for number in range(3000)]
asked, found = {}, 0
waiting = select.epoll()
for address in addresses:
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.setblocking(False)
    error = one.connect_ex((address, 80))
    found += error == errno.ECONNREFUSED
    if error == errno.EINPROGRESS:
        asked[one.fileno()] = one
        waiting.register(one, select.EPOLLOUT)
while asked and (ready := waiting.poll(20)):
    for descriptor, _ in ready:
        one = asked.pop(descriptor)
        waiting.unregister(descriptor)
        found += one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
        one.close()
with open("/proc/net/arp") as table:
    known = {line.split()[0] for line in table}
print(json.dumps({"answered": found, "known": len(known.intersection(addresses))}))
END_OF_PYTHON
ip netns exec here sh -c 'ulimit -n 4096; exec python3 /tmp/neighbours.py' >&3
