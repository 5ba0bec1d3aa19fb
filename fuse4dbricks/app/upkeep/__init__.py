"""Orders to a cache: obeyed by the mount that works in the folder, or by the command itself when none does.

``orders`` says what can be asked and has it done; ``wire`` puts it on a line; ``service`` is the mount's end of the socket
and ``attendance`` the command's; ``inspection`` looks at a folder without changing it; ``errands`` are what a person asks.
"""
