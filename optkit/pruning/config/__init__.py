"""What a pruning rule says, without torch: criteria, structures, schedules, rules.

The recipe builds these objects from YAML and the callback takes them as they are, so a rule means the same in both.
``sparsity`` is the share of zeros, always in [0, 1].
"""

from optkit.pruning.config.criteria import (
    CRITERIA,
    ONE_SHOT,
    TRAINED,
    Criterion,
    FisherSearch,
    Frozen,
    Magnitude,
    Movement,
    Obert,
    Random,
    Reconstruction,
    SoftMovement,
    Taylor,
    Wanda,
    check_movement,
)
from optkit.pruning.config.rule import (
    PERMUTATIONS,
    Rule,
    check_bounds,
    check_grouping,
    check_occasion,
    check_permutation,
    check_reach,
)
from optkit.pruning.config.schedule import (
    SHAPES,
    Schedule,
    Span,
    every_of,
    jumps_of,
)
from optkit.pruning.config.structure import STRUCTURES, Structure

__all__ = [
    "CRITERIA",
    "Criterion",
    "FisherSearch",
    "Frozen",
    "Magnitude",
    "Movement",
    "ONE_SHOT",
    "Obert",
    "PERMUTATIONS",
    "Random",
    "Reconstruction",
    "Rule",
    "SHAPES",
    "STRUCTURES",
    "Schedule",
    "SoftMovement",
    "Span",
    "Structure",
    "TRAINED",
    "Taylor",
    "Wanda",
    "check_bounds",
    "check_grouping",
    "check_movement",
    "check_occasion",
    "check_permutation",
    "check_reach",
    "every_of",
    "jumps_of",
]
