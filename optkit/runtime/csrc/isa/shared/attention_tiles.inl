// Attention whose products are computed on the tile registers of AMX: those of queries and keys from integers, or from
// pairs of bfloat16; those of softmax and values from pairs. Nothing else differs: softmax, what is added to scores and
// all sums are as in attention.inl.
//
// Queries are one operand as they lie, features first; so are the weights of softmax, as pairs of keys; and a tile's
// values are the other as they lie. Only keys have to be transposed, tile by tile.
// Included once per translation unit, inside its unnamed namespace, after attention.inl, pairs.inl and
// blocks_tiles.inl.

/// Behind the scores in AttentionArgs::scratch: values of 32 features as bfloat16, and sums of 32 rows.
constexpr size_t kValueFloats = size_t(2 * kTileRows) * kAttentionKeys / 2;
static_assert(kAttentionKeys * kLanes + kValueFloats + 2 * kTileRows * kLanes <= kAttentionScratch);

inline float* values_of(const AttentionArgs& args) { return args.scratch + kAttentionKeys * kLanes; }
inline float* sums_of(const AttentionArgs& args) { return values_of(args) + kValueFloats; }

// What scores are products of: lanes of 32 bits, how many of them a query or a key has, and the instruction.

/// Four integers, u8 of queries and s8 of keys: k - 128, 0 for features of the heads beside. sum (q - query_zero)
/// (k - key_zero) = sum q (k - 128) + (128 - key_zero) sum (q - query_zero) - query_zero sum (k - 128).
struct FourIntegers {
    static constexpr bool kIntegers = true;

    static uint32_t count(const AttentionArgs& args) { return (args.skip + args.size + 3) / 4; }
    static Floats query(const AttentionArgs&, const float* from, uint32_t i) { return read(from + size_t(i) * kLanes); }
    static Floats key(const AttentionArgs& args, const float* from, uint32_t i) {
        return (Floats)(((Ints)read(from + size_t(i) * kLanes) ^ int32_t(0x80808080)) & own(args, i));
    }
    template <typename Sum, typename Left, typename Right>
    static void add() {
        add_products<Sum, Left, Right>();
    }
};

/// Two features as bfloat16.
struct TwoFeatures {
    static constexpr bool kIntegers = false;

    static uint32_t count(const AttentionArgs& args) { return (args.size + 1) / 2; }
    static Floats query(const AttentionArgs& args, const float* from, uint32_t i) {
        return pair_of_features(from, i, args.size);
    }
    static Floats key(const AttentionArgs& args, const float* from, uint32_t i) { return query(args, from, i); }
    template <typename Sum, typename Left, typename Right>
    static void add() {
        add_pair_products<Sum, Left, Right>();
    }
};

/// sums[row][token] = the products of 16 x kParts rows of `left`, `depth` times 64 bytes each, and of 16 x kHalves
/// tokens of `right`, 16 x depth rows of lanes. Strides are bytes from row to row, the step those from 64 bytes to the
/// next.
template <int kParts, int kHalves, typename Lane>
void multiply_tiles(const void* left, size_t left_stride, size_t left_step, const void* right, size_t right_stride,
                    uint32_t depth, float* sums) {
    const auto* rows = static_cast<const uint8_t*>(left);
    const auto* lanes = static_cast<const uint8_t*>(right);
    Sums<0, 0>::zero();
    if constexpr (kHalves == 2)
        Sums<0, 1>::zero();
    if constexpr (kParts == 2) {
        Sums<1, 0>::zero();
        if constexpr (kHalves == 2)
            Sums<1, 1>::zero();
    }
    for (; depth > 0; --depth, rows += left_step, lanes += kTileEntries * right_stride) {
        Inputs<0>::load(lanes, right_stride);
        Weights<0>::load(rows, left_stride);
        Lane::template add<Sums<0, 0>, Weights<0>, Inputs<0>>();
        if constexpr (kHalves == 2) {
            Inputs<1>::load(lanes + kTileRowBytes, right_stride);
            Lane::template add<Sums<0, 1>, Weights<0>, Inputs<1>>();
        }
        if constexpr (kParts == 2) {
            Weights<1>::load(rows + kTileRows * left_stride, left_stride);
            Lane::template add<Sums<1, 0>, Weights<1>, Inputs<0>>();
            if constexpr (kHalves == 2)
                Lane::template add<Sums<1, 1>, Weights<1>, Inputs<1>>();
        }
    }
    end_sums<0, kHalves>(reinterpret_cast<int32_t*>(sums));
    if constexpr (kParts == 2)
        end_sums<1, kHalves>(reinterpret_cast<int32_t*>(sums) + kTileRows * kLanes);
}

