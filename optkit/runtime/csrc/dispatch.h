// Which kernels this CPU can run, and which are used.
#pragma once

#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace optkit {

/// All that are compiled in, slowest first.
const std::vector<const Kernels*>& compiled();

/// Those of them that this CPU and its operating system support, slowest first.
std::vector<const Kernels*> supported();

/// The fastest supported kernels, or those that the environment variable OPTKIT_ISA names (for tests).
/// @throws std::runtime_error if OPTKIT_ISA names none that can run here.
const Kernels& chosen();

}  // namespace optkit
