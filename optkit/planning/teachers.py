"""What a run's teachers are asked for, and why a student cannot learn from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optkit.errors import PruningError
from optkit.models import load_teacher, longest_input
from optkit.planning.heads import pixel_problems
from optkit.pruning.distillation.matching import state_problems
from optkit.pruning.distillation.pooled import pooled_pairs

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.stage import ResolvedModel

#: Texts that both tokenizers have to read alike.
_COMPARED = 100


def keeps_logits(context: RunContext) -> bool:
    """Whether the teachers' logits are asked for once and kept; else one teacher gives them beside the student."""
    distill = context.recipe.distill
    return context.task.keeps_logits and (not distill.of_states or len(distill.teachers) > 1)


def runs_beside(context: RunContext) -> bool:
    """Whether the first teacher runs beside the student, on its tokens."""
    return context.recipe.distill.of_states or not context.task.keeps_logits


def problems(context: RunContext, resolved: ResolvedModel) -> list[str]:
    """Why the student cannot learn from the teacher, a line each.

    Raises:
        OptkitError: if the teacher cannot be loaded.
    """
    if context.recipe.distill is None:
        return []
    distill, student = context.recipe.distill, resolved.model.config
    if len(distill.teachers) > 1 and not context.task.keeps_logits:
        return [
            f"distill.teacher: for {context.recipe.task.type} a teacher runs beside the student, so there can be one "
            "alone: name one"
        ]
    found: list[str] = []
    for key, spec in distill.teachers.items():
        teacher, tokenizer, _ = load_teacher(spec, context.data.head, key=key)
        found += context.task.teacher_problems(distill, key, teacher, student)
        if keeps_logits(context):
            found += pixel_problems(context, spec, tokenizer, key)
        if distill.pooled is not None and key == distill.last[0]:
            found += _pooled_problems(context, teacher, student)
        if runs_beside(context) and key == distill.first[0]:
            found += _problems_beside(context, spec.name, teacher, tokenizer, student)
    return found


def _pooled_problems(context: RunContext, teacher: Any, student: Any) -> list[str]:
    """Why the pooled states of a teacher cannot be kept for the student (its config), a line at most."""
    if not context.task.pools_states:
        return [f"distill.pooled: states of sentences are not kept for {context.recipe.task.type}: remove it"]
    try:
        pooled_pairs(context.recipe.distill.pooled.build(), student, teacher.config)
    except PruningError as error:
        return [f"distill.pooled: {error}"]
    return []


def _problems_beside(context: RunContext, name: str, teacher: Any, tokenizer: Any, student: Any) -> list[str]:
    """Why a teacher cannot run beside the student (its config), on the student's tokens, a line each."""
    distill = context.recipe.distill
    states = {name: getattr(distill, name) for name in ("hidden", "attention")}
    built = {name: spec and spec.build() for name, spec in states.items()}
    found = [f"distill.{name}: {text}" for name, text in state_problems(student, teacher.config, **built)]
    which = next((name for name, spec in states.items() if spec is not None), "teacher")
    longest = longest_input(teacher.config)
    if longest is not None and longest < context.task.max_length:
        found.append(
            f"distill.{which}: {name} takes {longest} tokens, and task.max_length is "
            f"{context.task.max_length}: lower it"
        )
    rows = context.data.splits["train"]
    if not context.task.same_inputs(rows.select(range(min(_COMPARED, len(rows)))), context.data.tokenizer, tokenizer):
        way_out = ", or distil logits alone" if context.task.keeps_logits else ""
        found.append(
            f"distill.{which}: {name} has another tokenizer than the student, so their tokens do not "
            f"compare: use a teacher with the same one{way_out}"
        )
    return found
