"""`prune` as a recipe writes it. Criteria are those of pruning/config: a new one there needs nothing here."""

from __future__ import annotations

import dataclasses
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    create_model,
    field_validator,
)

from optkit.pruning.config import (
    CRITERIA,
    PERMUTATIONS,
    SHAPES,
    STRUCTURES,
    Frozen,
    Rule,
    Schedule,
    Span,
    Structure,
    check_bounds,
    check_grouping,
    check_permutation,
    check_reach,
    every_of,
    jumps_of,
)
from optkit.recipe.allocate import AllocateSpec, follows_from_speedup
from optkit.recipe.fields import Many, Part, Share, SpanField, check_pattern
from optkit.spelling import suggest

_DEFAULT = Schedule()
#: Structures that are a word: RxC and N:M are none.
_STRUCTURES = tuple(name for name in STRUCTURES if name.islower())
#: A number or a word: which ones, the criterion itself says.
_Either = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}]})]


class CriterionSpec(Part):
    """A criterion by name, with its own parameters."""

    name: str

    def build(self) -> Any:
        """The dataclass in pruning/config that this describes."""
        parameters = self.model_dump(exclude={"name"})
        return CRITERIA[self.name](**parameters)

    @field_validator("*")
    @classmethod
    def _the_criterion_agrees(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name != "name":
            CRITERIA[cls.model_fields["name"].default](**{info.field_name: value})
        return value


def _spec(name: str, criterion: type) -> type[CriterionSpec]:
    hints = get_type_hints(criterion)
    types = {float: Share, int | str: _Either}
    parameters = {f.name: (types.get(hints[f.name], hints[f.name]), f.default) for f in dataclasses.fields(criterion)}
    summary = criterion.__doc__.split("\n\n")[0].replace("\n    ", " ")
    fields = {"name": (Literal[name], name), **parameters}
    return create_model(criterion.__name__, __base__=CriterionSpec, __doc__=summary, **fields)


def _named(value: Any) -> Any:
    """The mapping that a criterion given as a word stands for; says which names there are when it is none of them."""
    value = {"name": value} if isinstance(value, str) else value
    if isinstance(value, dict) and isinstance(value.get("name"), str) and value["name"] not in CRITERIA:
        name = value["name"]
        raise ValueError(f"unknown criterion '{name}'{suggest(name, CRITERIA) or ', one of ' + ', '.join(CRITERIA)}")
    return value


CRITERION_SPECS = {name: _spec(name, criterion) for name, criterion in CRITERIA.items()}
AnyCriterion = Annotated[
    reduce(or_, CRITERION_SPECS.values()),
    Field(discriminator="name"),
    BeforeValidator(_named, json_schema_input_type=Literal[tuple(CRITERIA)] | reduce(or_, CRITERION_SPECS.values())),
]


class ScheduleSpec(Part):
    """Sparsity as a function of the optimizer step: `from` at `begin`, `to` at `end`."""

    shape: Literal[SHAPES] = _DEFAULT.shape
    initial: Share = Field(_DEFAULT.initial, alias="from", ge=0.0, lt=1.0)
    to: Share = Field(_DEFAULT.to, ge=0.0, lt=1.0)
    begin: SpanField = _DEFAULT.begin
    end: SpanField = _DEFAULT.end
    every: SpanField = _DEFAULT.every
    jumps: int | None = None

    @field_validator("to")
    @classmethod
    def _grows(cls, to: float, info: ValidationInfo) -> float:
        initial = info.data.get("initial", 0.0)
        if initial > to:
            raise ValueError(f"sparsity must grow, but `from` is {initial:g} and `to` is {to:g}")
        return to

    @field_validator("end")
    @classmethod
    def _ends_last(cls, end: Span, info: ValidationInfo) -> Span:
        begin = info.data.get("begin")
        if begin is not None and begin.unit == end.unit and begin.value > end.value:
            raise ValueError(f"the schedule ends at {end}, before it begins at {begin}")
        return end

    @field_validator("every")
    @classmethod
    def _takes_time(cls, every: Span) -> Span:
        return every_of(every)

    @field_validator("jumps")
    @classmethod
    def _jumps_are_stepwise(cls, jumps: int | None, info: ValidationInfo) -> int | None:
        return jumps_of(info.data["shape"], jumps) if "shape" in info.data else jumps

    def build(self) -> Schedule:
        """The schedule for optkit.pruning."""
        return Schedule(self.shape, self.initial, self.to, self.begin, self.end, self.every, self.jumps)


def _structure(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return str(Structure.parse(text))
    except ValueError:
        if near := suggest(text, _STRUCTURES):
            raise ValueError(f"unknown structure '{text}'{near}") from None
        raise


Pattern = Annotated[str, AfterValidator(check_pattern)]


class RuleSpec(Part):
    """Which weights to remove, by what criterion, in which groups, and how fast."""

    name: str | None = Field(None, pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")
    targets: Many[Pattern] = Field(("encoder_linear",), min_length=1)
    exclude: Many[Pattern] = ()
    criterion: AnyCriterion = CRITERION_SPECS["magnitude"]()
    structure: Annotated[str, BeforeValidator(_structure, json_schema_input_type=str)] = "element"
    scope: Literal["global", "local"] = "global"
    allocate: AllocateSpec | None = None
    schedule: ScheduleSpec | None = None
    regrow: bool = False
    normalize: bool = False
    floor: Share = Field(0.0, ge=0.0, lt=1.0)
    ceiling: Share = Field(1.0, gt=0.0, le=1.0)
    permute: Many[Literal["all", *PERMUTATIONS]] | None = Field(None, min_length=1)

    @field_validator("structure")
    @classmethod
    def _the_criterion_chooses_such_groups(cls, structure: str, info: ValidationInfo) -> str:
        if info.data.get("criterion") is not None:
            check_grouping(info.data["criterion"].build(), Structure.parse(structure))
        return structure

    @field_validator("allocate")
    @classmethod
    def _there_is_something_to_allocate(cls, allocate: AllocateSpec | None, info: ValidationInfo) -> Any:
        if allocate is not None and info.data.get("scope") == "local":
            raise ValueError(
                "scope: local gives every layer the same sparsity, and this chooses one for each: remove one of the two"
            )
        if allocate is not None and getattr(info.data.get("criterion"), "name", None) == Frozen.name:
            raise ValueError("the criterion frozen adds no zeros, so there are none to allocate: remove it")
        return allocate

    @field_validator("normalize")
    @classmethod
    def _allocation_compares_no_scores(cls, normalize: bool, info: ValidationInfo) -> bool:
        if normalize and info.data.get("allocate") is not None:
            raise ValueError("compares the scores of different layers, which allocate does not: remove it")
        return normalize

    @field_validator("schedule")
    @classmethod
    def _fits_criterion_and_structure(cls, schedule: ScheduleSpec | None, info: ValidationInfo) -> ScheduleSpec | None:
        criterion, structure = info.data.get("criterion"), info.data.get("structure")
        if criterion is None or structure is None:
            return schedule
        if criterion.name == Frozen.name:
            if schedule is not None:
                raise ValueError("the criterion frozen keeps the zeros that are there and takes no schedule: remove it")
            return None
        structure, allocate = Structure.parse(structure), info.data.get("allocate")
        schedule = schedule or ScheduleSpec()
        if allocate is not None and allocate.by == "latency":
            follows_from_speedup(schedule)
            return schedule.model_copy(update={"to": None})
        if "to" not in schedule.model_fields_set and structure.max_sparsity < schedule.to:
            schedule = schedule.model_copy(update={"to": structure.max_sparsity})
        check_reach(structure, schedule.to)
        return schedule

    @field_validator("ceiling")
    @classmethod
    def _bounds_hold_the_target(cls, ceiling: float, info: ValidationInfo) -> float:
        said = info.data
        if said.get("schedule") is None or not {"scope", "normalize", "floor"} <= said.keys():
            return ceiling
        if said["schedule"].to is not None:
            check_bounds(said["scope"], said["schedule"].to, said["normalize"], said["floor"], ceiling)
        elif said["floor"] > ceiling:
            raise ValueError(f"the floor {said['floor']:g} is above the ceiling {ceiling:g}: lower the floor")
        elif said["floor"] > (most := Structure.parse(said["structure"]).max_sparsity):
            raise ValueError(
                f"the floor {said['floor']:g} is above what the structure reaches, {most:g}: lower the floor"
            )
        return ceiling

    @field_validator("permute")
    @classmethod
    def _an_order_helps(cls, permute: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if permute is not None and info.data.get("criterion") is not None and info.data.get("structure") is not None:
            check_permutation(permute, info.data["criterion"].build(), Structure.parse(info.data["structure"]))
        return permute

    def build(self) -> Rule:
        """The rule for optkit.pruning. What `allocate` chooses is not in it; by latency its `to` stands for that."""
        structure, schedule = Structure.parse(self.structure), self.schedule
        if schedule is not None and schedule.to is None:
            to = min(max(0.8 * structure.max_sparsity, self.floor), self.ceiling)
            schedule = schedule.model_copy(update={"to": to})
        return Rule(
            targets=self.targets,
            exclude=self.exclude,
            criterion=self.criterion.build(),
            structure=structure,
            scope=self.scope,
            schedule=schedule and schedule.build(),
            regrow=self.regrow,
            name=self.name or "weights",
            normalize=self.normalize,
            floor=self.floor,
            ceiling=self.ceiling,
            permute=self.permute or (),
        )
