#include "plan/layout.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <tuple>

namespace optkit {
namespace {

// Bytes of a panel that a chunk may take, of the 32 KiB first-level caches of most CPUs.
constexpr uint32_t kPanelBytes = 26 * 1024;
// Same-signed weights that one 16-bit sum of u8 products holds: 255 x 128 < 2^15.
constexpr int kSafe = 128;

using Four = std::array<int8_t, 4>;

int32_t join(const Four& four) {
    return int32_t(uint32_t(uint8_t(four[0])) | uint32_t(uint8_t(four[1])) << 8 | uint32_t(uint8_t(four[2])) << 16 |
                   uint32_t(uint8_t(four[3])) << 24);
}

/// The same-signed sums of an entry's two pairs.
struct Load {
    int plus[2] = {}, minus[2] = {};

    Load() = default;
    explicit Load(const Four& four) {
        for (int i = 0; i < 4; ++i)
            (four[i] > 0 ? plus[i / 2] : minus[i / 2]) += std::abs(int(four[i]));
    }
    int most() const { return std::max({plus[0], plus[1], minus[0], minus[1]}); }
    bool fits(const Load& other) const {
        for (int i = 0; i < 2; ++i)
            if (plus[i] + other.plus[i] > kSafe || minus[i] + other.minus[i] > kSafe)
                return false;
        return true;
    }
    void add(const Load& other) {
        for (int i = 0; i < 2; ++i) {
            plus[i] += other.plus[i];
            minus[i] += other.minus[i];
        }
    }
};

struct Entry {
    std::array<uint16_t, 4> indices{};  // one in block4
    Four four{};
};

/// Splits an entry whose pairs may leave 16 bits in two halves that cannot; their sum is the entry, exactly.
void append_safe(std::vector<Entry>& entries, const Entry& entry) {
    if (Load(entry.four).most() <= kSafe) {
        entries.push_back(entry);
        return;
    }
    Entry half = entry, rest = entry;
    for (int i = 0; i < 4; ++i) {
        half.four[i] = int8_t(entry.four[i] / 2);
        rest.four[i] = int8_t(entry.four[i] - half.four[i]);
    }
    entries.push_back(half);
    entries.push_back(rest);
}

struct Chained {
    uint32_t fours = 0, pairs = 0;  // entries, multiples of 4 and 2
};

/// Orders entries so that those that can share a 16-bit sum come first: fours, then pairs, then the others. The heaviest
/// takes the lightest that fit.
Chained chain(std::vector<Entry>& entries) {
    const size_t count = entries.size();
    std::vector<Load> loads(count);
    std::array<uint32_t, kSafe + 2> starts{};
    for (size_t i = 0; i < count; ++i) {
        loads[i] = Load(entries[i].four);
        ++starts[size_t(loads[i].most()) + 1];
    }
    for (size_t i = 1; i < starts.size(); ++i)
        starts[i] += starts[i - 1];
    std::vector<uint32_t> order(count);
    for (size_t i = 0; i < count; ++i)
        order[starts[size_t(loads[i].most())]++] = uint32_t(i);

    std::vector<Entry> fours, pairs, alone;
    size_t light = 0, heavy = count;
    while (light < heavy) {
        uint32_t group[4] = {order[--heavy]};
        size_t size = 1;
        Load load = loads[group[0]];
        for (; size < 4; ++size, ++light) {
            // Among a few of the lightest, the first whose signs fit.
            const size_t last = std::min(light + 8, heavy);
            size_t found = light;
            while (found < last && !load.fits(loads[order[found]]))
                ++found;
            if (found == last)
                break;
            std::rotate(order.begin() + long(light), order.begin() + long(found), order.begin() + long(found) + 1);
            group[size] = order[light];
            load.add(loads[group[size]]);
        }
        if (size == 3) {  // the third waits for another
            --size;
            --light;
        }
        std::vector<Entry>& target = size == 4 ? fours : size == 2 ? pairs : alone;
        for (size_t i = 0; i < size; ++i)
            target.push_back(entries[group[i]]);
    }
    const Chained result{uint32_t(fours.size()), uint32_t(pairs.size())};
    entries = std::move(fours);
    entries.insert(entries.end(), pairs.begin(), pairs.end());
    entries.insert(entries.end(), alone.begin(), alone.end());
    return result;
}

/// Gathers single weights four by four; each pair takes a large positive and a large negative one, so that few sums
/// leave 16 bits and many entries chain.
void gather(std::vector<std::pair<int8_t, uint16_t>>& row, bool chains, std::vector<Entry>& entries) {
    if (chains)
        std::sort(row.begin(), row.end());
    std::vector<std::pair<int8_t, uint16_t>> ordered;
    if (chains) {
        for (size_t low = 0, high = row.size(); low < high;) {
            ordered.push_back(row[low++]);
            if (low < high)
                ordered.push_back(row[--high]);
        }
    }
    const auto& numbers = chains ? ordered : row;
    for (size_t i = 0; i < numbers.size(); i += 4) {
        Entry entry;
        for (size_t j = 0; j < 4; ++j) {
            const bool there = i + j < numbers.size();
            entry.four[j] = there ? numbers[i + j].first : int8_t(0);
            entry.indices[j] = there ? numbers[i + j].second : numbers[i].second;
        }
        if (chains)
            append_safe(entries, entry);
        else
            entries.push_back(entry);
    }
}

/// Calls f(block, column) for the blocks of one group of rows that lie in [first, last) of the block columns.
template <typename F>
void blocks(const PackedWeights& weights, uint32_t group, uint32_t first, uint32_t last, F f) {
    const uint16_t* indices = weights.indices.data;
    const uint16_t* begin = indices + weights.pointers[group];
    const uint16_t* end = indices + weights.pointers[group + 1];
    for (const uint16_t* at = std::lower_bound(begin, end, first); at < end && *at < last; ++at)
        f(size_t(at - indices), *at);
}

/// One row's entries, as a kernel reads them.
struct Row {
    std::vector<uint16_t> indices;
    std::vector<int32_t> weights;
    std::vector<float> floats;
    uint32_t entries = 0;
    Chained chained;

