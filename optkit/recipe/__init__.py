"""Recipes: one YAML file is the whole job. Imports no torch."""

from __future__ import annotations

from optkit.recipe.distill import DistillSpec, TeacherSpec
from optkit.recipe.export import ExportSpec
from optkit.recipe.faults import Fault, StaticError
from optkit.recipe.loading import load_recipe
from optkit.recipe.quantize import CalibrationSpec, ControlSpec, FinetuneSpec, QuantizeSpec
from optkit.recipe.rules import RuleSpec, ScheduleSpec
from optkit.recipe.schema import BenchmarkSpec, EvaluateSpec, ModelSpec, PublishSpec, Recipe, TokenizerSpec
from optkit.recipe.task import DatasetSpec, TaskSpec

__all__ = [
    "BenchmarkSpec",
    "CalibrationSpec",
    "ControlSpec",
    "DatasetSpec",
    "DistillSpec",
    "EvaluateSpec",
    "ExportSpec",
    "Fault",
    "FinetuneSpec",
    "ModelSpec",
    "PublishSpec",
    "QuantizeSpec",
    "Recipe",
    "RuleSpec",
    "ScheduleSpec",
    "StaticError",
    "TaskSpec",
    "TeacherSpec",
    "TokenizerSpec",
    "load_recipe",
]
