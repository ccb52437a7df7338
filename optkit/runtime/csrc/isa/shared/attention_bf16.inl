// Attention whose products are of bfloat16 with float32 sums, two of them in one instruction: those of queries and
// keys, where they are no integers, and those of softmax and values. Softmax itself and all sums are float32. Included
// once per translation unit, inside its unnamed namespace, after attention.inl.

/// The lanes of two vectors as pairs of bfloat16, rounded to the nearest, ties to even.
inline Floats pairs(Floats first, Floats second) {
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (Floats)_mm512_permutexvar_epi16(order, both);
}

inline Floats add_pairs(Floats sums, Floats left, Floats right) {
    return (Floats)_mm512_dpbf16_ps((__m512)sums, (__m512bh)left, (__m512bh)right);
}

/// A pair of bfloat16 for all lanes. An integer load: as a float a compiler might take it for a number.
inline Floats broadcast_pair(const void* from) {
    int32_t pair;
    __builtin_memcpy(&pair, from, sizeof pair);
    return (Floats)(Ints{} + pair);
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

/// to[feature / 2][32] = pairs of the features of a tile's first `lanes` tokens; an odd last feature has a zero beside
/// it.
inline void write_pairs(float* to, const float* from, uint32_t features, int lanes) {
    for (uint32_t feature = 0; feature < features; feature += 2, from += 2 * kLanes, to += kLanes)
        for (int lane = 0; lane < lanes; lane += kWidth)
            write(to + lane, pairs(read(from + lane), feature + 1 < features ? read(from + kLanes + lane) : Floats{}));
}

/// Queries and keys as pairs of bfloat16, [feature / 2][32][2].
struct PairProducts {
    using Sums = Floats;
    using Queries = Floats;
    using Key = Floats;
    uint32_t width, count;
    float *queries, *keys;  // of one tile

    PairProducts(const AttentionArgs& args, int)
        : width(args.width), count((args.size + 1) / 2), queries(args.scratch + kAttentionScratch),
          keys(queries + size_t(count) * kLanes) {
        write_pairs(queries, static_cast<const float*>(args.query) + args.tile * args.query_stride, args.size,
                    args.lanes);
    }

    void begin_tile(const AttentionArgs& args, uint32_t first) {
        write_pairs(keys, static_cast<const float*>(args.key) + first / args.width * args.key_stride, args.size,
                    int(args.width));
    }
    const float* key(uint32_t number) const { return keys + number % width; }
    Queries vector(uint32_t i, int v) const { return read(queries + size_t(i) * kLanes + v * kWidth); }
    static Key number(const float* from) { return broadcast_pair(from); }
    Sums begin(uint32_t, int) const { return Sums{}; }
    static Sums add(Sums sums, Queries queries, Key key) { return add_pairs(sums, queries, key); }
    static Floats floats(Sums sums) { return sums; }
};

/// add_values of attention.inl, with the weights of two keys as pairs, and values that become bfloat16 in `converted`,
/// [kRows][kAttentionKeys].
template <int kRows, int kVectors>
__attribute__((noinline)) uint32_t add_value_pairs(const AttentionArgs& args, const float* scores, uint16_t* converted,
                                                   uint32_t feature, uint32_t first, uint32_t end,
                                                   const Floats* correction, const Floats* factor) {
    for (; feature + kRows <= args.size; feature += kRows) {
        const uint32_t keys = end - first;
        const float* tile = args.value + first / args.width * args.value_stride + size_t(feature) * kLanes;
        for (uint32_t key = 0; key < keys; key += args.width, tile += args.value_stride)
            for (int j = 0; j < kRows; ++j)
                for (uint32_t i = 0; i < args.width; i += kWidth) {
                    const __m256bh numbers = _mm512_cvtneps_pbh((__m512)read(tile + j * kLanes + i));
                    __builtin_memcpy(converted + j * kAttentionKeys + key + i, &numbers, sizeof numbers);
                }
        // The weight of a key that is not there is zero; its value might be no number.
        for (int j = 0; keys % 2 != 0 && j < kRows; ++j)
            converted[j * kAttentionKeys + keys] = 0;

        Floats sums[kRows][kVectors];
        for (auto& row : sums)
            for (Floats& sum : row)
                sum = Floats{};
        const float* weights = scores;
        const uint16_t* values = converted;
        do {
            Floats along[kVectors];
            for (int v = 0; v < kVectors; ++v)
                along[v] = read(weights + v * kWidth);
            for (int j = 0; j < kRows; ++j) {
                const Floats pair = broadcast_pair(values + j * kAttentionKeys);
                for (int v = 0; v < kVectors; ++v)
                    sums[j][v] = add_pairs(sums[j][v], along[v], pair);
            }
            weights += kVectors * kWidth;
            values += 2;
        } while (values < converted + keys);
        float* target = args.target + size_t(feature) * kLanes;
        for (int j = 0; j < kRows; ++j)
            for (int v = 0; v < kVectors; ++v) {
                float* at = target + j * kLanes + v * kWidth;
                if (correction)
                    sums[j][v] += read(at) * correction[v];
                write(at, factor ? sums[j][v] * factor[v] : sums[j][v]);
            }
    }
    return feature;
}

/// The weights of softmax as bfloat16.
struct PairWeights {
    /// The pairs of two keys' weights, where the scores of earlier keys were. `sum` is of what counts: weights that
    /// were rounded.
    template <int kVectors>
    static void weigh(float* scores, const Floats (&largest)[kVectors], Floats (&sum)[kVectors], uint32_t keys) {
        const Floats ones = (Floats)(Ints{} + 0x3F803F80);
        for (uint32_t key = 0; key < keys; key += 2)
            for (int v = 0; v < kVectors; ++v) {
                const float* from = scores + (key * kVectors + v) * kWidth;
                const Floats one = short_exp2(read(from) - largest[v]);
                const Floats other =
                    key + 1 < keys ? short_exp2(read(from + kVectors * kWidth) - largest[v]) : Floats{};
                const Floats weights = pairs(one, other);
                sum[v] = add_pairs(sum[v], weights, ones);
                write(scores + (key / 2 * kVectors + v) * kWidth, weights);
            }
    }

    template <int kRows, int kVectors>
    static uint32_t add(const AttentionArgs& args, float* scores, uint32_t feature, int, uint32_t first, uint32_t end,
                        const Floats* correction, const Floats* factor) {
        auto* values = reinterpret_cast<uint16_t*>(scores + kAttentionKeys * kVectors * kWidth);
        return add_value_pairs<kRows, kVectors>(args, scores, values, feature, first, end, correction, factor);
    }
};

void attention_bf16(const AttentionArgs& args) noexcept {
    args.lanes == 16 ? attention_tile<16, 1, PairProducts, PairWeights>(args, 0)
                     : attention_tile<8, 2, PairProducts, PairWeights>(args, 0);
}
