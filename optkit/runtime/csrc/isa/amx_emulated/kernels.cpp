// The scalar kernels, and those of AMX over emulated registers: for tests, on CPUs that have none.
#define OPTKIT_WIDTH 4

#include "isa/kernels.h"

namespace optkit::isa::amx_emulated {
namespace {

#include "isa/shared/scalar.inl"
#include "isa/shared/pairs.inl"
#include "isa/amx_emulated/tile_register.inl"
#include "isa/shared/blocks_tiles.inl"

#include "isa/shared/attention_tiles.inl"

constexpr auto with_tiles = joined(linear.list, tile_blocks);

constexpr Kernels make_kernels() {
    Kernels kernels = scalar_kernels();
    kernels.for_tests = true;
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

}  // namespace optkit::isa::amx_emulated
