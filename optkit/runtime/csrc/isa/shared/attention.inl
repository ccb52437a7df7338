// Attention of one head for one tile of queries. Keys and values are read where the linear layers left them, features
// first: a score is a sum over features of (one key's number) x (a vector of queries), and so is the result over keys.
// No transposition and no sum across a vector anywhere; the softmax of each query runs down a column.
//
// Softmax and the sum over values go through the keys once, some at a time: a larger score than any before scales what
// was added up so far (Milakov, Gimelshein 2018, https://arxiv.org/abs/1805.02867).
// Included once per translation unit, inside its unnamed namespace, after vector.inl and tile.inl.

// What scores are made of: vectors of queries, numbers of keys, and how their products add up.

/// float32, [feature][32].
struct FloatProducts {
    using Sums = Floats;
    using Queries = Floats;
    using Key = float;
    const float *queries, *keys;  // of the first lane; of the first tile
    size_t key_stride;
    uint32_t width, count;

    FloatProducts(const AttentionArgs& args, int lane)
        : queries(static_cast<const float*>(args.query) + args.tile * args.query_stride + lane),
          keys(static_cast<const float*>(args.key)), key_stride(args.key_stride), width(args.width), count(args.size) {}

    /// Before the scores of a tile, whose first key is number `first`.
    void begin_tile(const AttentionArgs&, uint32_t) {}
    /// A sum's first value, for a vector of queries and a key.
    Sums begin(uint32_t, int) const { return Sums{}; }
    const float* key(uint32_t number) const { return keys + number / width * key_stride + number % width; }
    Queries vector(uint32_t i, int v) const { return read(queries + size_t(i) * kLanes + v * kWidth); }
    static Key number(const float* from) { return *from; }
    static Sums add(Sums sums, Queries queries, Key key) { return sums + key * queries; }
    static Floats floats(Sums sums) { return sums; }
};

/// The bytes of group `i` of four features that are the head's.
inline int32_t own(const AttentionArgs& args, uint32_t i) {
    const uint32_t first = i == 0 ? args.skip : 0, left = args.skip + args.size - 4 * i;
    const uint32_t until = left < 4 ? (1u << 8 * left) - 1 : ~0u;
    return int32_t(until & (~0u << 8 * first));
}

/// u8, [feature / 4][32][4]. With q' = q - 128, which fits s8: sum (q - query_zero) (k - key_zero) = sum q' k
/// + (128 - query_zero) sum k - key_zero sum (q - query_zero), so only sums over one of the two are to be added.
template <int kVectors>
struct IntegerProducts {
    using Sums = Ints;
    using Queries = Quads;
    using Key = Ints;
    const float *queries, *keys;
    size_t key_stride;
    uint32_t width, count;
    Ints of_queries[kVectors];
    int32_t of_keys[kAttentionKeys];

    IntegerProducts(const AttentionArgs& args, int lane)
        : queries(args.scratch + kAttentionScratch), keys(static_cast<const float*>(args.key)),
          key_stride(args.key_stride), width(args.width), count((args.skip + args.size + 3) / 4) {
        const float* from = static_cast<const float*>(args.query) + args.tile * args.query_stride + lane;
        Ints sums[kVectors] = {};
        for (uint32_t i = 0; i < count; ++i)
            for (int v = 0; v < kVectors; ++v) {
                // Features of the heads beside are multiplied by 0.
                const Quads numbers = Quads::of(
                    ((Ints)read(from + size_t(i) * kLanes + v * kWidth) ^ int32_t(0x80808080)) & own(args, i));
                sums[v] = numbers.add(sums[v], Ints{} + 0x01010101);
                numbers.store(args.scratch + kAttentionScratch + (size_t(i) * kVectors + v) * kFloats);
            }
        const int32_t distance = 128 - args.query_zero;
        for (int v = 0; v < kVectors; ++v)
            of_queries[v] = (sums[v] + int32_t(args.size) * distance) * -args.key_zero;
        __builtin_memset(of_keys, 0, sizeof of_keys);
    }

    void begin_tile(const AttentionArgs& args, uint32_t first) {
        if (args.query_zero == 128)
            return;
        for (uint32_t lane = 0; lane < width; lane += kWidth) {
            Ints sums = {};
            for (uint32_t i = 0; i < count; ++i)
                sums = Quads::of((Ints{} + 0x01010101) & own(args, i))
                           .add(sums, (Ints)read(key(first) + size_t(i) * kLanes + lane));
            sums *= 128 - args.query_zero;
            __builtin_memcpy(of_keys + first % kAttentionKeys + lane, &sums, sizeof sums);
        }
    }

