// The reference, for any CPU: what the others are tested against.
#define OPTKIT_WIDTH 4

#include "isa/kernels.h"

namespace optkit::isa::scalar {
namespace {

#include "isa/shared/scalar.inl"

}  // namespace

extern const Kernels kernels;
constexpr Kernels kernels = scalar_kernels();

}  // namespace optkit::isa::scalar
