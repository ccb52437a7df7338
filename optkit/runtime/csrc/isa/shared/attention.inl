// Attention of one head for one tile of queries. Keys and values are read where the linear layers left them, features
// first: a score is a sum over features of (one key's number) x (a vector of queries), and so is the result over keys.
// No transposition and no sum across a vector anywhere; the softmax of each query runs down a column.
//
// Softmax and the sum over values go through the keys once, some at a time: a larger score than any before scales what
// was added up so far (Milakov, Gimelshein 2018, https://arxiv.org/abs/1805.02867).
// Included once per translation unit, inside its unnamed namespace, after vector.inl and tile.inl.

/// A vector of queries, and numbers of keys: float32 [feature][32].
struct FloatProducts {
    using Sums = Floats;
    static constexpr uint32_t kFeatures = 1;  // that one product takes

    static Sums vectors(const float* from) { return read(from); }
    static Sums add(Sums sums, Sums queries, const float* key) { return sums + *key * queries; }
    static Floats floats(Sums sums) { return sums; }
};

/// The same as pairs of int16, [feature / 2][32][2].
struct IntegerProducts {
    using Sums = Ints;
    static constexpr uint32_t kFeatures = 2;

    static Sums vectors(const float* from) { return (Ints)read(from); }
    static Sums add(Sums sums, Sums queries, const float* key) {
        int32_t pair;
        __builtin_memcpy(&pair, key, sizeof pair);
        return add_products(sums, queries, Ints{} + pair);
    }
    static Floats floats(Sums sums) { return __builtin_convertvector(sums, Floats); }
};

/// What the mask adds to a query's scores of kWidth keys from `key` on, as powers of two; 0 from `keys` on.
inline Floats mask_of_keys(const MaskView& mask, size_t query, uint32_t key, uint32_t keys) {
    const size_t first = query * mask.query_stride + key * mask.key_stride;
    const uint32_t count = keys - key < uint32_t(kWidth) ? keys - key : uint32_t(kWidth);
    if (mask.boolean) {
        const uint8_t* from = static_cast<const uint8_t*>(mask.data) + first;
        Bytes bytes;
        if (mask.key_stride == 0)
            bytes = Bytes{} + *from;
        else if (count == uint32_t(kWidth))
            __builtin_memcpy(&bytes, from, sizeof bytes);
        else
            for (uint32_t i = 0; i < uint32_t(kWidth); ++i)
                bytes[i] = i < count ? from[i] : 1;
        return __builtin_convertvector(bytes, Ints) != 0 ? Floats{} : splat(-__builtin_inff());
    }
    const float* from = static_cast<const float*>(mask.data) + first;
    Floats numbers = {};
    if (mask.key_stride == 0)
        numbers = splat(*from);
    else if (count == uint32_t(kWidth))
        numbers = read(from);
    else
        for (uint32_t i = 0; i < count; ++i)
            numbers[i] = from[i];
    // Bounded, so that "the lowest number there is" stays one when it is scaled: then all keys count alike.
    return larger(splat(-2.0e38f), numbers) * kLog2E;
}

/// Whether the mask is the same for all queries of the tile, from `key` up to `end`.
inline bool same_for_all_queries(const MaskView& mask, int queries, uint32_t key, uint32_t end) {
    if (mask.query_stride == 0)
        return true;
    const size_t bytes = mask.boolean ? 1 : sizeof(float), row = mask.query_stride * bytes;
    const char* data = static_cast<const char*>(mask.data) + key * mask.key_stride * bytes;
    for (int query = 1; query < queries; ++query)
        if (__builtin_memcmp(data, data + query * row, (mask.key_stride ? end - key : 1) * bytes) != 0)
            return false;
    return true;
}

/// scores[key][lanes] = what the mask adds to the scores of kVectors vectors of queries from `lane` on. Returns the end
/// of the keys that have to be looked at: the last ones, such as padding, may take part in no query.
template <int kVectors>
uint32_t write_mask(float* scores, const AttentionArgs& args, int lane, uint32_t first, uint32_t end) {
    const bool same = same_for_all_queries(args.mask, args.queries, first, end);
    if (same && args.mask.boolean && args.mask.key_stride) {
        const uint8_t* row = static_cast<const uint8_t*>(args.mask.data);
        while (end - first > 1 && !row[end - 1])
            --end;
    }
    for (uint32_t key = first; key < end; key += kWidth, scores += kWidth * kVectors * kWidth)
        if (same) {
            const Floats numbers = mask_of_keys(args.mask, 0, key, end);
            for (int i = 0; i < kWidth; ++i)
                for (int v = 0; v < kVectors; ++v)
                    write(scores + (i * kVectors + v) * kWidth, splat(numbers[i]));
        } else {
            for (int v = 0; v < kVectors; ++v) {
                Floats rows[kWidth];
                for (int i = 0; i < kWidth; ++i) {
                    const int query = lane + v * kWidth + i;
                    rows[i] = query < args.queries ? mask_of_keys(args.mask, size_t(query), key, end) : Floats{};
                }
                transpose(rows);
                for (int i = 0; i < kWidth; ++i)
                    write(scores + (i * kVectors + v) * kWidth, rows[i]);
            }
        }
    return end;
}

