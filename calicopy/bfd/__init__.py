"""BFD: packets, authentication and sessions (pure), and the process that runs them."""
