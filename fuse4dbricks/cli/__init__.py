"""The commands; each imports what it runs only when it runs, so that ``--help`` answers at once."""
