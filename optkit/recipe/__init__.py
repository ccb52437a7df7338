"""Recipes: one YAML file is the whole job. Imports no torch."""

from __future__ import annotations

from optkit.recipe.faults import Fault, StaticError
from optkit.recipe.loading import load_recipe
from optkit.recipe.rules import RuleSpec, ScheduleSpec
from optkit.recipe.schema import (
    BenchmarkSpec,
    CalibrationSpec,
    DatasetSpec,
    DistillSpec,
    EvaluateSpec,
    ExportSpec,
    ModelSpec,
    PublishSpec,
    QuantizeSpec,
    Recipe,
    TaskSpec,
    TokenizerSpec,
)

__all__ = [
    "BenchmarkSpec",
    "CalibrationSpec",
    "DatasetSpec",
    "DistillSpec",
    "EvaluateSpec",
    "ExportSpec",
    "Fault",
    "ModelSpec",
    "PublishSpec",
    "QuantizeSpec",
    "Recipe",
    "RuleSpec",
    "ScheduleSpec",
    "StaticError",
    "TaskSpec",
    "TokenizerSpec",
    "load_recipe",
]
