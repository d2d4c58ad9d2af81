"""Measurements of speed and size: `python -m bench` (make bench) runs all and writes build/bench.json."""
