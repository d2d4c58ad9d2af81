"""The brain: events in, commands out, no I/O (see `calicopy.core.core`)."""