    const float* key(uint32_t number) const { return keys + number / width * key_stride + number % width; }
    Queries vector(uint32_t i, int v) const { return Quads::load(queries + (size_t(i) * kVectors + v) * kFloats); }
    static Key number(const float* from) {
        int32_t quad;
        __builtin_memcpy(&quad, from, sizeof quad);
        return Ints{} + quad;
    }
    Sums begin(uint32_t key, int v) const { return of_queries[v] + of_keys[key % kAttentionKeys]; }
    static Sums add(Sums sums, Queries queries, Key key) { return queries.add(sums, key); }
    static Floats floats(Sums sums) { return __builtin_convertvector(sums, Floats); }

private:
    static constexpr size_t kFloats = sizeof(Quads) / sizeof(float);
};

#include "isa/shared/masks.inl"
#include "isa/shared/relative.inl"

/// scores[key][lanes] = all that is added to the scores of kVectors vectors of queries from `lane` on, as powers of
/// two. Returns the end of the keys that have to be looked at.
template <int kVectors, typename Positions>
uint32_t write_added(float* scores, const AttentionArgs& args, int lane, uint32_t first, uint32_t end) {
    if (args.mask.data)
        end = write_mask<kVectors, false>(scores, args.mask, args, lane, first, end);
    else
        __builtin_memset(scores, 0, size_t(end - first) * kVectors * kWidth * sizeof(float));
    if (args.bias.data)
        write_mask<kVectors, true>(scores, args.bias, args, lane, first, end);
    for (uint32_t i = 0; i < args.relative_count; ++i)
        add_positions<kVectors, Positions>(scores, args.relatives[i], args, lane, first, end);
    return end;
}

/// The scores of keys `first` to `end`, as powers of two, added to what `scores` holds if something is added. Not
/// inlined, as what follows it: a compiler that sees all at once runs out of registers in the inner loops.
template <int kRows, int kVectors, typename Products>
__attribute__((noinline)) void write_scores(float* scores, Floats (&largest)[kVectors], const Products& products,
                                            float scale, bool masked, uint32_t first, uint32_t end) {
    // 2^x instead of e^x: the factor goes into the scores' scale.
    const float factor = scale * kLog2E;
    const uint32_t count = products.count;
    Floats most[kVectors];
    for (int v = 0; v < kVectors; ++v)
        most[v] = largest[v];
    for (uint32_t key = first; key < end; key += kRows, scores += kRows * kVectors * kWidth) {
        // kRows divides a tile's width, so these keys lie in one tile.
        const float* keys = products.key(key);
        typename Products::Sums sums[kRows][kVectors];
        for (int j = 0; j < kRows; ++j)
            for (int v = 0; v < kVectors; ++v)
                sums[j][v] = products.begin(key + j, v);
        uint32_t i = 0;
        do {
            for (int j = 0; j < kRows; ++j)
                for (int v = 0; v < kVectors; ++v)
                    sums[j][v] = Products::add(sums[j][v], products.vector(i, v),
                                               Products::number(keys + size_t(i) * kLanes + j));
        } while (++i < count);
        for (int j = 0; j < kRows; ++j)
            if (key + j < end)  // the tile may hold fewer
                for (int v = 0; v < kVectors; ++v) {
                    float* at = scores + (j * kVectors + v) * kWidth;
                    Floats score = rounded(Products::floats(sums[j][v]) * factor);
                    if (masked)
                        score += read(at);
                    most[v] = larger(score, most[v]);
                    write(at, score);
                }
    }
    for (int v = 0; v < kVectors; ++v)
        largest[v] = most[v];
}

