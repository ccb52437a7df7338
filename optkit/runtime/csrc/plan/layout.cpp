#include "plan/layout.h"

#include <algorithm>
#include <array>
#include <tuple>

#include "plan/entries.h"

namespace optkit {
namespace {

// Bytes of a panel that a chunk may take, of the 32 KiB first-level caches of most CPUs.
constexpr uint32_t kPanelBytes = 26 * 1024;

/// Of a kernel that takes several entries at once, on average, for each row.
constexpr uint32_t kStepsOfAChunk = 4;

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
    Row(Entries from, bool saturating_i16) {
        if (saturating_i16)
            groups = group_16bit(from);
        entries = from.size();
        indices = std::move(from.indices);
        weights.reserve(from.quads.size());
        for (const Quad& quad : from.quads)
            weights.push_back(pack_quad(quad));
    }
};

Quad quad_at(const int8_t* from) {
    Quad quad;
    std::copy(from, from + 4, quad.begin());
    return quad;
}

/// A row of `height` outputs is a part of a block of the packed weights, or all of it.
struct Part {
    uint32_t group, first;  // of the packed rows, and its first output therein

    Part(const PackedWeights& weights, uint32_t row, uint32_t height)
        : group(row / (weights.rows / height)), first(row % (weights.rows / height) * height) {}
};

Row block4(const PackedWeights& weights, uint32_t row, uint32_t height, uint32_t first, uint32_t last,
           bool saturating_i16) {
    const Part part(weights, row, height);
    Entries entries{1, height, {}, {}};
    std::vector<Quad> quads(height);
    blocks(weights, part.group, first, last, [&](size_t block, uint16_t column) {
        const int8_t* from = weights.bytes.data + (block * weights.rows + part.first) * 4;
        if (std::all_of(from, from + height * 4, [](int8_t number) { return number == 0; }))
            return;
        for (uint32_t i = 0; i < height; ++i)
            quads[i] = quad_at(from + 4 * i);
        if (saturating_i16)
            append_without_overflow(entries, &column, quads.data());
        else
            entries.append(&column, quads.data());
    });
    return Row(std::move(entries), saturating_i16);
}

Row element(const PackedWeights& weights, uint32_t row, uint32_t first, uint32_t last, bool saturating_i16) {
    const Part part(weights, row, 1);
    std::vector<std::pair<int8_t, uint16_t>> numbers;
    blocks(weights, part.group, first, last, [&](size_t block, uint16_t column) {
        const int8_t number = weights.bytes[block * weights.rows + part.first];
        if (number != 0)
            numbers.emplace_back(number, column);
    });
    Entries entries{4, 1, {}, {}};
    gather_quads(numbers, saturating_i16, entries);
    return Row(std::move(entries), saturating_i16);
}

Row element_rows(const PackedWeights& weights, uint32_t row, uint32_t height, uint32_t first, uint32_t last,
                 bool saturating_i16) {
    const Part part(weights, row, height);
    std::vector<std::pair<size_t, uint16_t>> found;
    blocks(weights, part.group, first, last,
           [&](size_t block, uint16_t column) { found.emplace_back(block * weights.rows + part.first, column); });
    Entries entries{4, height, {}, {}};
    std::vector<Quad> quads(height);
    for (size_t i = 0; i < found.size(); i += 4) {
        std::array<uint16_t, 4> indices;
        for (size_t j = 0; j < 4; ++j) {
            const bool there = i + j < found.size();
            indices[j] = found[there ? i + j : i].second;
            for (size_t out = 0; out < height; ++out)
                quads[out][j] = there ? weights.bytes[found[i + j].first + out] : int8_t(0);
        }
        if (saturating_i16)
            append_without_overflow(entries, indices.data(), quads.data());
        else
            entries.append(indices.data(), quads.data());
    }
    return Row(std::move(entries), false);
}

Row single(const PackedWeights& weights, uint32_t row, uint32_t height, uint32_t first, uint32_t last) {
    const Part part(weights, row, height);
    Row result;
    blocks(weights, part.group, first, last, [&](size_t block, uint16_t column) {
        const float* from = weights.floats.data + block * weights.rows + part.first;
        if (std::all_of(from, from + height, [](float number) { return number == 0.0f; }))
            return;
        ++result.entries;
        result.indices.push_back(column);
        result.floats.insert(result.floats.end(), from, from + height);
    });
    return result;
}

Row make_row(const LinearKernel& kernel, const PackedWeights& weights, uint32_t row, uint32_t first, uint32_t last,
             bool saturating_i16) {
    switch (kernel.form) {
        case Form::block4:
            return block4(weights, row, kernel.height, first, last, saturating_i16);
        case Form::element:
            return kernel.height == 1 ? element(weights, row, first, last, saturating_i16)
                                      : element_rows(weights, row, kernel.height, first, last, saturating_i16);
        case Form::single:
            return single(weights, row, kernel.height, first, last);
    }
    return {};
}

/// Appends `count` of a row's entries from `first` on, `size` numbers each, as [size][count]; fillers behind its end.
template <typename Target, typename T>
void append_entries(Target& target, const std::vector<T>& row, size_t first, size_t count, size_t size, T filler) {
    const size_t at = target.size();
    target.resize(at + count * size, filler);
    for (size_t i = 0; i < count && (first + i) * size < row.size(); ++i)
        for (size_t j = 0; j < size; ++j)
            target[at + j * count + i] = row[(first + i) * size + j];
}

/// Appends the rows of one block of outputs, sorted by length: a loop whose length keeps changing ends in a
/// mispredicted branch each time, which costs as much as several entries, and rows of a group are padded to the
/// longest.
///
/// @param column  that entries of zero weights read: one of the chunk's.
void append(Layout::Owned& chunk, std::vector<Row>& rows, const LinearKernel& kernel, uint16_t column) {
    const size_t interleaved = kernel.interleaved, indices = kernel.form == Form::element ? 4 : 1;
    const uint32_t together = kernel.together;
    rows.resize((rows.size() + interleaved - 1) / interleaved * interleaved);
    std::vector<uint32_t> order(rows.size());
    for (uint32_t i = 0; i < order.size(); ++i)
        order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
        const auto lengths = [&](const Row& row) {
            return std::make_tuple(row.groups.quads, row.groups.pairs, row.entries);
        };
        return lengths(rows[a]) < lengths(rows[b]);
    });
    for (size_t first = 0; first < order.size(); first += interleaved) {
        uint32_t longest = 0;
        for (size_t i = first; i < first + interleaved; ++i) {
            longest = std::max(longest, rows[order[i]].entries);
            chunk.order.push_back(order[i]);
        }
        const Row& row = rows[order[first]];
        chunk.quads_16bit.push_back(row.groups.quads);
        chunk.pairs_16bit.push_back(row.groups.pairs);
        longest = (longest + together - 1) / together * together;
        for (uint32_t entry = 0; entry < longest; entry += together)
            for (size_t i = first; i < first + interleaved; ++i) {
                const Row& from = rows[order[i]];
                append_entries(chunk.indices, from.indices, entry, together, indices, column);
                if (kernel.form == Form::single)
                    append_entries(chunk.floats, from.floats, entry, together, kernel.height, 0.0f);
                else
                    append_entries(chunk.weights, from.weights, entry, together, kernel.height, 0);
            }
        chunk.begin.push_back(chunk.begin.back() + longest);
    }
}

}  // namespace

