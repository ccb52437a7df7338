#include "plan/layout.h"

#include <algorithm>
#include <array>
#include <tuple>

#include "plan/entries.h"

namespace optkit {
namespace {

// Bytes of a panel that a chunk may take, of the 32 KiB first-level caches of most CPUs.
constexpr uint32_t kPanelBytes = 26 * 1024;
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
    Groups16Bit groups;

    Row() = default;
    Row(std::vector<Entry>& from, int per_entry, bool saturating_i16) : entries(uint32_t(from.size())) {
        if (saturating_i16)
            groups = group_16bit(from);
        for (const Entry& entry : from) {
            indices.insert(indices.end(), entry.indices.begin(), entry.indices.begin() + per_entry);
            weights.push_back(pack_quad(entry.quad));
        }
    }
};

Row block4(const PackedWeights& weights, uint32_t row, uint32_t first, uint32_t last, bool saturating_i16) {
    std::vector<Entry> entries;
    blocks(weights, row / weights.rows, first, last, [&](size_t block, uint16_t column) {
        Entry entry;
        entry.indices[0] = column;
        const int8_t* from = weights.bytes.data + (block * weights.rows + row % weights.rows) * 4;
        std::copy(from, from + 4, entry.quad.begin());
        if (saturating_i16)
            append_without_overflow(entries, entry);
        else
            entries.push_back(entry);
    });
    return Row(entries, 1, saturating_i16);
}

Row element(const PackedWeights& weights, uint32_t row, uint32_t first, uint32_t last, bool saturating_i16) {
    std::vector<Entry> entries;
    std::vector<std::pair<int8_t, uint16_t>> numbers;
    blocks(weights, row / weights.rows, first, last, [&](size_t block, uint16_t column) {
        const int8_t number = weights.bytes[block * weights.rows + row % weights.rows];
        if (number != 0)
            numbers.emplace_back(number, column);
    });
    gather_quads(numbers, saturating_i16, entries);
    return Row(entries, 4, saturating_i16);
}

Row element_rows4(const PackedWeights& weights, uint32_t row, uint32_t first, uint32_t last, bool saturating_i16) {
    const uint32_t parts = weights.rows / 4;
    std::vector<std::pair<size_t, uint16_t>> found;
    blocks(weights, row / parts, first, last,
           [&](size_t block, uint16_t column) { found.emplace_back(block * weights.rows + row % parts * 4, column); });
    Row result;
    for (size_t i = 0; i < found.size(); i += 4) {
        std::array<Quad, 4> quads{};  // of each output
        std::array<uint16_t, 4> indices;
        for (size_t j = 0; j < 4; ++j) {
            const bool there = i + j < found.size();
            indices[j] = found[there ? i + j : i].second;
            for (size_t out = 0; out < 4; ++out)
                quads[out][j] = there ? weights.bytes[found[i + j].first + out] : int8_t(0);
        }
        const bool halve = saturating_i16 && std::any_of(quads.begin(), quads.end(), may_overflow_i16);
        for (int half = 0; half < (halve ? 2 : 1); ++half) {
            ++result.entries;
            result.indices.insert(result.indices.end(), indices.begin(), indices.end());
            for (const Quad& quad : quads)
                result.weights.push_back(pack_quad(!halve      ? quad
                                                   : half == 0 ? halves(quad).first
                                                               : halves(quad).second));
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

Row make_row(Form form, const PackedWeights& weights, uint32_t row, uint32_t first, uint32_t last,
             bool saturating_i16) {
    switch (form) {
        case Form::block4:
            return block4(weights, row, first, last, saturating_i16);
        case Form::element:
            return element(weights, row, first, last, saturating_i16);
        case Form::element_rows4:
            return element_rows4(weights, row, first, last, saturating_i16);
        case Form::single:
            return single(weights, row, first, last, 1);
        case Form::single_rows4:
            return single(weights, row, first, last, 4);
    }
    return {};
}

/// Appends the rows of one block of outputs, sorted by length: a loop whose length keeps changing ends in a
/// mispredicted branch each time, which costs as much as several entries.
void append(Layout::Owned& chunk, const std::vector<Row>& rows) {
    std::vector<uint32_t> order(rows.size());
    for (uint32_t i = 0; i < order.size(); ++i)
        order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
        const auto lengths = [&](const Row& row) {
            return std::make_tuple(row.groups.quads, row.groups.pairs, row.entries);
        };
        return lengths(rows[a]) < lengths(rows[b]);
    });
    for (uint32_t number : order) {
        const Row& row = rows[number];
        chunk.order.push_back(number);
        chunk.quads_16bit.push_back(row.groups.quads);
        chunk.pairs_16bit.push_back(row.groups.pairs);
        chunk.indices.insert(chunk.indices.end(), row.indices.begin(), row.indices.end());
        chunk.weights.insert(chunk.weights.end(), row.weights.begin(), row.weights.end());
        chunk.floats.insert(chunk.floats.end(), row.floats.begin(), row.floats.end());
        chunk.begin.push_back(chunk.begin.back() + row.entries);
    }
}

}  // namespace

Chunk Layout::chunk(size_t number) const {
    const Owned& owned = chunks[number];
    return {owned.begin.data(),   owned.quads_16bit.data(), owned.pairs_16bit.data(), owned.order.data(),
            owned.indices.data(), owned.weights.data(),     owned.floats.data()};
}

Kernels::Linear Layout::kernel(const Kernels& kernels) const {
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

Layout make_layout(const PackedWeights& weights, bool saturating_i16) {
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
        for (uint32_t block = 0; block < layout.rows(); block += kBlockOutputs / layout.height) {
            std::vector<Row> rows;
            for (uint32_t row = block; row < std::min(block + kBlockOutputs / layout.height, layout.rows()); ++row)
                rows.push_back(make_row(layout.form, weights, row, first, last, saturating_i16));
            append(chunk, rows);
        }
    }
    return layout;
}

}  // namespace optkit