/// The scores of keys `first` to `end`, as powers of two, added to what `scores` holds if there is a mask. Not inlined,
/// as what follows it: a compiler that sees all at once runs out of registers in the inner loops.
template <typename Products, int kRows, int kVectors>
__attribute__((noinline)) void write_scores(float* scores, Floats (&largest)[kVectors], const AttentionArgs& args,
                                            int lane, uint32_t first, uint32_t end) {
    // 2^x instead of e^x: the factor goes into the scores' scale.
    const float factor = args.scale * kLog2E;
    const float* queries = static_cast<const float*>(args.query) + args.tile * args.query_stride + lane;
    const uint32_t count = args.size / Products::kFeatures;
    const bool masked = args.mask.data;
    Floats most[kVectors];
    for (int v = 0; v < kVectors; ++v)
        most[v] = largest[v];
    for (uint32_t key = first; key < end; key += kRows, scores += kRows * kVectors * kWidth) {
        // kRows divides a tile's width, so these keys lie in one tile.
        const float* keys = static_cast<const float*>(args.key) + key / args.width * args.key_stride + key % args.width;
        typename Products::Sums sums[kRows][kVectors];
        for (auto& row : sums)
            for (auto& sum : row)
                sum = typename Products::Sums{};
        uint32_t i = 0;
        do {
            typename Products::Sums along[kVectors];
            for (int v = 0; v < kVectors; ++v)
                along[v] = Products::vectors(queries + size_t(i) * kLanes + v * kWidth);
            for (int j = 0; j < kRows; ++j)
                for (int v = 0; v < kVectors; ++v)
                    sums[j][v] = Products::add(sums[j][v], along[v], keys + size_t(i) * kLanes + j);
        } while (++i < count);
        for (int j = 0; j < kRows; ++j)
            if (key + j < end)  // the tile may hold fewer
                for (int v = 0; v < kVectors; ++v) {
                    float* at = scores + (j * kVectors + v) * kWidth;
                    Floats score = Products::floats(sums[j][v]) * factor;
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

/// The queries of kVectors vectors from `lane`, kRows keys or features at a time.
template <int kRows, int kVectors>
void attention_lanes(const AttentionArgs& args, int lane) {
    float* scores = args.scratch;
    Floats largest[kVectors], sum[kVectors] = {};
    for (int v = 0; v < kVectors; ++v)
        largest[v] = splat(-3.0e38f);
    for (uint32_t first = 0; first < args.length; first += kAttentionKeys) {
        const bool last = args.length - first <= kAttentionKeys;
        uint32_t end = last ? args.length : first + kAttentionKeys;
        if (args.mask.data)
            end = write_mask<kVectors>(scores, args, lane, first, end);
        Floats correction[kVectors], inverse[kVectors];
        for (int v = 0; v < kVectors; ++v)
            correction[v] = largest[v];
        (args.integers ? write_scores<IntegerProducts, kRows, kVectors>
                       : write_scores<FloatProducts, kRows, kVectors>)(scores, largest, args, lane, first, end);
        for (int v = 0; first > 0 && v < kVectors; ++v) {
            correction[v] = exp2(correction[v] - largest[v]);
            sum[v] *= correction[v];
        }
        for (uint32_t key = 0; key < end - first; ++key)
            for (int v = 0; v < kVectors; ++v) {
                float* at = scores + (key * kVectors + v) * kWidth;
                const Floats weight = exp2(read(at) - largest[v]);
                sum[v] += weight;
                write(at, weight);
            }
        for (int v = 0; v < kVectors; ++v)  // no key takes part: zeros
            inverse[v] = sum[v] > 0.0f ? 1.0f / sum[v] : Floats{};
        const Floats *scale = first > 0 ? correction : nullptr, *factor = last ? inverse : nullptr;
        uint32_t rest = add_values<kRows, kVectors>(args, scores, 0, lane, first, end, scale, factor);
        if (rest < args.size)
            rest = add_values<kRows / 2, kVectors>(args, scores, rest, lane, first, end, scale, factor);
        if (rest < args.size)
            add_values<1, kVectors>(args, scores, rest, lane, first, end, scale, factor);
    }
}

void attention(const AttentionArgs& args) noexcept {
    // Eight sums at once hide the latency of an FMA.
    if (kWidth == 16 && args.lanes == 16)
        return attention_lanes<8, 1>(args, 0);
    constexpr int kVectors = kWidth == 16 ? 2 : 16 / kWidth;
    for (int lane = 0; lane < args.lanes; lane += kVectors * kWidth)
        attention_lanes<kWidth == 16 ? 8 : 4, kVectors>(args, lane);
}