Chunk Layout::chunk(size_t number) const {
    const Owned& owned = chunks[number];
    return {owned.begin.data(),   owned.quads_16bit.data(), owned.pairs_16bit.data(), owned.order.data(),
            owned.indices.data(), owned.weights.data(),     owned.floats.data()};
}

uint64_t Layout::weights() const {
    uint64_t count = 0;
    for (const Owned& chunk : chunks)
        count += 4 * uint64_t(chunk.weights.size()) + chunk.floats.size();
    return count;
}

uint64_t Layout::bytes() const {
    uint64_t count = 0;
    for (const Owned& chunk : chunks)
        count += sizeof(uint16_t) * uint64_t(chunk.indices.size()) + 4 * (chunk.weights.size() + chunk.floats.size());
    return count;
}

bool Layout::wide_strips() const {
    const uint64_t blocks = (out + kBlockOutputs - 1) / kBlockOutputs;
    return weights() / blocks > uint64_t(in) * kLanes;
}

const LinearKernel& choose_kernel(const PackedWeights& weights, const Kernels& kernels) {
    const Form form = weights.single ? Form::single : weights.columns == 4 ? Form::block4 : Form::element;
    const LinearKernel* best = nullptr;
    for (uint32_t i = 0; i < kernels.linear_count; ++i) {
        const LinearKernel& kernel = kernels.linear[i];
        if (kernel.form == form && weights.rows % kernel.height == 0 && (!best || kernel.height > best->height))
            best = &kernel;
    }
    return *best;  // each form has one of height 1
}

