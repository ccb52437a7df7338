// The activations that a program may name. Alone in a header for the kernels' sake, which may include no more of the
// standard library than its integers (isa/kernels.h).
#pragma once

#include <cstdint>

namespace optkit {

enum class ActivationKind : uint32_t { gelu_erf = 1, gelu_tanh = 2, relu = 3, tanh = 4, sigmoid = 5, silu = 6 };

}  // namespace optkit
