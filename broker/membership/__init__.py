"""Who is a member: keys, roles, what was revoked."""
