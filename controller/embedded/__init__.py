"""The embedded cloud: networks, machines and a Networking API of our own, on one Linux host."""
