// Float weights one by one: a broadcast weight times a vector of tokens; and the list of all kernels of single weights.
// Included once per translation unit, inside its unnamed namespace, after elements_256.inl.

template <int kHeight, int kVectors>
void single_lanes(const LinearArgs& args, int lane) {
    const float* panel = static_cast<const float*>(args.panel) + lane;
    const uint16_t* indices = args.chunk.indices;
    const float* weights = args.chunk.floats;
    for (uint32_t group = args.group; group < args.group + args.groups; ++group) {
        float* out = static_cast<float*>(args.out) + size_t(args.chunk.order[group]) * (kHeight * kLanes) + lane;
        // Even and odd entries add up apart: one set of sums would wait for itself.
        constexpr int kSets = kHeight == 1 ? 2 : 1;
        Floats sums[kSets][kHeight][kVectors] = {};
        uint32_t entry = args.chunk.begin[group];
        const uint32_t end = args.chunk.begin[group + 1];
        const auto one = [&](int set) {
            const float* at = panel + size_t(indices[entry]) * kLanes;
            for (int i = 0; i < kHeight; ++i)
                for (int v = 0; v < kVectors; ++v)
                    sums[set][i][v] += weights[size_t(entry) * kHeight + i] * read(at + v * kWidth);
            ++entry;
        };
        while (entry + kSets <= end)
            for (int set = 0; set < kSets; ++set)
                one(set);
        while (entry < end)
            one(0);
        for (int i = 0; i < kHeight; ++i)
            for (int v = 0; v < kVectors; ++v) {
                float* at = out + i * kLanes + v * kWidth;
                Floats sum = sums[0][i][v];
                for (int set = 1; set < kSets; ++set)
                    sum += sums[set][i][v];
                write(at, args.accumulate ? read(at) + sum : sum);
            }
    }
}

void single(const LinearArgs& args) noexcept {
    args.lanes > 16 ? single_lanes<1, 32 / kWidth>(args, 0) : single_lanes<1, 16 / kWidth>(args, 0);
}

void single_rows4(const LinearArgs& args) noexcept {
    for (int lane = 0; lane < args.lanes; lane += 16)
        single_lanes<4, 16 / kWidth>(args, lane);
}

constexpr LinearKernel gathered[] = {{Form::element, 1, 1, element},
                                     {Form::element, 4, 1, element_rows4},
                                     {Form::single, 1, 1, single},
                                     {Form::single, 4, 1, single_rows4}};
