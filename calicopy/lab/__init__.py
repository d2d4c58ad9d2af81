"""Containerlab's topology files in Linux namespaces, without a container engine."""
from __future__ import annotations

from calicopy.lab.reader import Problem, TopologyError
from calicopy.lab.run import ExecResult, Lab, NodeStatus, down, exec_, find, find_node, load, logs, status, up
from calicopy.lab.state import LabError

__all__ = ["ExecResult", "Lab", "LabError", "NodeStatus", "Problem", "TopologyError", "down", "exec_", "find",
           "find_node", "load", "logs", "status", "up"]
