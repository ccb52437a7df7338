#include "plan/entries.h"

#include <algorithm>
#include <cstdlib>
#include <tuple>

namespace optkit {
namespace {

// Same-signed weights that one 16-bit sum of u8 products holds: 255 x 128 < 2^15.
constexpr int kMaxSameSigned = 128;

/// The same-signed sums of the two pairs of each of an entry's quads.
struct PairSums {
    int16_t plus[2] = {}, minus[2] = {};

    PairSums() = default;
    explicit PairSums(const Quad& quad) {
        for (size_t i = 0; i < 4; ++i) {
            int16_t& sum = quad[i] > 0 ? plus[i / 2] : minus[i / 2];
            sum = int16_t(sum + std::abs(int(quad[i])));
        }
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
            plus[i] = int16_t(plus[i] + other.plus[i]);
            minus[i] = int16_t(minus[i] + other.minus[i]);
        }
    }
};

bool may_overflow_i16(const Quad& quad) { return PairSums(quad).largest() > kMaxSameSigned; }

std::pair<Quad, Quad> halves(const Quad& quad) {
    Quad half, rest;
    for (size_t i = 0; i < quad.size(); ++i) {
        half[i] = int8_t(quad[i] / 2);
        rest[i] = int8_t(quad[i] - half[i]);
    }
    return {half, rest};
}

}  // namespace

void Entries::append(const uint16_t* of_entry, const Quad* weights) {
    indices.insert(indices.end(), of_entry, of_entry + width);
    quads.insert(quads.end(), weights, weights + height);
}

int32_t pack_quad(const Quad& quad) {
    return int32_t(uint32_t(uint8_t(quad[0])) | uint32_t(uint8_t(quad[1])) << 8 | uint32_t(uint8_t(quad[2])) << 16 |
                   uint32_t(uint8_t(quad[3])) << 24);
}

void append_without_overflow(Entries& entries, const uint16_t* indices, const Quad* quads) {
    if (std::none_of(quads, quads + entries.height, may_overflow_i16))
        return entries.append(indices, quads);
    std::vector<Quad> half(entries.height), rest(entries.height);
    for (size_t i = 0; i < entries.height; ++i)
        std::tie(half[i], rest[i]) = halves(quads[i]);
    entries.append(indices, half.data());
    entries.append(indices, rest.data());
}

Groups16Bit group_16bit(Entries& entries) {
    const size_t count = entries.size(), height = entries.height;
    std::vector<PairSums> sums(entries.quads.begin(), entries.quads.end());
    std::vector<uint32_t> heaviest(count);
    std::array<uint32_t, kMaxSameSigned + 2> starts{};
    for (size_t i = 0; i < count; ++i) {
        int largest = 0;
        for (size_t j = 0; j < height; ++j)
            largest = std::max(largest, sums[i * height + j].largest());
        heaviest[i] = uint32_t(largest);
        ++starts[size_t(largest) + 1];
    }
    for (size_t i = 1; i < starts.size(); ++i)
        starts[i] += starts[i - 1];
    std::vector<uint32_t> order(count);
    for (size_t i = 0; i < count; ++i)
        order[starts[heaviest[i]]++] = uint32_t(i);

    std::vector<uint32_t> quads, pairs, single;
    std::vector<PairSums> sum(height);
    const auto fits = [&](uint32_t entry) {
        for (size_t j = 0; j < height; ++j)
            if (!sum[j].fits(sums[entry * height + j]))
                return false;
        return true;
    };
    const auto add = [&](uint32_t entry) {
        for (size_t j = 0; j < height; ++j)
            sum[j].add(sums[entry * height + j]);
    };
    size_t light = 0, heavy = count;
    while (light < heavy) {
        uint32_t group[4] = {order[--heavy]};
        size_t size = 1;
        std::fill(sum.begin(), sum.end(), PairSums());
        add(group[0]);
        for (; size < 4; ++size, ++light) {
            // Among a few of the lightest, the first whose signs fit.
            const size_t last = std::min(light + 8, heavy);
            size_t found = light;
            while (found < last && !fits(order[found]))
                ++found;
            if (found == last)
                break;
            std::rotate(order.begin() + long(light), order.begin() + long(found), order.begin() + long(found) + 1);
            group[size] = order[light];
            add(group[size]);
        }
        if (size == 3) {  // the third waits for another
            --size;
            --light;
        }
        std::vector<uint32_t>& target = size == 4 ? quads : size == 2 ? pairs : single;
        target.insert(target.end(), group, group + size);
    }
    const Groups16Bit result{uint32_t(quads.size()), uint32_t(pairs.size())};
    Entries ordered{entries.width, entries.height, {}, {}};
    for (const auto* part : {&quads, &pairs, &single})
        for (uint32_t entry : *part)
            ordered.append(&entries.indices[entry * entries.width], &entries.quads[entry * height]);
    entries = std::move(ordered);
    return result;
}

void gather_quads(std::vector<std::pair<int8_t, uint16_t>>& row, bool saturating_i16, Entries& entries) {
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
        std::array<uint16_t, 4> indices;
        Quad quad;
        for (size_t j = 0; j < 4; ++j) {
            const bool there = i + j < numbers.size();
            quad[j] = there ? numbers[i + j].first : int8_t(0);
            indices[j] = there ? numbers[i + j].second : numbers[i].second;
        }
        if (saturating_i16)
            append_without_overflow(entries, indices.data(), &quad);
        else
            entries.append(indices.data(), &quad);
    }
}

}  // namespace optkit