Layout make_layout(const PackedWeights& weights, const Kernels& kernels) {
    Layout layout;
    layout.kernel = &choose_kernel(weights, kernels);
    layout.out = weights.out;
    layout.in = weights.in;

    const uint32_t width = (weights.in + weights.columns - 1) / weights.columns;
    const uint32_t bytes = kLanes * weights.columns * (weights.single ? 4 : 1);  // of a panel's block column
    uint32_t parts = (width * bytes + kPanelBytes - 1) / kPanelBytes;
    const uint32_t height = layout.kernel->height, rows_of_a_block = kBlockOutputs / height;
    const uint32_t together = layout.kernel->together;
    if (together > 1) {
        // Every chunk of a row ends in fillers: few steps of them cost more than inputs from the second-level cache.
        const uint64_t blocks_of_a_row = weights.indices.size / std::max<uint64_t>(weights.pointers.size - 1, 1);
        parts = std::min(parts, uint32_t(std::max<uint64_t>(blocks_of_a_row / (kStepsOfAChunk * together), 1)));
    }
    // Whole steps of the kernel, so that a dense row has fillers in its last chunk only.
    const uint32_t step = ((width + parts - 1) / parts + together - 1) / together * together;
    const uint32_t count = (weights.out + height - 1) / height;
    for (uint32_t first = 0; first < width; first += step) {
        const uint32_t last = std::min(first + step, width);
        layout.chunks.emplace_back();
        Layout::Owned& chunk = layout.chunks.back();
        chunk.begin.push_back(0);
        for (uint32_t block = 0; block < count; block += rows_of_a_block) {
            std::vector<Row> rows;
            for (uint32_t row = block; row < std::min(block + rows_of_a_block, count); ++row)
                rows.push_back(make_row(*layout.kernel, weights, row, first, last, kernels.saturating_i16));
            append(chunk, rows, *layout.kernel, uint16_t(first));
        }
        if (together > 1)
            chunk.indices.insert(chunk.indices.end(), size_t(together) * layout.kernel->interleaved, uint16_t(first));
    }
    return layout;
}

std::unique_ptr<Lines> move_together(const std::vector<Layout*>& layouts) {
    const auto each = [&](auto f) {
        for (Layout* layout : layouts)
            for (Layout::Owned& chunk : layout->chunks) {
                f(chunk.indices);
                f(chunk.weights);
                f(chunk.floats);
            }
    };
    size_t bytes = 0;
    each([&](const auto& numbers) { bytes += whole_lines(numbers.size() * sizeof numbers[0]); });
    auto lines = std::make_unique<Lines>(bytes);
    each([&](auto& numbers) {
        using Numbers = std::decay_t<decltype(numbers)>;
        numbers = Numbers(numbers.begin(), numbers.end(), typename Numbers::allocator_type(*lines));
    });
    return lines;
}

}  // namespace optkit
