// What relative positions add to scores: products of queries, or of keys, with rows of a table; the distance between
// query and key says which row (the disentangled attention of DeBERTa, He et al. 2021,
// https://arxiv.org/abs/2006.03654).
//
// Rows are broadcast to vectors of queries or keys, as keys are for the scores themselves. A product that a query and a
// key want then stands in another row for each lane, so that rows are shifted lane by lane before they are added up.
// Included once per translation unit, inside its unnamed namespace, by attention.inl.

/// What kWidth queries or keys are multiplied by, one feature, or pair of features, after the other.
struct Contents {
    const float* numbers;
    size_t apart;  // floats from one to the next
};

/// Feature `i` of a head, of kWidth queries or keys that are 8-bit numbers, less their zero.
inline Floats integer_feature(const RelativeView& view, const float* from, uint32_t i) {
    const uint32_t feature = view.skip + i;
    const Ints quads = (Ints)read(from + size_t(feature / 4) * kLanes);
    return __builtin_convertvector(((quads >> int32_t(8 * (feature % 4))) & 255) - view.zero, Floats);
}

/// The distances of queries and keys that one attention of a task meets, one for each row of products: from `first` on,
/// upwards or downwards. `count` is a multiple of kWidth.
struct Distances {
    int64_t first, step;
    uint32_t count;

    /// The row of a table, [row][features of a head], for row `row` of the products.
    const float* in_table(const RelativeView& view, const AttentionArgs& args, uint32_t row) const {
        // Lanes that hold no token ask for distances that do not occur.
        const int64_t distance = first + step * row, longest = int64_t(args.length) - 1;
        const int64_t known = distance > longest ? longest : distance < -longest ? -longest : distance;
        return view.table + size_t(view.places[known]) * args.size;
    }
};

/// Products of float32, with the rows where they lie.
struct FloatPositions {
    static constexpr int kRows = kWidth < 8 ? kWidth : 8;  // at once
    const RelativeView& view;
    const AttentionArgs& args;
    Distances distances;

    FloatPositions(const RelativeView& view, const AttentionArgs& args, Distances distances)
        : view(view), args(args), distances(distances) {}

    /// What lies at `from`, as it is or made floats in `memory`.
    Contents contents(const float* from, float* memory) const {
        if (!view.integers)
            return {from, kLanes};
        for (uint32_t i = 0; i < args.size; ++i)
            write(memory + size_t(i) * kWidth, integer_feature(view, from, i));
        return {memory, kWidth};
    }

    /// The products of rows `row` to `row` + kRows.
    void multiply(Floats (&sums)[kRows], uint32_t row, Contents vectors) const {
        const float* table[kRows];
        for (int j = 0; j < kRows; ++j)
            table[j] = distances.in_table(view, args, row + uint32_t(j));
        for (uint32_t i = 0; i < args.size; ++i) {
            const Floats along = read(vectors.numbers + size_t(i) * vectors.apart);
            OPTKIT_UNROLL
            for (int j = 0; j < kRows; ++j)
                sums[j] += table[j][i] * along;
        }
    }
};

/// products[n][kWidth] = the sum over features of a vector of contents x row `row` + n, times the scale.
template <typename Positions>
__attribute__((noinline)) void write_positions(float* products, const Positions& positions, Contents vectors,
                                               uint32_t row, uint32_t count) {
    constexpr int kRows = Positions::kRows;
    const float factor = positions.view.scale * kLog2E;
    for (const uint32_t end = row + count; row < end; row += kRows, products += kRows * kWidth) {
        Floats sums[kRows] = {};
        positions.multiply(sums, row, vectors);
        OPTKIT_UNROLL
        for (int j = 0; j < kRows; ++j)
            write(products + j * kWidth, sums[j] * factor);
    }
}

/// Lane by lane, as many rows down as the lanes behind it are, as far as that is less than 2 * kStep.
template <int kStep>
inline void shift(Floats (&rows)[2 * kWidth]) {
    Ints moves;
    for (int lane = 0; lane < kWidth; ++lane)
        moves[lane] = (kWidth - 1 - lane) & kStep ? -1 : 0;
    OPTKIT_UNROLL
    for (int row = 0; row < kWidth + kStep - 1; ++row)
        rows[row] = moves != 0 ? rows[row + kStep] : rows[row];
    if constexpr (kStep > 1)
        shift<kStep / 2>(rows);
}

