"""Training: optimizers, the count of steps, and clusters to train on."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphc.train.device_setter import (
    GreedyLoadBalancingStrategy,
    byte_size_load_fn,
    replica_device_setter,
)
from graphc.train.monitored import (
    MonitoredTrainingSession,
    SessionRunArgs,
    SessionRunContext,
    SessionRunHook,
    SessionRunValues,
    StopAtStepHook,
)
from graphc.train.optimizers import (
    AdamOptimizer,
    GradientDescentOptimizer,
    MomentumOptimizer,
    Optimizer,
)
from graphc.train.steps import create_global_step, get_global_step, get_or_create_global_step

if TYPE_CHECKING:
    from graphc.runtime.cluster_spec import ClusterSpec
    from graphc.runtime.server import Server

_LAZY = {"ClusterSpec": "graphc.runtime.cluster_spec", "Server": "graphc.runtime.server"}
"""What needs the runtime, and the modules that have it."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'graphc.train' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


__all__ = [
    "AdamOptimizer",
    "ClusterSpec",
    "GradientDescentOptimizer",
    "GreedyLoadBalancingStrategy",
    "MomentumOptimizer",
    "MonitoredTrainingSession",
    "Optimizer",
    "Server",
    "SessionRunArgs",
    "SessionRunContext",
    "SessionRunHook",
    "SessionRunValues",
    "StopAtStepHook",
    "byte_size_load_fn",
    "create_global_step",
    "get_global_step",
    "get_or_create_global_step",
    "replica_device_setter",
]