    Row() = default;
    Row(std::vector<Entry>& from, int per_entry, bool chains) : entries(uint32_t(from.size())) {
        if (chains)
            chained = chain(from);
        for (const Entry& entry : from) {
            indices.insert(indices.end(), entry.indices.begin(), entry.indices.begin() + per_entry);
            weights.push_back(join(entry.four));
        }
    }
};

Row block4(const PackedWeights& weights, uint32_t row, uint32_t first, uint32_t last, bool chains) {
    std::vector<Entry> entries;
    blocks(weights, row / weights.rows, first, last, [&](size_t block, uint16_t column) {
        Entry entry;
        entry.indices[0] = column;
        const int8_t* from = weights.bytes.data + (block * weights.rows + row % weights.rows) * 4;
        std::copy(from, from + 4, entry.four.begin());
        if (chains)
            append_safe(entries, entry);
        else
            entries.push_back(entry);
    });
    return Row(entries, 1, chains);
}

Row element(const PackedWeights& weights, uint32_t row, uint32_t first, uint32_t last, bool chains) {
    std::vector<Entry> entries;
    std::vector<std::pair<int8_t, uint16_t>> numbers;
    blocks(weights, row / weights.rows, first, last, [&](size_t block, uint16_t column) {
        const int8_t number = weights.bytes[block * weights.rows + row % weights.rows];
        if (number != 0)
            numbers.emplace_back(number, column);
    });
    gather(numbers, chains, entries);
    return Row(entries, 4, chains);
}

Row element_rows4(const PackedWeights& weights, uint32_t row, uint32_t first, uint32_t last, bool chains) {
    const uint32_t parts = weights.rows / 4;
    std::vector<std::pair<size_t, uint16_t>> found;
    blocks(weights, row / parts, first, last, [&](size_t block, uint16_t column) {
        found.emplace_back(block * weights.rows + row % parts * 4, column);
    });
    Row result;
    for (size_t i = 0; i < found.size(); i += 4) {
        std::array<Four, 4> fours{};
        std::array<uint16_t, 4> indices;
        for (size_t j = 0; j < 4; ++j) {
            const bool there = i + j < found.size();
            indices[j] = found[there ? i + j : i].second;
            for (size_t out = 0; out < 4; ++out)
                fours[out][j] = there ? weights.bytes[found[i + j].first + out] : int8_t(0);
        }
        const bool halve = chains && std::any_of(fours.begin(), fours.end(),
                                                 [](const Four& four) { return Load(four).most() > kSafe; });
        for (int half = 0; half < (halve ? 2 : 1); ++half) {
            ++result.entries;
            result.indices.insert(result.indices.end(), indices.begin(), indices.end());
            for (Four four : fours) {
                for (int8_t& number : four)
                    if (halve)
                        number = int8_t(half == 0 ? number / 2 : number - number / 2);
                result.weights.push_back(join(four));
            }
        }
    }
    return result;
}

Row single(const PackedWeights& weights, uint32_t row, uint32_t first, uint32_t last, uint32_t height) {
    // With height 1 a row is one of its group's; with height 4 it is one of its quarters.
    const uint32_t parts = std::max(weights.rows / height, 1u);
    const uint32_t group = height == 1 ? row / weights.rows : row / parts;
    const uint32_t part = height == 1 ? row % weights.rows : row % parts * 4;
    Row result;
    blocks(weights, group, first, last, [&](size_t block, uint16_t column) {
        const float* from = weights.floats.data + block * weights.rows + part;
        if (std::all_of(from, from + height, [](float number) { return number == 0.0f; }))
            return;
        ++result.entries;
        result.indices.push_back(column);
        result.floats.insert(result.floats.end(), from, from + height);
    });
    return result;
}

Row make_row(Form form, const PackedWeights& weights, uint32_t row, uint32_t first, uint32_t last, bool chains) {
    switch (form) {
        case Form::block4:
            return block4(weights, row, first, last, chains);
        case Form::element:
            return element(weights, row, first, last, chains);
        case Form::element_rows4:
            return element_rows4(weights, row, first, last, chains);
        case Form::single:
            return single(weights, row, first, last, 1);
        case Form::single_rows4:
            return single(weights, row, first, last, 4);
    }
    return {};
}

/// Appends the rows of one block of outputs, those of equal length together: a loop whose length keeps changing ends in
/// a mispredicted branch each time, which costs as much as several entries.
void append(Layout::Owned& chunk, const std::vector<Row>& rows) {
    std::vector<uint32_t> order(rows.size());
    for (uint32_t i = 0; i < order.size(); ++i)
        order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
        const auto lengths = [&](const Row& row) {
            return std::make_tuple(row.chained.fours, row.chained.pairs, row.entries);
        };
        return lengths(rows[a]) < lengths(rows[b]);
    });
    for (uint32_t number : order) {
        const Row& row = rows[number];
        chunk.order.push_back(number);
        chunk.fours.push_back(row.chained.fours);
        chunk.pairs.push_back(row.chained.pairs);
        chunk.indices.insert(chunk.indices.end(), row.indices.begin(), row.indices.end());
        chunk.weights.insert(chunk.weights.end(), row.weights.begin(), row.weights.end());
        chunk.floats.insert(chunk.floats.end(), row.floats.begin(), row.floats.end());
        chunk.begin.push_back(chunk.begin.back() + row.entries);
    }
}

}  // namespace

