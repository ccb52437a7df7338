// Pairs of bfloat16, two in each lane of a vector: how they are made, multiplied and written. With 512 bits by the
// instructions of AVX512-BF16, else in plain C++, which rounds as they do.
// Included once per translation unit, inside its unnamed namespace, after vector.inl.

#if OPTKIT_WIDTH == 16
/// The lanes of two vectors as pairs of bfloat16, rounded to the nearest, ties to even.
inline Floats pairs(Floats first, Floats second) {
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (Floats)_mm512_permutexvar_epi16(order, both);
}

/// to[lane] = the number of that lane, rounded.
inline void write_bfloat16(uint16_t* to, Floats numbers) {
    const __m256bh rounded = _mm512_cvtneps_pbh((__m512)numbers);
    __builtin_memcpy(to, &rounded, sizeof rounded);
}

/// sums + left[0] * right[0] + left[1] * right[1], in each lane.
inline Floats add_pairs(Floats sums, Floats left, Floats right) {
    return (Floats)_mm512_dpbf16_ps((__m512)sums, (__m512bh)left, (__m512bh)right);
}

/// 2^x for x <= 0, 0 below -126. Relative error 8e-5, of which rounding to bfloat16 leaves nothing.
inline Floats short_exp2(Floats x) {
    const Floats bounded = larger(x, splat(-130.0f));
    const Floats whole = (Floats)_mm512_roundscale_ps((__m512)bounded, 0), part = bounded - whole;
    Floats power = splat(0.05517167f);
    power = power * part + 0.24261112f;
    power = power * part + 0.69326099f;
    power = power * part + 0.99992807f;
    return (Floats)_mm512_scalef_ps((__m512)power, (__m512)whole);
}
#else
typedef uint32_t Words __attribute__((vector_size(4 * OPTKIT_WIDTH)));

/// The upper halves of `bits` as bfloat16, in the lower halves; no number stays none.
inline Words bfloat16_of(Floats numbers) {
    const Words bits = (Words)numbers, rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    return numbers == numbers ? rounded : (bits >> 16 | 0x40);
}

inline Floats pairs(Floats first, Floats second) { return (Floats)(bfloat16_of(first) | bfloat16_of(second) << 16); }

inline void write_bfloat16(uint16_t* to, Floats numbers) {
    const Words rounded = bfloat16_of(numbers);
    for (int lane = 0; lane < kWidth; ++lane)
        to[lane] = uint16_t(rounded[lane]);
}

inline Floats add_pairs(Floats sums, Floats left, Floats right) {
    const auto upper = [](Floats both) {
        return (Floats)((Words)both & 0xFFFF0000u);
    };
    const auto lower = [](Floats both) {
        return (Floats)((Words)both << 16);
    };
    return sums + upper(left) * upper(right) + lower(left) * lower(right);
}

inline Floats short_exp2(Floats x) { return exp2(x); }
#endif

/// Features 2i and 2i + 1 of kWidth tokens, of `features` that lie at `from`, [feature][32]; an odd last one has a zero
/// beside it.
inline Floats pair_of_features(const float* from, uint32_t i, uint32_t features) {
    from += size_t(2 * i) * kLanes;
    return pairs(read(from), 2 * i + 1 < features ? read(from + kLanes) : Floats{});
}

void to_bfloat16(float* target, uint32_t rows, int lanes) noexcept {
    for (uint32_t row = 0; row < rows; ++row, target += kLanes) {
        auto* halves = reinterpret_cast<uint16_t*>(target);
        for (int lane = 0; lane < lanes; lane += kWidth)
            write_bfloat16(halves + lane, read(target + lane));  // writes no further than was read
    }
}

/// to[row][key - first] = the values of `rows` features from `feature` on, of the tiles that hold keys `first` to
/// `end`.
inline void copy_values(uint16_t* to, const AttentionArgs& args, uint32_t feature, uint32_t rows, uint32_t first,
                        uint32_t end) {
    const float* tile = args.value + first / args.width * args.value_stride + size_t(feature) * kLanes;
    for (uint32_t key = 0; key < end - first; key += args.width, tile += args.value_stride)
        for (uint32_t row = 0; row < rows; ++row) {
            const float* from = tile + size_t(row) * kLanes;
            uint16_t* at = to + size_t(row) * kAttentionKeys + key;
            if (args.bfloat16_values)
                __builtin_memcpy(at, from, args.width * sizeof(uint16_t));
            else
                for (uint32_t i = 0; i < args.width; i += kWidth)
                    write_bfloat16(at + i, read(from + i));
        }
}

/// A pair of bfloat16 for all lanes. An integer load: as a float a compiler might take it for a number.
inline Floats broadcast_pair(const void* from) {
    int32_t pair;
    __builtin_memcpy(&pair, from, sizeof pair);
    return (Floats)(Ints{} + pair);
}

/// Weights of softmax: 2^(score - largest), rounded, as pairs of two keys, [keys / 2][kVectors], where the scores of
/// earlier keys were. `sum` is of what counts: weights that were rounded. Inlined, else `sum` lies in memory.
template <int kVectors>
__attribute__((always_inline)) inline void weigh_pairs(float* scores, const Floats (&largest)[kVectors],
                                                       Floats (&sum)[kVectors], uint32_t keys) {
    const Floats ones = (Floats)(Ints{} + 0x3F803F80);
    for (uint32_t key = 0; key < keys; key += 2)
        for (int v = 0; v < kVectors; ++v) {
            const float* from = scores + (key * kVectors + v) * kWidth;
            const Floats one = short_exp2(read(from) - largest[v]);
            const Floats other = key + 1 < keys ? short_exp2(read(from + kVectors * kWidth) - largest[v]) : Floats{};
            const Floats weights = pairs(one, other);
            sum[v] = add_pairs(sum[v], weights, ones);
            write(scores + (key / 2 * kVectors + v) * kWidth, weights);
        }
}
