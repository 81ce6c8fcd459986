"""zcc as a service of systemd: units, what the manager is told, and what goes when a service goes."""
