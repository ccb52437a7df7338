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
    static Quads load(const float* from) { return {(Ints)read(from)}; }
    void store(float* to) const { write(to, (Floats)s8); }

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
    static void broadcast4(const int32_t* from, Type (&to)[4]) {
        const Type all = _mm256_broadcastsi128_si256(load128(from));
        to[0] = _mm256_shuffle_epi32(all, 0x00);
        to[1] = _mm256_shuffle_epi32(all, 0x55);
        to[2] = _mm256_shuffle_epi32(all, 0xaa);
        to[3] = _mm256_shuffle_epi32(all, 0xff);
    }
    static Type add(Type sums, Type panel, Type weights) { return Dot::add(sums, panel, weights); }
    static void store(void* to, Type value) { store256(to, value); }
};

#include "isa/shared/blocks.inl"
#include "isa/shared/single.inl"
#include "isa/shared/peak.inl"

constexpr LinearKernel blocks[] = {kBlock4<1, 2>, kBlock4<2, 2>, kBlock4<4, 1>};
constexpr auto linear = joined(blocks, gathered);

constexpr Kernels make_kernels() {
    Kernels kernels = tile_kernels();
    kernels.saturating_i16 = Dot::kSaturatingI16;
    kernels.set_linear(linear.list);
    kernels.attention = attention;
    kernels.peak = peak<4, block4<4, 1>>;
    return kernels;
}

}  // namespace

extern const Kernels kernels;
constexpr Kernels kernels = make_kernels();

}  // namespace optkit::isa::avxvnni
