"""What is kept, for how long, and in which layer it is looked for: RAM, then index and disk, then the workspace."""
