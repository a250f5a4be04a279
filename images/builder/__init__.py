"""Makes the amphora image out of Debian packages and this repository's agent, without mounts and loop devices."""
