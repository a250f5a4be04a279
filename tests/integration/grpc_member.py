"""A member that speaks gRPC: `python -m tests.integration.grpc_member ADDRESS PEM`. Its health is that of grpcio's own servicer.

Ports: `SERVING` serves, `REFUSING` does not, `SHOP` serves only the service `shop.Cart`, and `SECURE` is as `SERVING`, by TLS. A line on
its input changes what `SERVING` and `SECURE` say: `SERVING` or `NOT_SERVING`.
"""

from __future__ import annotations

import pathlib
import sys
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVING, REFUSING, SHOP, SECURE = range(12001, 12005)
SERVICE = "shop.Cart"
_Status = health_pb2.HealthCheckResponse.ServingStatus


def _serve(place: str, statuses: dict[str, str], pem: bytes | None = None) -> health.HealthServicer:
    server, servicer = grpc.server(futures.ThreadPoolExecutor(4)), health.HealthServicer()
    for service, status in statuses.items():
        servicer.set(service, _Status.Value(status))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if pem is None:
        server.add_insecure_port(place)
    else:
        server.add_secure_port(place, grpc.ssl_server_credentials([(pem, pem)]))
    server.start()
    _RUNNING.append(server)
    return servicer


_RUNNING: list[grpc.Server] = []  # one that nobody names is ended


def main(address: str, pem: str) -> None:
    """Serve until the input ends."""
    changing = [
        _serve(f"{address}:{SERVING}", {"": "SERVING"}),
        _serve(f"{address}:{SECURE}", {"": "SERVING"}, pathlib.Path(pem).read_bytes()),
    ]
    _serve(f"{address}:{REFUSING}", {"": "NOT_SERVING"})
    _serve(f"{address}:{SHOP}", {"": "NOT_SERVING", SERVICE: "SERVING"})
    print("ready", flush=True)
    for line in sys.stdin:
        for servicer in changing:
            servicer.set("", _Status.Value(line.strip()))


if __name__ == "__main__":
    main(*sys.argv[1:])
