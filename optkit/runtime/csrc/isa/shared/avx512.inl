// The kernels of AVX-512 with VNNI: 16 tokens a vector, exact dot products of four in one instruction.
// Included once per translation unit, inside its unnamed namespace.

#include "isa/shared/vector.inl"
#include "isa/shared/tile.inl"

/// A vector of s8, four a lane, that are multiplied by u8 in one instruction.
struct Quads {
    Ints s8;

    static Quads of(Ints s8) { return {s8}; }
    static Quads load(const float* from) { return {(Ints)read(from)}; }
    void store(float* to) const { write(to, (Floats)s8); }

    Ints add(Ints sums, Ints u8) const { return (Ints)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)u8, (__m512i)s8); }
};

#include "isa/shared/attention.inl"

struct Dot {
    static constexpr bool kSaturatingI16 = false;

    static __m256i add(__m256i sums, __m256i panel, __m256i weights) {
        return _mm256_dpbusd_epi32(sums, panel, weights);
    }
};

#include "isa/shared/elements_256.inl"

struct Vector {
    static constexpr int kTokens = 16, kSums = 16;
    using Type = __m512i;
    static Type load(const void* from) { return _mm512_loadu_si512(from); }
    static Type broadcast(int32_t number) { return _mm512_set1_epi32(number); }
    static void broadcast4(const int32_t* from, Type (&to)[4]) {
        const Type all = _mm512_broadcast_i32x4(load128(from));
        to[0] = _mm512_shuffle_epi32(all, _MM_PERM_AAAA);
        to[1] = _mm512_shuffle_epi32(all, _MM_PERM_BBBB);
        to[2] = _mm512_shuffle_epi32(all, _MM_PERM_CCCC);
        to[3] = _mm512_shuffle_epi32(all, _MM_PERM_DDDD);
    }
    static Type add(Type sums, Type panel, Type weights) { return _mm512_dpbusd_epi32(sums, panel, weights); }
    static void store(void* to, Type value) { _mm512_storeu_si512(to, value); }
};

#include "isa/shared/blocks.inl"
#include "isa/shared/single.inl"
#include "isa/shared/peak.inl"

constexpr LinearKernel blocks[] = {kBlock4<1, 4>, kBlock4<2, 4>, kBlock4<4, 2>};
constexpr auto linear = joined(blocks, gathered);

constexpr Kernels avx512_kernels() {
    Kernels kernels = tile_kernels();
    kernels.saturating_i16 = Dot::kSaturatingI16;
    kernels.set_linear(linear.list);
    kernels.attention = attention;
    kernels.peak = peak<8, block4<4, 2>>;
    return kernels;
}
