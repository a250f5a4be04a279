#!/bin/busybox sh
# In the amphora: the flow of an association is ended while it stands. Last line: what its client, who has the kernel's own sockets, hears, in JSON.
ip netns exec router $as_keepalived nft -f - <<'END'
table ip spread {
    chain to {
        type nat hook prerouting priority dstnat
        sctp dport 5300 dnat to 203.0.113.2
    }
    chain from {
        type nat hook postrouting priority srcnat
        oifname "to-member" masquerade
    }
}
END
cat >/tmp/association.py <<'END'
import errno, json, socket, struct, sys

sys.path.append("/usr/lib/figlina/python")
from amphora_agent.system import move_to_namespace as enter  # the agent's: Python has os.setns since 3.12

def sctp():
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)

enter("member")
server = sctp()
server.bind(("203.0.113.2", 5300))
server.listen()
enter("client")
client = sctp()
client.settimeout(60)
client.connect(("198.51.100.1", 5300))
client.sendall(b"one")
accepted, _ = server.accept()
told = {"served": accepted.recv(100) == b"one"}
enter("router")
flows = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)  # NETLINK_NETFILTER (linux/netlink.h)
flows.send(struct.pack("=IHHIIBBH", 20, 1 << 8 | 2, 5, 1, 0, 0, 0, 0))  # IPCTNL_MSG_CT_DELETE (linux/netfilter/nfnetlink_conntrack.h): all
told["ended"] = flows.recv(100)[16:20] == bytes(4)
client.sendall(b"two")
try:
    told["heard"] = client.recv(100).decode()
except OSError as exc:
    told["heard"] = errno.errorcode.get(exc.errno, str(exc))
print(json.dumps(told))
END
answers=$(python3 /tmp/association.py)
echo "$answers" >&3
