#include "plan/offsets.h"

#include <algorithm>
#include <utility>

namespace optkit {

size_t assign_offsets(std::vector<Lifetime>& lives) {
    std::vector<size_t> order(lives.size());
    for (size_t i = 0; i < order.size(); ++i)
        order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return lives[a].first < lives[b].first; });
    size_t total = 0;
    std::vector<size_t> placed;
    for (size_t now : order) {
        std::vector<std::pair<size_t, size_t>> taken;
        for (size_t other : placed)
            if (lives[other].last >= lives[now].first && lives[other].first <= lives[now].last)
                taken.emplace_back(lives[other].offset, lives[other].offset + lives[other].size);
        std::sort(taken.begin(), taken.end());
        size_t offset = 0;
        for (const auto& [begin, end] : taken) {
            if (offset + lives[now].size <= begin)
                break;
            offset = std::max(offset, end);
        }
        lives[now].offset = offset;
        total = std::max(total, offset + lives[now].size);
        placed.push_back(now);
    }
    return total;
}

}  // namespace optkit
