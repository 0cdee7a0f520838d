"""Data sets of people who do not exist: planned, drawn in shards, verified, reported, exported.

from arc2face import Engine
from arc2face.dataset import DatasetPlan, Identities, Schedule, make_folder, run_shard, verify

A plan is a frozen value with a hash; a shard is a pure function of the plan, its number and the models. Whoever runs
it gets the same pictures, so a set may be drawn by one process, an array of jobs or a cluster.
"""
