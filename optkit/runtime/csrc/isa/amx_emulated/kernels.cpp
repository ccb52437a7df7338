// The scalar kernels, and those of AMX over emulated registers: for tests, on CPUs that have none.
#define OPTKIT_WIDTH 4

#include "isa/kernels.h"

namespace optkit::isa::amx_emulated {
namespace {

#include "isa/shared/scalar.inl"
#include "isa/amx_emulated/tile_register.inl"
#include "isa/shared/tiles.inl"

constexpr Kernels make_kernels() {
    Kernels kernels = on_tiles(scalar_kernels());
    kernels.for_tests = true;
    return kernels;
}

}  // namespace

extern const Kernels kernels;
constexpr Kernels kernels = make_kernels();

}  // namespace optkit::isa::amx_emulated
