// Attention whose products are of bfloat16 with float32 sums, two of them in one instruction: those of queries and
// keys, where they are no integers, and those of softmax and values. Softmax itself and all sums are float32. Included
// once per translation unit, inside its unnamed namespace, after attention.inl and pairs.inl.

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
        write_pairs(queries, static_cast<const float*>(args.query) + args.tile * args.query_stride, args, args.lanes);
    }

    void begin_tile(const AttentionArgs& args, uint32_t first) {
        write_pairs(keys, static_cast<const float*>(args.key) + first / args.width * args.key_stride, args,
                    int(args.width));
    }
    const float* key(uint32_t number) const { return keys + number % width; }
    Queries vector(uint32_t i, int v) const { return read(queries + size_t(i) * kLanes + v * kWidth); }
    static Key number(const float* from) { return broadcast_pair(from); }
    Sums begin(uint32_t, int) const { return Sums{}; }
    static Sums add(Sums sums, Queries queries, Key key) { return add_pairs(sums, queries, key); }
    static Floats floats(Sums sums) { return sums; }

private:
    /// Of a tile's first `lanes` tokens.
    static void write_pairs(float* to, const float* from, const AttentionArgs& args, int lanes) {
        for (uint32_t i = 0; i < (args.size + 1) / 2; ++i, to += kLanes)
            for (int lane = 0; lane < lanes; lane += kWidth)
                write(to + lane, pair_of_features(from + lane, i, args.size));
    }
};

/// add_values of attention.inl, with the weights of two keys as pairs, and values of bfloat16: as they lie, or copied
/// to [kRows][kAttentionKeys].
template <int kRows, int kVectors>
__attribute__((noinline)) uint32_t add_value_pairs(const AttentionArgs& args, const float* scores, uint16_t* copy,
                                                   uint32_t feature, uint32_t first, uint32_t end,
                                                   const Floats* correction, const Floats* factor) {
    const uint32_t keys = end - first;
    const bool copied = !args.bfloat16_values || keys % 2 != 0;
    // Of 16-bit numbers, from feature to feature and from tile to tile.
    const size_t row_stride = copied ? kAttentionKeys : 2 * kLanes;
    const size_t tile_stride = copied ? args.width : 2 * args.value_stride;
    for (; feature + kRows <= args.size; feature += kRows) {
        const uint16_t* tile = copy;
        if (copied) {
            copy_values(copy, args, feature, kRows, first, end);
            // The weight of a key that is not there is zero; its value might be no number.
            for (int j = 0; keys % 2 != 0 && j < kRows; ++j)
                copy[j * kAttentionKeys + keys] = 0;
        } else {
            tile = reinterpret_cast<const uint16_t*>(args.value + first / args.width * args.value_stride +
                                                     size_t(feature) * kLanes);
        }
        Floats sums[kRows][kVectors];
        for (auto& row : sums)
            for (Floats& sum : row)
                sum = Floats{};
        const float* weights = scores;
        for (uint32_t key = 0; key < keys; key += args.width, tile += tile_stride) {
            const uint16_t *values = tile, *behind = tile + (keys - key < args.width ? keys - key : args.width);
            do {
                Floats along[kVectors];
                for (int v = 0; v < kVectors; ++v)
                    along[v] = read(weights + v * kWidth);
                for (int j = 0; j < kRows; ++j) {
                    const Floats pair = broadcast_pair(values + j * row_stride);
                    for (int v = 0; v < kVectors; ++v)
                        sums[j][v] = add_pairs(sums[j][v], along[v], pair);
                }
                weights += kVectors * kWidth;
                values += 2;
            } while (values < behind);
        }
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
    using Positions = PairPositions;

    template <int kVectors>
    static void weigh(float* scores, const Floats (&largest)[kVectors], Floats (&sum)[kVectors], uint32_t keys) {
        weigh_pairs(scores, largest, sum, keys);
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
