// AVX2 without VNNI. `vpmaddubsw` adds two u8 x s8 products in 16 bits and saturates: it is exact only as long as the
// same-signed weights of a pair add up to 128 at most (255 x 128 < 2^15). The layout guarantees that (layout.cpp halves
// the rare weights that break it), and groups entries whose 16-bit sums can be added before they are widened.
#define OPTKIT_WIDTH 8

#include <immintrin.h>

#include "isa/kernels.h"

namespace optkit::isa::avx2 {
namespace {

#include "isa/shared/vector.inl"
#include "isa/shared/tile.inl"

/// Two int16 products each, added to 32 bits.
inline Ints add_products(Ints sums, Ints a, Ints b) { return sums + (Ints)_mm256_madd_epi16((__m256i)a, (__m256i)b); }

#include "isa/shared/quads.inl"
#include "isa/shared/attention.inl"

struct Dot {
    static constexpr bool kSaturatingI16 = true;

    static __m256i widen(__m256i sums, __m256i pairs) {
        return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }

    static __m256i pairs(__m256i panel, __m256i weights) { return _mm256_maddubs_epi16(panel, weights); }

    static __m256i add(__m256i sums, __m256i panel, __m256i weights) { return widen(sums, pairs(panel, weights)); }
};

#include "isa/shared/elements_256.inl"
#include "isa/shared/blocks_16bit.inl"
#include "isa/shared/single.inl"
#include "isa/shared/peak.inl"

constexpr LinearKernel blocks[] = {kBlock4<1>, kBlock4<2>, kBlock4<4>};
constexpr auto linear = joined(blocks, gathered);

constexpr Kernels make_kernels() {
    Kernels kernels = tile_kernels();
    kernels.saturating_i16 = Dot::kSaturatingI16;
    kernels.set_linear(linear.list);
    kernels.attention = attention;
    kernels.peak = peak<4, block4<4>>;
    return kernels;
}

}  // namespace

extern const Kernels kernels;
constexpr Kernels kernels = make_kernels();

}  // namespace optkit::isa::avx2
