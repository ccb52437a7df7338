// What relative positions add to scores: products of queries, or of keys, with rows of a table; the distance between
// query and key says which row (the disentangled attention of DeBERTa, He et al. 2021,
// https://arxiv.org/abs/2006.03654).
//
// Rows are broadcast to vectors of queries or keys, as keys are for the scores themselves. A distance then stands in
// another row for each lane, so that rows are shifted lane by lane before they are added up.
// Included once per translation unit, inside its unnamed namespace, by attention.inl.

/// The numbers of kWidth queries or keys, one feature after the other.
struct Contents {
    const float* numbers;
    size_t apart;  // floats from one feature to the next
};

/// What lies at `from`, as it is or made floats in `memory`.
inline Contents contents(const RelativeView& view, const float* from, uint32_t size, float* memory) {
    if (!view.integers)
        return {from, kLanes};
    for (uint32_t i = 0; i < size; ++i) {
        const uint32_t feature = view.skip + i;
        const Ints quads = (Ints)read(from + size_t(feature / 4) * kLanes);
        const Ints number = ((quads >> int32_t(8 * (feature % 4))) & 255) - view.zero;
        write(memory + size_t(i) * kWidth, __builtin_convertvector(number, Floats));
    }
    return {memory, kWidth};
}

/// Rows of vectors: products[row][kWidth] = the sum over features of a vector of contents x the table's row for
/// `distance` + `step` * row, times the scale. Writes whole groups of kRows rows.
template <int kRows>
__attribute__((noinline)) void write_positions(float* products, const RelativeView& view, Contents vectors,
                                               const AttentionArgs& args, int64_t distance, int step, uint32_t rows) {
    const int64_t longest = int64_t(args.length) - 1;
    const float factor = view.scale * kLog2E;
    for (uint32_t row = 0; row < rows; row += kRows, products += kRows * kWidth) {
        const float* table[kRows];
        for (float const*& each : table) {
            // Lanes that hold no token ask for distances that do not occur.
            const int64_t known = distance > longest ? longest : distance < -longest ? -longest : distance;
            each = view.table + size_t(view.places[known]) * args.size;
            distance += step;
        }
        Floats sums[kRows] = {};
        for (uint32_t i = 0; i < args.size; ++i) {
            const Floats along = read(vectors.numbers + size_t(i) * vectors.apart);
            OPTKIT_UNROLL
            for (int j = 0; j < kRows; ++j)
                sums[j] += table[j][i] * along;
        }
        OPTKIT_UNROLL
        for (int j = 0; j < kRows; ++j)
            write(products + j * kWidth, sums[j] * factor);
    }
}

/// rows[n][lane] = what rows[n + kWidth - 1 - lane] held, for the first `count`; those behind them are lost.
inline void shift_lanes(float* rows, uint32_t count) {
    for (int step = 1; step < kWidth; step *= 2) {
        Ints moves;
        for (int lane = 0; lane < kWidth; ++lane)
            moves[lane] = (kWidth - 1 - lane) & step ? -1 : 0;
        const uint32_t last = count + uint32_t(kWidth - 2 * step);
        for (uint32_t row = 0; row < last; ++row) {
            const Floats own = read(rows + size_t(row) * kWidth), other = read(rows + size_t(row + step) * kWidth);
            write(rows + size_t(row) * kWidth, moves != 0 ? other : own);
        }
    }
}

/// Adds what a table says of queries: kVectors vectors of them from `lane` on, and the keys from `first` to `end`.
template <int kVectors>
void add_positions_of_queries(float* scores, const RelativeView& view, const AttentionArgs& args, int lane,
                              uint32_t first, uint32_t end) {
    const float* queries = view.content + args.tile * view.stride;
    float *rows = args.relative_scratch, *memory = rows + kRelativeScratch;
    for (int v = 0; v < kVectors; ++v) {
        const int at = lane + v * kWidth;
        const int64_t query = int64_t(args.tile) * args.width + at;
        // Row r and lane i: query + i - key = distance - r, so that a key's row is r = key - first + kWidth - 1 - i.
        write_positions<8>(rows, view, contents(view, queries + at, args.size, memory), args,
                           query + kWidth - 1 - first, -1, end - first + kWidth - 1);
        shift_lanes(rows, end - first);
        for (uint32_t key = 0; key < end - first; ++key) {
            float* score = scores + (size_t(key) * kVectors + v) * kWidth;
            write(score, read(score) + read(rows + size_t(key) * kWidth));
        }
    }
}

/// Adds what a table says of keys.
template <int kVectors>
void add_positions_of_keys(float* scores, const RelativeView& view, const AttentionArgs& args, int lane, uint32_t first,
                           uint32_t end) {
    constexpr uint32_t kQueries = kVectors * kWidth;
    const int64_t query = int64_t(args.tile) * args.width + lane;
    float *rows = args.relative_scratch, *memory = rows + kRelativeScratch;
    for (uint32_t key = first; key < end; key += kWidth) {
        const float* from = view.content + key / args.width * view.stride + key % args.width;
        const Contents keys = contents(view, from, args.size, memory);
        // Row r and lane i: query + q - key - i = distance + r, so that a query's row is r = q + kWidth - 1 - i.
        write_positions<8>(rows, view, keys, args, query - key - (kWidth - 1), 1, kQueries + kWidth - 1);
        shift_lanes(rows, kQueries);
        for (int v = 0; v < kVectors; ++v) {
            Floats block[kWidth];
            for (int i = 0; i < kWidth; ++i)
                block[i] = read(rows + size_t(v * kWidth + i) * kWidth);
            transpose(block);
            for (uint32_t i = 0; i < uint32_t(kWidth) && key + i < end; ++i) {
                float* score = scores + (size_t(key - first + i) * kVectors + v) * kWidth;
                write(score, read(score) + block[i]);
            }
        }
    }
}
