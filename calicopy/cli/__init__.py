"""The command line: asks the agent over gRPC and prints; each command loads what it needs when it runs."""
