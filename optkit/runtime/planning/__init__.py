"""Decides for each linear layer of a model whether the sparse runtime takes it, and with which kernel.

``static`` plans come from a cost model, ``measured`` ones from the clock; both are explained, layer by layer.
"""

from optkit.runtime.planning.applying import apply, compile_config
from optkit.runtime.planning.making import make_plan, plan
from optkit.runtime.planning.plan import LayerPlan, Plan

__all__ = ["LayerPlan", "Plan", "apply", "compile_config", "make_plan", "plan"]
