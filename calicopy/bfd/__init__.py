"""BFD (RFC 5880, 5881, 5883): packets, the state machine (both pure), and the process that runs it."""