/// target[feature][lanes] = (target * correction + the sum of keys' values) * factor, kRows features at a time from
/// `feature` on, as long as there are so many; returns the next. Without correction what the target held does not
/// count, without factor it is 1.
template <int kRows, int kVectors>
__attribute__((noinline)) uint32_t add_values(const AttentionArgs& args, const float* scores, uint32_t feature,
                                              int lane, uint32_t first, uint32_t end, const Floats* correction,
                                              const Floats* factor) {
    for (; feature + kRows <= args.size; feature += kRows) {
        Floats sums[kRows][kVectors];
        for (auto& row : sums)
            for (Floats& sum : row)
                sum = Floats{};
        const float* weights = scores;
        const float* tile = args.value + first / args.width * args.value_stride + size_t(feature) * kLanes;
        uint32_t keys = end - first;
        do {
            const uint32_t count = keys < args.width ? keys : args.width;
            const float* values = tile;
            do {
                Floats along[kVectors];
                for (int v = 0; v < kVectors; ++v)
                    along[v] = read(weights + v * kWidth);
                for (int j = 0; j < kRows; ++j)
                    for (int v = 0; v < kVectors; ++v)
                        sums[j][v] += values[j * kLanes] * along[v];
                weights += kVectors * kWidth;
            } while (++values < tile + count);
            tile += args.value_stride;
            keys -= count;
        } while (keys > 0);
        float* target = args.target + size_t(feature) * kLanes + lane;
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

/// The weights of softmax as float32.
struct FloatWeights {
    using Positions = FloatPositions;  // with which relative positions are computed beside them

    /// scores = 2^(scores - largest), added to `sum`.
    template <int kVectors>
    static void weigh(float* scores, const Floats (&largest)[kVectors], Floats (&sum)[kVectors], uint32_t keys) {
        for (uint32_t key = 0; key < keys; ++key)
            for (int v = 0; v < kVectors; ++v) {
                float* at = scores + (key * kVectors + v) * kWidth;
                const Floats weight = exp2(read(at) - largest[v]);
                sum[v] += weight;
                write(at, weight);
            }
    }

    template <int kRows, int kVectors>
    static uint32_t add(const AttentionArgs& args, float* scores, uint32_t feature, int lane, uint32_t first,
                        uint32_t end, const Floats* correction, const Floats* factor) {
        return add_values<kRows, kVectors>(args, scores, feature, lane, first, end, correction, factor);
    }
};

/// The queries of kVectors vectors from `lane`, kRows keys or features at a time.
template <int kRows, int kVectors, typename Products, typename Weights>
void attention_lanes(const AttentionArgs& args, int lane) {
    float* scores = args.scratch;
    Products products(args, lane);
    Floats largest[kVectors], sum[kVectors] = {};
    for (int v = 0; v < kVectors; ++v)
        largest[v] = splat(-3.0e38f);
    for (uint32_t first = 0; first < args.length; first += kAttentionKeys) {
        const bool last = args.length - first <= kAttentionKeys;
        uint32_t end = last ? args.length : first + kAttentionKeys;
        if (args.added)
            end = write_added<kVectors, typename Weights::Positions>(scores, args, lane, first, end);
        Floats correction[kVectors], inverse[kVectors];
        for (int v = 0; v < kVectors; ++v)
            correction[v] = largest[v];
        for (uint32_t key = first; key < end; key += args.width) {
            products.begin_tile(args, key);
            write_scores<kRows, kVectors>(scores + (key - first) * kVectors * kWidth, largest, products, args.scale,
                                          args.added, key, end - key < args.width ? end : key + args.width);
        }
        for (int v = 0; first > 0 && v < kVectors; ++v) {
            correction[v] = exp2(correction[v] - largest[v]);
            sum[v] *= correction[v];
        }
        Weights::weigh(scores, largest, sum, end - first);
        for (int v = 0; v < kVectors; ++v)  // no key takes part: zeros
            inverse[v] = sum[v] > 0.0f ? 1.0f / sum[v] : Floats{};
        const Floats *scale = first > 0 ? correction : nullptr, *factor = last ? inverse : nullptr;
        uint32_t rest = Weights::template add<kRows, kVectors>(args, scores, 0, lane, first, end, scale, factor);
        if (rest < args.size)
            rest = Weights::template add<kRows / 2, kVectors>(args, scores, rest, lane, first, end, scale, factor);
        if (rest < args.size)
            Weights::template add<1, kVectors>(args, scores, rest, lane, first, end, scale, factor);
    }
}

template <int kRows, int kVectors, typename Products, typename Weights>
void attention_tile(const AttentionArgs& args, int lane) {
    args.integers ? attention_lanes<kRows, kVectors, IntegerProducts<kVectors>, Weights>(args, lane)
                  : attention_lanes<kRows, kVectors, Products, Weights>(args, lane);
}

void attention(const AttentionArgs& args) noexcept {
    // Eight sums at once hide the latency of an FMA.
    if (kWidth == 16 && args.lanes == 16)
        return attention_tile<8, 1, FloatProducts, FloatWeights>(args, 0);
    constexpr int kVectors = kWidth == 16 ? 2 : 16 / kWidth;
    for (int lane = 0; lane < args.lanes; lane += kVectors * kWidth)
        attention_tile<kWidth == 16 ? 8 : 4, kVectors, FloatProducts, FloatWeights>(args, lane);
}
