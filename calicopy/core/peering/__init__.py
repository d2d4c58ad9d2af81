"""BGP sessions: which are wanted, what each peer said, and how long the routes of a lost one are kept."""
