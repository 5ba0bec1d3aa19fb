"""Where tokens come from. Knows local users and secrets, and nothing of the workspace or the cache."""
