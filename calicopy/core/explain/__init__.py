"""Everything that this node knows of one address or prefix, and why."""