Chunk Layout::chunk(size_t number) const {
    const Owned& owned = chunks[number];
    return {owned.begin.data(), owned.fours.data(), owned.pairs.data(), owned.order.data(), owned.indices.data(), owned.weights.data(), owned.floats.data()};
}

void (*Layout::kernel(const Kernels& kernels) const)(const LinearArgs&) {
    switch (form) {
        case Form::block4:
            return kernels.block4;
        case Form::element:
            return kernels.element;
        case Form::element_rows4:
            return kernels.element_rows4;
        case Form::single:
            return kernels.single;
        case Form::single_rows4:
            return kernels.single_rows4;
    }
    return nullptr;
}

Layout make_layout(const PackedWeights& weights, bool chains) {
    Layout layout;
    const bool four_rows = weights.rows >= 4;
    if (weights.single)
        layout.form = four_rows ? Form::single_rows4 : Form::single;
    else if (weights.columns == 4)
        layout.form = Form::block4;
    else
        layout.form = four_rows ? Form::element_rows4 : Form::element;
    layout.out = weights.out;
    layout.in = weights.in;
    layout.height = weights.columns == 1 && four_rows ? 4 : 1;

    const uint32_t width = (weights.in + weights.columns - 1) / weights.columns;
    const uint32_t bytes = kLanes * weights.columns * (weights.single ? 4 : 1);  // of a panel's block column
    const uint32_t parts = (width * bytes + kPanelBytes - 1) / kPanelBytes;
    const uint32_t step = (width + parts - 1) / parts;
    for (uint32_t first = 0; first < width; first += step) {
        const uint32_t last = std::min(first + step, width);
        layout.chunks.emplace_back();
        Layout::Owned& chunk = layout.chunks.back();
        chunk.begin.push_back(0);
        for (uint32_t block = 0; block < layout.rows(); block += kBlock / layout.height) {
            std::vector<Row> rows;
            for (uint32_t row = block; row < std::min(block + kBlock / layout.height, layout.rows()); ++row)
                rows.push_back(make_row(layout.form, weights, row, first, last, chains));
            append(chunk, rows);
        }
    }
    return layout;
}

}  // namespace optkit
