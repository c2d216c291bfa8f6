"""The real servers in containers, by testcontainers: they need a Docker engine, and skip with a reason without one."""