/// block[n][lane] = rows[n + kWidth - 1 - lane][lane], of 2 * kWidth - 1 rows.
inline void read_shifted(Floats (&block)[kWidth], const float* from) {
    Floats rows[2 * kWidth];
    OPTKIT_UNROLL
    for (int row = 0; row < 2 * kWidth - 1; ++row)
        rows[row] = read(from + row * kWidth);
    shift<kWidth / 2>(rows);
    OPTKIT_UNROLL
    for (int row = 0; row < kWidth; ++row)
        block[row] = rows[row];
}

/// Adds a block, a row for each key from `key` on, to the scores of vector `v` of queries.
template <int kVectors>
void add_block(float* scores, const Floats (&block)[kWidth], int v, uint32_t key, uint32_t keys) {
    scores += (size_t(key) * kVectors + v) * kWidth;
    const int count = keys - key < uint32_t(kWidth) ? int(keys - key) : kWidth;
    if (count == kWidth) {
        OPTKIT_UNROLL
        for (int i = 0; i < kWidth; ++i)
            write(scores + i * kVectors * kWidth, read(scores + i * kVectors * kWidth) + block[i]);
    } else {
        for (int i = 0; i < count; ++i)
            write(scores + i * kVectors * kWidth, read(scores + i * kVectors * kWidth) + block[i]);
    }
}

/// Adds what a table says of queries, `keys` of them: kVectors vectors of queries from `lane` on.
template <int kVectors, typename Positions>
void add_positions_of_queries(float* scores, const RelativeView& view, const AttentionArgs& args, int lane,
                              uint32_t first, uint32_t keys) {
    const uint32_t whole = (keys + kWidth - 1) / kWidth * kWidth;
    const int64_t query = int64_t(args.tile) * args.width + lane;
    // Row r: distance query + kQueries - 1 - first - r.
    constexpr uint32_t kQueries = kVectors * kWidth;
    const Positions positions(view, args, {query + kQueries - 1 - first, -1, whole + kQueries});
    const float* queries = view.content + args.tile * view.stride + lane;
    float *products = args.relative_scratch, *memory = products + kRelativeProducts;
    for (int v = 0; v < kVectors; ++v) {
        // From the row on that lane i and key want at key - first + kWidth - 1 - i.
        write_positions(products, positions, positions.contents(queries + v * kWidth, memory),
                        uint32_t(kVectors - 1 - v) * kWidth, whole + kWidth);
        for (uint32_t key = 0; key < keys; key += kWidth) {
            Floats block[kWidth];
            read_shifted(block, products + size_t(key) * kWidth);
            add_block<kVectors>(scores, block, v, key, keys);
        }
    }
}

/// Adds what a table says of keys.
template <int kVectors, typename Positions>
void add_positions_of_keys(float* scores, const RelativeView& view, const AttentionArgs& args, int lane, uint32_t first,
                           uint32_t keys) {
    const uint32_t whole = (keys + kWidth - 1) / kWidth * kWidth;
    const int64_t query = int64_t(args.tile) * args.width + lane;
    // Row r: distance query + 1 - first - whole + r.
    constexpr uint32_t kQueries = kVectors * kWidth;
    const Positions positions(view, args, {query + 1 - first - whole, 1, whole + kQueries});
    float *products = args.relative_scratch, *memory = products + kRelativeProducts;
    for (uint32_t key = 0; key < keys; key += kWidth) {
        const float* from = view.content + (first + key) / args.width * view.stride + (first + key) % args.width;
        // From the row on that lane i and query q want at q + kWidth - 1 - i.
        write_positions(products, positions, positions.contents(from, memory), whole - kWidth - key, kQueries + kWidth);
        for (int v = 0; v < kVectors; ++v) {
            Floats block[kWidth];
            read_shifted(block, products + size_t(v) * kWidth * kWidth);
            transpose(block);
            add_block<kVectors>(scores, block, v, key, keys);
        }
    }
}

/// Adds relative positions to the scores of the keys from `first` to `end` and kVectors vectors of queries from `lane`.
template <int kVectors, typename Positions>
void add_positions(float* scores, const RelativeView& view, const AttentionArgs& args, int lane, uint32_t first,
                   uint32_t end) {
    (view.of_keys ? add_positions_of_keys<kVectors, Positions>
                  : add_positions_of_queries<kVectors, Positions>)(scores, view, args, lane, first, end - first);
}
