"""Another cluster file while the core runs: what it would change, doing it, and whether it came up."""
