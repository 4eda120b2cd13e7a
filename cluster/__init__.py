"""Where it runs: starting or joining Ray, what a cluster can place, jobs on a cluster. Knows nothing of GANs."""

from cluster.errors import ClusterError, JobNotFoundError, TokenError, UnreachableError
from cluster.janitor import HeldGroup, held_placement_groups, remove_placement_groups
from cluster.jobs import Job, Jobs
from cluster.placement import GroupShape, Node, PlacementError, PlacementPlan, plan, read_nodes, this_machine
from cluster.session import Session, connect, inside_job

__all__ = [
    "ClusterError",
    "GroupShape",
    "HeldGroup",
    "Job",
    "JobNotFoundError",
    "Jobs",
    "Node",
    "PlacementError",
    "PlacementPlan",
    "Session",
    "TokenError",
    "UnreachableError",
    "connect",
    "held_placement_groups",
    "inside_job",
    "plan",
    "read_nodes",
    "remove_placement_groups",
    "this_machine",
]