/// Of as many parts as `rows` need, one or two.
template <int kHalves, typename Lane>
void multiply_rows(uint32_t rows, const void* left, size_t left_stride, size_t left_step, const void* right,
                   size_t right_stride, uint32_t depth, float* sums) {
    (rows > kTileRows ? multiply_tiles<2, kHalves, Lane> : multiply_tiles<1, kHalves, Lane>)(left, left_stride,
                                                                                             left_step, right,
                                                                                             right_stride, depth, sums);
}

/// Scores of kVectors vectors of queries and of one tile of keys after the other.
template <typename Lane, int kVectors>
struct TileProducts {
    static constexpr int kHalves = kVectors * kWidth / kTileRows;
    static constexpr uint32_t kEntries = kTileEntries;
    uint32_t count, depth;         // lanes of a query or key; whole registers of them, filled up with zeros
    float *queries, *keys, *sums;  // [16 x depth][32]; [key][16 x depth]; [key][32]
    Ints of_queries[kVectors] = {};
    int32_t of_keys[kLanes];

    TileProducts(const AttentionArgs& args, int lane)
        : count(Lane::count(args)), depth((count + kEntries - 1) / kEntries), queries(args.scratch + kAttentionScratch),
          keys(queries + size_t(depth * kEntries) * kLanes), sums(sums_of(args)) {
        const float* from = static_cast<const float*>(args.query) + args.tile * args.query_stride + lane;
        for (uint32_t i = 0; i < depth * kEntries; ++i)
            for (int v = 0; v < kVectors; ++v) {
                const Floats numbers = i < count ? Lane::query(args, from + v * kWidth, i) : Floats{};
                write(queries + size_t(i) * kLanes + v * kWidth, numbers);
                if (Lane::kIntegers && i < count)
                    of_queries[v] = Quads::of((Ints{} + 0x01010101) & own(args, i)).add(of_queries[v], (Ints)numbers);
            }
        for (Ints& sum : of_queries)
            sum = (sum - int32_t(args.size) * args.query_zero) * (128 - args.key_zero);
    }

    void begin_tile(const AttentionArgs& args, uint32_t first) {
        const float* from = static_cast<const float*>(args.key) + first / args.width * args.key_stride;
        const size_t stride = depth * kEntries;
        for (uint32_t lane = 0; lane < args.width; lane += kWidth) {
            Ints sum = {};
            for (uint32_t i = 0; i < stride; i += kWidth) {
                Floats block[kWidth];
                for (uint32_t j = 0; j < uint32_t(kWidth); ++j) {
                    block[j] = i + j < count ? Lane::key(args, from + lane, i + j) : Floats{};
                    if (Lane::kIntegers)
                        sum = Quads::of((Ints)block[j]).add(sum, Ints{} + 0x01010101);
                }
                transpose(block);
                for (uint32_t j = 0; j < uint32_t(kWidth); ++j)
                    write(keys + (lane + j) * stride + i, block[j]);
            }
            sum *= -args.query_zero;
            __builtin_memcpy(of_keys + lane, &sum, sizeof sum);
        }
    }

    /// What the sums of a key, of those that were begun, are.
    Floats floats(uint32_t key, int v) const {
        const Floats found = read(sums + key * kLanes + v * kWidth);
        if (Lane::kIntegers)
            return __builtin_convertvector((Ints)found + of_queries[v] + of_keys[key], Floats);
        return found;
    }
};

/// As for the products of attention.inl; the keys from `first` to `end` are those of one tile.
template <int kRows, int kVectors, typename Lane>
__attribute__((noinline)) void write_scores(float* scores, Floats (&largest)[kVectors],
                                            const TileProducts<Lane, kVectors>& products, float scale, bool masked,
                                            uint32_t first, uint32_t end) {
    using Products = TileProducts<Lane, kVectors>;
    const float factor = scale * kLog2E;
    multiply_rows<Products::kHalves, Lane>(end - first, products.keys, products.depth * kTileRowBytes, kTileRowBytes,
                                           products.queries, kSumsStride, products.depth, products.sums);
    for (uint32_t key = 0; key < end - first; ++key, scores += kVectors * kWidth)
        for (int v = 0; v < kVectors; ++v) {
            float* at = scores + v * kWidth;
            Floats score = rounded(products.floats(key, v) * factor);
            if (masked)
                score += read(at);
            largest[v] = larger(score, largest[v]);
            write(at, score);
        }
}

