// The matrix products of blocks of 16 and 32 outputs x 4 inputs on the tile registers of AMX, 16 rows of 64 bytes each.
// 16 groups of 4 inputs x 16 tokens are one operand as they lie in a panel4, their rows 128 bytes apart; the weights of
// 16 outputs for these groups are the other; and the sums become 16 outputs x 16 tokens of `out`. Where the groups do
// not follow each other they are copied side by side, while the registers are at work on those before them.
// Included once per translation unit, inside its unnamed namespace, after vector.inl and a tile_register.inl.

/// Entries of one instruction. Rows are padded to a multiple of them with zero weights.
constexpr int kTileEntries = kTileRowBytes / 4;
constexpr size_t kGroupBytes = 4 * kLanes;                 // of a panel
constexpr size_t kSumsStride = kLanes * sizeof(int32_t);   // of a row of sums
constexpr size_t kTileWeights = kTileRows * kTileEntries;  // quads of one register
constexpr size_t kCopyBytes = size_t(kTileEntries) * kGroupBytes;

// All registers are in use: four sums, so that none waits for itself, of two parts (16 outputs each) x two halves of
// the tokens; the weights of each part; the inputs of each half.
template <int kPart, int kHalf>
using Sums = TileRegister<2 * kPart + kHalf>;
template <int kPart>
using Weights = TileRegister<4 + kPart>;
template <int kHalf>
using Inputs = TileRegister<6 + kHalf>;

/// Where the groups of inputs of kTileEntries entries lie one after the other: in the panel, or in `copy`. Indices of a
/// row ascend, but for those of fillers.
template <int kHalves>
inline const uint8_t* find_inputs(const uint8_t* panel, const uint16_t* indices, uint8_t* copy) {
    if (indices[kTileEntries - 1] - indices[0] == kTileEntries - 1)
        return panel + indices[0] * kGroupBytes;
    OPTKIT_UNROLL
    for (int i = 0; i < kTileEntries; ++i) {
        const float* from = reinterpret_cast<const float*>(panel + indices[i] * kGroupBytes);
        float* to = reinterpret_cast<float*>(copy + i * kGroupBytes);
        for (int at = 0; at < kHalves * kTileRowBytes / 4; at += kWidth)
            write(to + at, read(from + at));
    }
    return copy;
}

template <int kPart, int kHalves>
inline void begin_sums(const int32_t* out, bool accumulate) {
    if (accumulate) {
        Sums<kPart, 0>::load(out, kSumsStride);
        if constexpr (kHalves == 2)
            Sums<kPart, 1>::load(out + 16, kSumsStride);
    } else {
        Sums<kPart, 0>::zero();
        if constexpr (kHalves == 2)
            Sums<kPart, 1>::zero();
    }
}

template <int kPart, int kHalves>
inline void end_sums(int32_t* out) {
    Sums<kPart, 0>::store(out, kSumsStride);
    if constexpr (kHalves == 2)
        Sums<kPart, 1>::store(out + 16, kSumsStride);
}

/// Loads stand between products, so that both units have work.
template <int kPart, bool kLoadsInputs, int kHalves>
inline void add_part(const int32_t* weights, const uint8_t* inputs) {
    if constexpr (kLoadsInputs)
        Inputs<0>::load(inputs, kGroupBytes);
    Weights<kPart>::load(weights, kTileRowBytes);
    add_products<Sums<kPart, 0>, Weights<kPart>, Inputs<0>>();
    if constexpr (kHalves == 2) {
        if constexpr (kLoadsInputs)
            Inputs<1>::load(inputs + kTileRowBytes, kGroupBytes);
        add_products<Sums<kPart, 1>, Weights<kPart>, Inputs<1>>();
    }
}

/// Two parts at once: the halves of rows of 32 outputs, which share their inputs, or two rows of 16.
template <bool kShare, int kHalves>
inline void tile_rows(const LinearArgs& args) {
    constexpr int kLists = kShare ? 1 : 2, kHeight = kShare ? 2 * kTileRows : kTileRows;
    alignas(64) uint8_t copies[2][kLists][kCopyBytes];
    const uint8_t* panel = static_cast<const uint8_t*>(args.panel);
    const size_t first = args.chunk.begin[args.group];
    const uint16_t* indices = args.chunk.indices + first * kLists;
    const int32_t* weights = args.chunk.weights + first * (2 * kTileRows);
    const uint8_t* inputs[kLists];
    for (int list = 0; list < kLists; ++list)
        inputs[list] = find_inputs<kHalves>(panel, indices + list * kTileEntries, copies[0][list]);
    int turn = 0;
    for (uint32_t group = args.group; group < args.group + args.groups; ++group) {
        const uint32_t* order = args.chunk.order + size_t(group) * kLists;
        int32_t* block = static_cast<int32_t*>(args.out);
        int32_t* upper = block + size_t(order[0]) * (kHeight * kLanes);
        int32_t* lower = kShare ? upper + kTileRows * kLanes : block + size_t(order[kLists - 1]) * (kHeight * kLanes);
        begin_sums<0, kHalves>(upper, args.accumulate);
        begin_sums<1, kHalves>(lower, args.accumulate);
        const uint32_t end = args.chunk.begin[group + 1];
        for (uint32_t entry = args.chunk.begin[group]; entry < end; entry += kTileEntries) {
            // The next ones, of the next group or of the fillers behind the last.
            indices += kLists * kTileEntries;
            turn ^= 1;
            const uint8_t* next[kLists];
            for (int list = 0; list < kLists; ++list)
                next[list] = find_inputs<kHalves>(panel, indices + list * kTileEntries, copies[turn][list]);
            add_part<0, true, kHalves>(weights, inputs[0]);
            add_part<1, !kShare, kHalves>(weights + kTileWeights, inputs[kLists - 1]);
            weights += 2 * kTileWeights;
            for (int list = 0; list < kLists; ++list)
                inputs[list] = next[list];
        }
        end_sums<0, kHalves>(upper);
        end_sums<1, kHalves>(lower);
    }
}

template <bool kShare>
void tiles_rows(const LinearArgs& args) noexcept {
    args.lanes > 16 ? tile_rows<kShare, 2>(args) : tile_rows<kShare, 1>(args);
}

constexpr LinearKernel tile_blocks[] = {{Form::block4, 16, 2, tiles_rows<false>, kTileEntries},
                                        {Form::block4, 32, 1, tiles_rows<true>, kTileEntries}};
