// The kernels for AMX as isa/amx compiles them, but over registers in plain C++: what its machine code is compared
// with.
#define OPTKIT_WIDTH 16

#include <immintrin.h>

#include "isa/kernels.h"

namespace optkit::isa::tiles_in_cpp {
namespace {

#include "isa/shared/avx512.inl"
#include "isa/amx_emulated/tile_register.inl"
#include "isa/shared/tiles.inl"

}  // namespace

extern const Kernels kernels;
constexpr Kernels kernels = on_tiles(avx512_kernels());

}  // namespace optkit::isa::tiles_in_cpp
