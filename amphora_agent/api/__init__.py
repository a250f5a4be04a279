"""The agent's REST interface (Flask), over mutual TLS."""