/// The weights of softmax as bfloat16, as many pairs as whole registers hold.
struct TileWeights {
    using Positions = PairPositions;

    template <int kVectors>
    static void weigh(float* scores, const Floats (&largest)[kVectors], Floats (&sum)[kVectors], uint32_t keys) {
        weigh_pairs(scores, largest, sum, keys);
        const uint32_t pairs = (keys + 1) / 2, whole = (pairs + kTileEntries - 1) / kTileEntries * kTileEntries;
        __builtin_memset(scores + size_t(pairs) * kVectors * kWidth, 0,
                         size_t(whole - pairs) * kVectors * kWidth * sizeof(float));
    }

    /// All features at once.
    template <int kRows, int kVectors>
    static uint32_t add(const AttentionArgs& args, float* scores, uint32_t feature, int lane, uint32_t first,
                        uint32_t end, const Floats* correction, const Floats* factor) {
        constexpr uint32_t kFeatures = 2 * kTileRows, kKeys = 2 * kTileEntries;
        const uint32_t depth = (end - first + kKeys - 1) / kKeys;
        auto* values = reinterpret_cast<uint16_t*>(values_of(args));
        const float* sums = sums_of(args);
        // Whole registers, a tile's keys each.
        const bool in_place =
            args.bfloat16_values && args.width == kKeys && (end - first) % kKeys == 0 && args.size % kTileRows == 0;
        for (; feature < args.size; feature += kFeatures) {
            const uint32_t rows = args.size - feature < kFeatures ? args.size - feature : kFeatures;
            const void* left = values;
            size_t left_stride = kAttentionKeys * sizeof(uint16_t), left_step = kTileRowBytes;
            if (in_place) {
                left = args.value + first / kKeys * args.value_stride + size_t(feature) * kLanes;
                left_stride = kLanes * sizeof(float);
                left_step = args.value_stride * sizeof(float);
            } else {
                write_values(values, args, feature, rows, first, end, depth * kKeys);
            }
            multiply_rows<kVectors * kWidth / kTileRows, TwoFeatures>(
                rows, left, left_stride, left_step, scores, kVectors * kWidth * sizeof(float), depth, sums_of(args));
            float* target = args.target + size_t(feature) * kLanes + lane;
            for (uint32_t row = 0; row < rows; ++row)
                for (int v = 0; v < kVectors; ++v) {
                    float* at = target + size_t(row) * kLanes + v * kWidth;
                    Floats sum = read(sums + size_t(row) * kLanes + v * kWidth);
                    if (correction)
                        sum += read(at) * correction[v];
                    write(at, factor ? sum * factor[v] : sum);
                }
        }
        return args.size;
    }

private:
    /// [feature][kAttentionKeys], `whole` of them written: the weight of a key that is not there is zero, and its value
    /// might be no number. Features up to a whole register are zero.
    static void write_values(uint16_t* values, const AttentionArgs& args, uint32_t feature, uint32_t rows,
                             uint32_t first, uint32_t end, uint32_t whole) {
        const uint32_t keys = end - first;
        copy_values(values, args, feature, rows, first, end);
        for (uint32_t row = 0; row < rows; ++row)
            __builtin_memset(values + row * kAttentionKeys + keys, 0, (whole - keys) * sizeof(uint16_t));
        for (uint32_t row = rows; row % kTileRows != 0; ++row)
            __builtin_memset(values + row * kAttentionKeys, 0, whole * sizeof(uint16_t));
    }
};

template <int kVectors>
void attention_of_tiles(const AttentionArgs& args) {
    args.integers ? attention_lanes<8, kVectors, TileProducts<FourIntegers, kVectors>, TileWeights>(args, 0)
                  : attention_lanes<8, kVectors, TileProducts<TwoFeatures, kVectors>, TileWeights>(args, 0);
}

/// bfloat16 is allowed.
void attention_tiles_bf16(const AttentionArgs& args) noexcept {
    args.lanes == 16 ? attention_of_tiles<16 / kWidth>(args) : attention_of_tiles<32 / kWidth>(args);
}

/// It is not: scores of integers are exact.
void attention_tiles(const AttentionArgs& args) noexcept {
    if (!args.integers)
        return attention(args);
    args.lanes == 16 ? attention_lanes<8, 16 / kWidth, TileProducts<FourIntegers, 16 / kWidth>, FloatWeights>(args, 0)
                     : attention_lanes<8, 32 / kWidth, TileProducts<FourIntegers, 32 / kWidth>, FloatWeights>(args, 0);
}
