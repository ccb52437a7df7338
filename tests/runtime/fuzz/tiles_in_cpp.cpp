// The kernels for AMX as isa/amx compiles them, but over registers in plain C++: what its machine code is compared
// with.
#define OPTKIT_WIDTH 16

#include <immintrin.h>

#include "isa/kernels.h"

namespace optkit::isa::tiles_in_cpp {
namespace {

#include "isa/shared/avx512.inl"
#include "isa/shared/pairs.inl"
#include "isa/amx_emulated/tile_register.inl"
#include "isa/shared/blocks_tiles.inl"

#include "isa/shared/attention_tiles.inl"

constexpr auto with_tiles = joined(linear.list, tile_blocks);

constexpr Kernels make_kernels() {
    Kernels kernels = avx512_kernels();
    kernels.set_linear(with_tiles.list);
    kernels.attention = attention_tiles;
    kernels.attention_bf16 = attention_tiles_bf16;
    kernels.to_bfloat16 = to_bfloat16;
    kernels.enter = configure_tiles;
    kernels.leave = release_tiles;
    return kernels;
}

}  // namespace

extern const Kernels kernels;
constexpr Kernels kernels = make_kernels();

}  // namespace optkit::isa::tiles_in_cpp
