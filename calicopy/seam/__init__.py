"""What the core and an edge say to each other: plain data, so that neither imports the other."""
