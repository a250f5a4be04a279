"""Ports, addresses and access of VIPs and amphorae."""
