"""Numbers and log lines: declared once, bounded, and free of secrets."""
