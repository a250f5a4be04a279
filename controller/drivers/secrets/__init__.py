"""Where private keys and certificates of tenants rest."""
