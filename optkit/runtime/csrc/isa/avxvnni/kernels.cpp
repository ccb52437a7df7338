// AVX-VNNI (Alder Lake, Sierra Forest, Zen 5): AVX2 with exact dot products of four in one instruction.
#define OPTKIT_WIDTH 8

#include <immintrin.h>

#include "isa/kernels.h"

namespace optkit::isa::avxvnni {
namespace {

#include "isa/shared/vector.inl"
#include "isa/shared/tile.inl"

/// A vector of s8, four a lane, that are multiplied by u8 in one instruction.
struct Quads {
    Ints s8;

    static Quads of(Ints s8) { return {s8}; }

    Ints add(Ints sums, Ints u8) const {
        return (Ints)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)u8, (__m256i)s8);
    }
};

#include "isa/shared/attention.inl"

struct Dot {
    static constexpr bool kSaturatingI16 = false;

    static __m256i add(__m256i sums, __m256i panel, __m256i weights) {
        return _mm256_dpbusd_avx_epi32(sums, panel, weights);
    }
};

#include "isa/shared/elements_256.inl"

struct Vector {
    static constexpr int kTokens = 8, kSums = 8;
    using Type = __m256i;
    static Type load(const void* from) { return load256(from); }
    static Type broadcast(int32_t number) { return _mm256_set1_epi32(number); }
    static Type add(Type sums, Type panel, Type weights) { return Dot::add(sums, panel, weights); }
    static void store(void* to, Type value) { store256(to, value); }
};

#include "isa/shared/blocks.inl"
#include "isa/shared/single.inl"
#include "isa/shared/peak.inl"

constexpr LinearKernel linear[] = {{Form::block4, 1, 2, block4<1, 2, 1>},
                                   {Form::block4, 2, 2, block4<2, 2, 2>},
                                   {Form::block4, 4, 1, block4<4, 1, 4>},
                                   {Form::block4, 8, 1, block4<8, 1, 4>},
                                   {Form::block4, 16, 1, block4<16, 1, 4>},
                                   {Form::block4, 32, 1, block4<32, 1, 4>},
                                   {Form::element, 1, 1, element},
                                   {Form::element, 4, 1, element_rows4},
                                   {Form::single, 1, 1, single},
                                   {Form::single, 4, 1, single_rows4}};

constexpr Kernels make_kernels() {
    Kernels kernels = tile_kernels();
    kernels.saturating_i16 = Dot::kSaturatingI16;
    kernels.linear = linear;
    kernels.linear_count = sizeof linear / sizeof *linear;
    kernels.attention = attention;
    kernels.peak = peak<4, block4<4, 1, 4>>;
    return kernels;
}

}  // namespace

extern const Kernels kernels;
constexpr Kernels kernels = make_kernels();

}  // namespace optkit::isa::avxvnni
