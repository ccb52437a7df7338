// What tile registers add to the kernels of a set: products of int8 and attention.
// Included once per translation unit, inside its unnamed namespace, after the set's own kernels and a
// tile_register.inl.

#include "isa/shared/pairs.inl"

#include "isa/shared/relative_bf16.inl"

#include "isa/shared/blocks_tiles.inl"

#include "isa/shared/attention_tiles.inl"

constexpr auto with_tiles = joined(linear.list, tile_blocks);

constexpr Kernels on_tiles(Kernels kernels) {
    kernels.set_linear(with_tiles.list);
    kernels.attention = attention_tiles;
    kernels.attention_bf16 = attention_tiles_bf16;
    kernels.to_bfloat16 = to_bfloat16;
    kernels.enter = configure_tiles;
    kernels.leave = release_tiles;
    return kernels;
}
