// The machine's peak: a product kernel on one group of entries that stays in the first-level cache.
// Included once per translation unit, inside its unnamed namespace, after the kernels.

/// See Kernels::peak. kRun takes groups of kOutputs outputs, in up to four rows.
template <int kOutputs, void (*kRun)(const LinearArgs&) noexcept>
uint64_t peak(uint64_t iterations, int32_t* sink) noexcept {
    constexpr int kEntries = 64;
    alignas(64) uint8_t panel[4 * kLanes];
    alignas(64) int32_t out[kOutputs * kLanes];
    int32_t weights[kEntries * kOutputs];
    const uint16_t indices[4 * kEntries] = {};
    // All entries may share 16-bit sums: their weights are ones.
    const uint32_t begin[] = {0, kEntries}, quads[] = {kEntries}, pairs[] = {0}, order[] = {0, 1, 2, 3};
    for (uint8_t& number : panel)
        number = uint8_t(*sink + 3);
    for (int32_t& weight : weights)
        weight = 0x01010101;
    const LinearArgs args{{begin, quads, pairs, order, indices, weights, nullptr}, panel, 0, 1, kLanes, false, out};
    for (uint64_t i = 0; i < iterations; ++i) {
        __asm__ volatile("" : : "r"(panel) : "memory");  // else the compiler would compute one round for all
        kRun(args);
        *sink += out[i % kOutputs];
    }
    return iterations * (uint64_t(kEntries) * kOutputs * 4 * kLanes);
}
