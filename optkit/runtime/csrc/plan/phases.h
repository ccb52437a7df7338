// Which actions of a segment can be done at the same time.
#pragma once

#include "plan/plan.h"

namespace optkit {

/// Fills Segment::phase_of and Segment::phases: an action that reads what another of its segment writes is in a later
/// phase, and phases never fall along the actions.
void find_phases(Plan& plan);

}  // namespace optkit
