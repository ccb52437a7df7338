#include "plan/entries.h"

#include <algorithm>
#include <cstdlib>

namespace optkit {
namespace {

// Same-signed weights that one 16-bit sum of u8 products holds: 255 x 128 < 2^15.
constexpr int kMaxSameSigned = 128;

/// The same-signed sums of an entry's two pairs.
struct PairSums {
    int plus[2] = {}, minus[2] = {};

    PairSums() = default;
    explicit PairSums(const Quad& quad) {
        for (int i = 0; i < 4; ++i)
            (quad[i] > 0 ? plus[i / 2] : minus[i / 2]) += std::abs(int(quad[i]));
    }
    int largest() const { return std::max({plus[0], plus[1], minus[0], minus[1]}); }
    bool fits(const PairSums& other) const {
        for (int i = 0; i < 2; ++i)
            if (plus[i] + other.plus[i] > kMaxSameSigned || minus[i] + other.minus[i] > kMaxSameSigned)
                return false;
        return true;
    }
    void add(const PairSums& other) {
        for (int i = 0; i < 2; ++i) {
            plus[i] += other.plus[i];
            minus[i] += other.minus[i];
        }
    }
};

}  // namespace

int32_t pack_quad(const Quad& quad) {
    return int32_t(uint32_t(uint8_t(quad[0])) | uint32_t(uint8_t(quad[1])) << 8 | uint32_t(uint8_t(quad[2])) << 16 |
                   uint32_t(uint8_t(quad[3])) << 24);
}

bool may_overflow_i16(const Quad& quad) { return PairSums(quad).largest() > kMaxSameSigned; }

std::pair<Quad, Quad> halves(const Quad& quad) {
    Quad half, rest;
    for (size_t i = 0; i < quad.size(); ++i) {
        half[i] = int8_t(quad[i] / 2);
        rest[i] = int8_t(quad[i] - half[i]);
    }
    return {half, rest};
}

void append_without_overflow(std::vector<Entry>& entries, const Entry& entry) {
    if (!may_overflow_i16(entry.quad)) {
        entries.push_back(entry);
        return;
    }
    const auto [half, rest] = halves(entry.quad);
    entries.push_back({entry.indices, half});
    entries.push_back({entry.indices, rest});
}

Groups16Bit group_16bit(std::vector<Entry>& entries) {
    const size_t count = entries.size();
    std::vector<PairSums> sums(count);
    std::array<uint32_t, kMaxSameSigned + 2> starts{};
    for (size_t i = 0; i < count; ++i) {
        sums[i] = PairSums(entries[i].quad);
        ++starts[size_t(sums[i].largest()) + 1];
    }
    for (size_t i = 1; i < starts.size(); ++i)
        starts[i] += starts[i - 1];
    std::vector<uint32_t> order(count);
    for (size_t i = 0; i < count; ++i)
        order[starts[size_t(sums[i].largest())]++] = uint32_t(i);

    std::vector<Entry> quads, pairs, single;
    size_t light = 0, heavy = count;
    while (light < heavy) {
        uint32_t group[4] = {order[--heavy]};
        size_t size = 1;
        PairSums sum = sums[group[0]];
        for (; size < 4; ++size, ++light) {
            // Among a few of the lightest, the first whose signs fit.
            const size_t last = std::min(light + 8, heavy);
            size_t found = light;
            while (found < last && !sum.fits(sums[order[found]]))
                ++found;
            if (found == last)
                break;
            std::rotate(order.begin() + long(light), order.begin() + long(found), order.begin() + long(found) + 1);
            group[size] = order[light];
            sum.add(sums[group[size]]);
        }
        if (size == 3) {  // the third waits for another
            --size;
            --light;
        }
        std::vector<Entry>& target = size == 4 ? quads : size == 2 ? pairs : single;
        for (size_t i = 0; i < size; ++i)
            target.push_back(entries[group[i]]);
    }
    const Groups16Bit result{uint32_t(quads.size()), uint32_t(pairs.size())};
    entries = std::move(quads);
    entries.insert(entries.end(), pairs.begin(), pairs.end());
    entries.insert(entries.end(), single.begin(), single.end());
    return result;
}

void gather_quads(std::vector<std::pair<int8_t, uint16_t>>& row, bool saturating_i16, std::vector<Entry>& entries) {
    if (saturating_i16)
        std::sort(row.begin(), row.end());
    std::vector<std::pair<int8_t, uint16_t>> ordered;
    if (saturating_i16) {
        for (size_t low = 0, high = row.size(); low < high;) {
            ordered.push_back(row[low++]);
            if (low < high)
                ordered.push_back(row[--high]);
        }
    }
    const auto& numbers = saturating_i16 ? ordered : row;
    for (size_t i = 0; i < numbers.size(); i += 4) {
        Entry entry;
        for (size_t j = 0; j < 4; ++j) {
            const bool there = i + j < numbers.size();
            entry.quad[j] = there ? numbers[i + j].first : int8_t(0);
            entry.indices[j] = there ? numbers[i + j].second : numbers[i].second;
        }
        if (saturating_i16)
            append_without_overflow(entries, entry);
        else
            entries.push_back(entry);
    }
}

}  // namespace optkit
