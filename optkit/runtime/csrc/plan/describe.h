// Steps of a program as the plan describes them, wherever they are done.
#pragma once

#include "format/spec.h"
#include "plan/graph.h"
#include "plan/numbers.h"
#include "plan/plan.h"

namespace optkit {

/// An elementwise step whose `source`, one of those that it reads, is at hand; its numbers are copied.
Elementwise describe_elementwise(const Spec& spec, const Step& step, uint32_t source, Numbers& numbers);

/// An attention, with all that is added to its scores.
AttentionPlan describe_attention(const Spec& spec, const Graph& graph, const Step& step);

}  // namespace optkit
