// The matrix products of blocks of kHeight outputs x 4 inputs, for instruction sets that add four u8 x s8 products to
// 32 bits exactly in one instruction. A weight of four is broadcast, and the activations of an entry are loaded once
// for all outputs of its block. Eight or more sums at once hide an instruction's latency. Included once per translation
// unit, inside its unnamed namespace, after vector.inl and the definition of
//   struct Vector {
//       static constexpr int kTokens;  // of a vector
//       static constexpr int kSums;    // so many of them the registers hold beside what a step needs
//       using Type = ...;
//       static Type load(const void*), broadcast(int32_t), add(Type sums, Type panel, Type weights);
//       static void broadcast4(const int32_t*, Type (&)[4]);  // one load, the rest between registers
//       static void store(void*, Type);
//   };
//
// Higher blocks are no kernels of their own: they are stored as rows of the highest one (layout.h: choose_kernel), so
// that weights are read once, one after the other.

/// Bytes from a weight that is read to the one that is fetched into the caches meanwhile.
constexpr size_t kPrefetch = 2048;

/// The indices of kCount entries that lie side by side, read at once.
template <int kCount>
struct Indices {
    static_assert(kCount <= 4, "they fit 64 bits");
    uint64_t word = 0;

    explicit Indices(const uint16_t* from) { __builtin_memcpy(&word, from, 2 * kCount); }
    size_t operator[](int i) const { return size_t(word >> (16 * i) & 0xffff); }
};

/// The weights of one step, broadcast.
template <int kHeight, int kInterleaved>
struct StepWeights {
    // Rows of one output have no other use for what they load, and loads are what limits them.
    static constexpr bool kFromRegister = kHeight == 1 && kInterleaved == 4;
    const int32_t* from;
    typename Vector::Type all[4];

    explicit StepWeights(const int32_t* weights) : from(weights) {
        if constexpr (kFromRegister)
            Vector::broadcast4(weights, all);
        else
            __builtin_prefetch(reinterpret_cast<const char*>(weights) + kPrefetch);
    }
    typename Vector::Type operator()(int j, int i) const {
        if constexpr (kFromRegister)
            return all[j];
        else
            return Vector::broadcast(from[j * kHeight + i]);
    }
};

/// One group of rows, for kVectors vectors of tokens from `lane` on.
template <int kHeight, int kInterleaved, int kVectors>
inline void block_rows(const LinearArgs& args, uint32_t group, int lane) {
    const uint8_t* panel = static_cast<const uint8_t*>(args.panel) + 4 * lane;
    int32_t* block = static_cast<int32_t*>(args.out) + lane;
    const uint32_t begin = args.chunk.begin[group], end = args.chunk.begin[group + 1];
    const uint16_t* indices = args.chunk.indices + size_t(begin) * kInterleaved;
    const int32_t* weights = args.chunk.weights + size_t(begin) * (kInterleaved * kHeight);
    const uint32_t* order = args.chunk.order + size_t(group) * kInterleaved;
    typename Vector::Type sums[kInterleaved][kHeight][kVectors];
    OPTKIT_UNROLL
    for (int j = 0; j < kInterleaved; ++j) {
        const int32_t* from = block + size_t(order[j]) * (kHeight * kLanes);
        OPTKIT_UNROLL
        for (int i = 0; i < kHeight; ++i)
            OPTKIT_UNROLL
        for (int v = 0; v < kVectors; ++v)
            sums[j][i][v] =
                args.accumulate ? Vector::load(from + i * kLanes + v * Vector::kTokens) : Vector::broadcast(0);
    }
    for (uint32_t entry = begin; entry < end; ++entry) {
        const Indices<kInterleaved> of(indices);
        const StepWeights<kHeight, kInterleaved> weight(weights);
        OPTKIT_UNROLL
        for (int j = 0; j < kInterleaved; ++j) {
            const uint8_t* at = panel + of[j] * (4 * kLanes);
            typename Vector::Type inputs[kVectors];
            OPTKIT_UNROLL
            for (int v = 0; v < kVectors; ++v)
                inputs[v] = Vector::load(at + 4 * Vector::kTokens * v);
            OPTKIT_UNROLL
            for (int i = 0; i < kHeight; ++i) {
                const typename Vector::Type broadcast = weight(j, i);
                OPTKIT_UNROLL
                for (int v = 0; v < kVectors; ++v)
                    sums[j][i][v] = Vector::add(sums[j][i][v], inputs[v], broadcast);
            }
        }
        indices += kInterleaved;
        weights += kInterleaved * kHeight;
    }
    OPTKIT_UNROLL
    for (int j = 0; j < kInterleaved; ++j) {
        int32_t* to = block + size_t(order[j]) * (kHeight * kLanes);
        OPTKIT_UNROLL
        for (int i = 0; i < kHeight; ++i)
            OPTKIT_UNROLL
        for (int v = 0; v < kVectors; ++v)
            Vector::store(to + i * kLanes + v * Vector::kTokens, sums[j][i][v]);
    }
}

/// Rows of kHeight outputs, kInterleaved of them at a time; tiles whose sums do not fit the registers in two halves.
template <int kHeight, int kInterleaved>
void block4(const LinearArgs& args) noexcept {
    constexpr int kTile = kLanes / Vector::kTokens, kHalf = kTile / 2;
    constexpr bool kFits = kHeight * kInterleaved * kTile <= Vector::kSums;
    for (uint32_t group = args.group; group < args.group + args.groups; ++group)
        if (args.lanes <= 16) {
            block_rows<kHeight, kInterleaved, kHalf>(args, group, 0);
        } else if constexpr (kFits) {
            block_rows<kHeight, kInterleaved, kTile>(args, group, 0);
        } else {
            block_rows<kHeight, kInterleaved, kHalf>(args, group, 0);
            block_rows<kHeight, kInterleaved, kHalf>(args, group, 16);
        }
}

template <int kHeight, int kInterleaved>
constexpr LinearKernel kBlock4 = {Form::block4, kHeight, kInterleaved, block4<kHeight, kInterleaved>};
